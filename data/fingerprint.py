"""What made a cache: two caches with the same fingerprint hold the same features."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from vidret.data.errors import DamagedError, MismatchError

FORMAT = 2  # of cache folders and shards; a change of either raises it

_LONGEST_VALUE = 60  # characters of one value in a message
_NEW_IN_2 = ("features", "precision", "frame_dim", "text_dim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Everything that decides what a cache holds.

    `vidret` is information and never compared: a release that changes what is stored raises
    `format`, so an older cache stays good for as long as its format is read.

    Args:
        format: version of the layout on disk.
        vidret: version that made the cache.
        dataset_hash: of the ids, splits and captions (`vidret.data.catalog.dataset_hash`).
        frame_policy: how frames are chosen, `uniform` or `fps:1`.
        frames: how many of them at most.
        decoder: name and version.
        preprocess: what happens to a frame before the backbone.
        backbone_config: JSON of the model's configuration, activation included.
        backbone_weights: hash of the weights; so are `audio_weights`.
        audio_policy: windows, sampling rate and mixing of the sound.
        dim: width of what the heads see, frames and words alike.
        audio_dim: 0 where no sound is encoded.
        logit_scale: of the backbone, where training starts from.
        features: `projected`, or `hidden`: what enters the backbone's last projections.
        precision: what the encoders computed in; what is stored is `dtype`.
        frame_dim: width of the frames as they are stored; 0 stands for `dim`. So is `text_dim`.
    """

    format: int = FORMAT
    vidret: str
    dataset: str
    dataset_hash: str
    frame_policy: str
    frames: int
    decoder: str
    preprocess: str
    backbone: str
    backbone_config: str
    backbone_weights: str
    audio_model: str
    audio_weights: str
    audio_policy: str
    dtype: str
    dim: int
    audio_dim: int
    logit_scale: float
    features: str = "projected"
    precision: str = "float32"
    frame_dim: int = 0
    text_dim: int = 0

    def __post_init__(self) -> None:
        for name in ("frame_dim", "text_dim"):
            object.__setattr__(self, name, getattr(self, name) or self.dim)

    @property
    def digest(self) -> str:
        """Short name of the cache: the dataset and all that decides its features."""
        return self._digest("vidret")

    @property
    def features_digest(self) -> str:
        """The same without the dataset: it survives new videos and captions, so shards carry it."""
        return self._digest("vidret", "dataset", "dataset_hash")

    def differences(self, other: "Fingerprint") -> dict[str, tuple[Any, Any]]:
        """Each field that differs, with this fingerprint's value and the other's."""
        mine, theirs = asdict(self), asdict(other)
        return {
            name: (mine[name], theirs[name])
            for name in mine
            if name != "vidret" and mine[name] != theirs[name]
        }

    def to_json(self) -> dict[str, Any]:
        """As a JSON object, with the fields that its format has."""
        later = _NEW_IN_2 if self.format < 2 else ()
        return {name: value for name, value in asdict(self).items() if name not in later}

    @classmethod
    def from_json(cls, value: object, where: str) -> "Fingerprint":
        """Read what `to_json` gave; `where` names the file in errors.

        Raises:
            MismatchError: a newer vidret wrote it.
            DamagedError: a field is missing, unknown or of the wrong type.
        """
        if not isinstance(value, dict):
            raise DamagedError(f"{where}: the fingerprint is no JSON object: extract again")
        require_format(value.get("format"), where)
        kinds = {
            field.name: field.type
            for field in fields(cls)
            if field.name in value or value["format"] > 1 or field.name not in _NEW_IN_2
        }
        if odd := sorted(kinds.keys() ^ value.keys()):
            raise DamagedError(
                f"{where}: the fingerprint has missing or unknown fields ({', '.join(odd)}): "
                "extract again"
            )
        for name, kind in kinds.items():
            if type(value[name]) is not kind and not (kind is float and type(value[name]) is int):
                raise DamagedError(
                    f"{where}: {name} of the fingerprint is {value[name]!r}: extract again"
                )
        return cls(**{**value, "logit_scale": float(value["logit_scale"])})

    def _digest(self, *left_out: str) -> str:
        values = {**self.to_json(), "logit_scale": float(self.logit_scale)}
        compared = {name: value for name, value in values.items() if name not in left_out}
        canonical = json.dumps(compared, sort_keys=True, allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def require_format(found: object, where: str) -> None:
    """Refuse a format that this version does not read."""
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise DamagedError(f"{where} does not say which format it has ({found!r}): extract again")
    if found > FORMAT:
        raise MismatchError(
            f"{where} has format {found}, and this vidret reads up to {FORMAT}: "
            "use the vidret that wrote it, or a newer one"
        )


def require_fingerprint(found: Fingerprint, expected: Fingerprint, where: str) -> None:
    """Refuse what was made with other settings, naming each field that differs.

    Raises:
        MismatchError: a field other than `vidret` differs.
    """
    differences = found.differences(expected)
    if not differences:
        return
    listed = "; ".join(
        f"{name} is {_short(there)} there and {_short(asked)} here"
        for field, values in differences.items()
        for name, there, asked in _in_detail(field, *values)
    )
    raise MismatchError(
        f"{where} was made with other settings: {listed}. "
        "Extract again with today's settings, or set them back to those"
    )


def _in_detail(field: str, there: object, here: object) -> list[tuple[str, object, object]]:
    """A difference inside two JSON objects key by key; any other as it is."""
    first, second = _settings(field, there), _settings(field, here)
    names = sorted(name for name in first | second if first.get(name) != second.get(name))
    if not first or not second or not names:
        return [(field, there, here)]
    return [(name, first.get(name, "absent"), second.get(name, "absent")) for name in names]


def _settings(prefix: str, value: object) -> dict[str, object]:
    """The leaves of a JSON object, named by their path; nothing where it is none."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    if not isinstance(value, dict):
        return {}
    leaves: dict[str, object] = {}
    for key, inner in value.items():
        name = f"{prefix}.{key}"
        leaves |= _settings(name, inner) if isinstance(inner, dict) else {name: inner}
    return leaves


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."
