"""A run: the folder of one fit, with its settings, what it was fitted on, numbers, weights."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from vidret.data.cache import find_caches
from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.data.fingerprint import Fingerprint
from vidret.data.manifest import MANIFEST, read_manifest
from vidret.data.storage.publish import publish
from vidret.heads.catalog import build_retriever
from vidret.heads.options import HeadOptions
from vidret.heads.retriever import Retriever
from vidret.pipelines.config.fitting import FIT_SETTINGS, HEAD_SETTINGS, FitConfig
from vidret.pipelines.training.checkpoints import read_tensors, require_same_tensors

log = logging.getLogger(__name__)

RUN, WEIGHTS = "run.json", "heads.safetensors"
CLIP_WEIGHTS, SOUND_WEIGHTS = "clip.safetensors", "sound.safetensors"  # of a run that changed them
FORMAT = 2  # of the folder of a run
WORKED_BY = {"decay_to": "zero"}  # before it was a setting
NEWER = frozenset({"audio_weight"})  # what weights of an older vidret lack, and did without
RENAMED = {  # in format 1
    "video_head.norm1.": "video_head.norm.",
    "video_head.norm2.": "video_head.feed_forward.norm.",
    "video_head.first.": "video_head.feed_forward.first.",
    "video_head.second.": "video_head.feed_forward.second.",
}
LAST = "last-"  # how the folder begins that a run keeps the weights of a stage's last epoch in
LISTED = 10  # runs in a message
SOUND = "+cmfi"  # how the name of a head with sound ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a fine-tuned run started from, and what it adds to the settings of other runs.

    Args:
        run: the name of the run that gave the heads.
        heads: hash of their weights.
        fingerprint: of the cache that both began with.
        backbone: the encoder of frames and words, as the cache's manifest names it.
        audio: the encoder of sound, likewise.
        e2e: whether the videos themselves were looked at.
        unfreeze: the encoders that learn.
        lr_clip: learning rate of CLIP's towers.
        lr_audio: learning rate of the sound network.
        limits: what of these encoders learns, as `--unfreeze` has it; empty is all of them.
        layer_decay: rate of a block as a share of that of the one above it.
        lora: rank of their adapters; 0 where the weights themselves learn.
        lr_lora: learning rate of adapters.
        batchnorm: of the sound network while it learns: `eval` or `train`.
        augment: how pictures differ from epoch to epoch.
        save: `full`, or `delta` where only what changed is written.
    """

    run: str
    heads: str
    fingerprint: Fingerprint
    backbone: str
    audio: str
    e2e: bool
    unfreeze: list[str]
    lr_clip: float
    lr_audio: float
    limits: list[str] = field(default_factory=list)
    layer_decay: float = 1.0
    lora: int = 0
    lr_lora: float = 1e-4
    batchnorm: str = "eval"
    augment: list[str] = field(default_factory=list)
    save: str = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioWeight:
    """How much the sound was found to count in a score.

    Args:
        chosen: the weight that the run scores with.
        tried: each weight with its numbers on the split that picks the epoch.
    """

    chosen: float
    tried: list[dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What `run.json` says; `complete` once the weights lie beside it.

    The fingerprint is that of the features which the weights are made for: a run that changed an
    encoder is made for other features than the cache it started from holds.
    """

    name: str
    head: str
    seed: int
    cache: Path
    fingerprint: Fingerprint
    settings: dict[str, Any]
    history: dict[str, list[dict[str, float]]]
    complete: bool
    origin: Origin | None = None
    audio_weight: AudioWeight | None = None

    @property
    def has_own_encoders(self) -> bool:
        """Whether its weights are made for other features than it started from."""
        return self.origin is not None and bool(
            self.fingerprint.differences(self.origin.fingerprint)
        )


def run_name(head: str, seed: int, settings: dict[str, Any], fingerprint: Fingerprint) -> str:
    """A name that says what was fitted; the same settings on the same cache give the same name."""
    told = json.dumps([settings, fingerprint.digest], sort_keys=True)
    return f"{head}-seed{seed}-{hashlib.sha256(told.encode()).hexdigest()[:6]}"


def check_run_name(name: str) -> None:
    """Refuse a name that is no plain name of a folder.

    Raises:
        ConfigError: it is empty, hidden, or leads elsewhere.
    """
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise ConfigError(f"name is {name!r}: a run is a folder, so give it a plain name")


def write_run(folder: Path, run: Run) -> None:
    """Write `run.json`, whole or not at all."""
    values = {
        "format": FORMAT,
        "name": run.name,
        "head": run.head,
        "seed": run.seed,
        "cache": str(run.cache),
        "fingerprint": run.fingerprint.to_json(),
        "settings": run.settings,
        "history": run.history,
        "complete": run.complete,
    }
    if run.origin is not None:
        values["origin"] = asdict(run.origin)
    if run.audio_weight is not None:
        values["audio_weight"] = asdict(run.audio_weight)
    make_folder(folder)
    with publish(folder / RUN) as part:
        part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def make_folder(folder: Path) -> None:
    """Make the folder of a run.

    Raises:
        MissingError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingError(
            f"cannot write to {folder}: {error.strerror or error}, choose another with --work"
        ) from error


def read_run(folder: Path) -> Run:
    """Read `run.json`.

    Raises:
        MissingError: there is none.
        MismatchError: a newer vidret wrote it.
        DamagedError: it is not as `write_run` writes it.
    """
    path = folder / RUN
    try:
        values = json.loads(path.read_bytes())
        _require_format(values["format"], path)
        return Run(
            name=values["name"],
            head=values["head"],
            seed=values["seed"],
            cache=Path(values["cache"]),
            fingerprint=Fingerprint.from_json(values["fingerprint"], str(path)),
            settings=_settings_of(values["settings"]),
            history=values["history"],
            complete=values["complete"],
            origin=_read_origin(values.get("origin"), str(path)),
            audio_weight=_read_audio_weight(values.get("audio_weight")),
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingError(
            f"{folder} is no run: make one with `vidret train-heads`, "
            f"or choose one of those in {folder.parent}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(
            f"{path} cannot be read ({error!r}): remove the folder and train again"
        ) from error


def _settings_of(written: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run; what an older vidret could not set has the value it worked by."""
    usual, settings = FitConfig(), dict(written)
    for name in FIT_SETTINGS:
        settings.setdefault(name, WORKED_BY.get(name, getattr(usual, name)))
    return {name: settings[name] for name in FIT_SETTINGS}


def _require_format(found: int, path: Path) -> None:
    if found > FORMAT:
        raise MismatchError(
            f"{path} has format {found}, and this vidret reads up to {FORMAT}: "
            "use the vidret that wrote it, or a newer one"
        )


def newest_run(work: Path, *, fine_tuned: bool = True) -> Path:
    """The finished run that was written last, and whose features are cached.

    Args:
        work: the work folder.
        fine_tuned: take one that was fine-tuned, too.

    Raises:
        MissingError: there is none.
    """
    found = (work / "runs").rglob(WEIGHTS)
    weights = (path for path in found if not path.parent.name.startswith(LAST))
    newest_first = sorted(weights, key=lambda path: (-path.stat().st_mtime_ns, str(path)))
    for folder in (path.parent for path in newest_first):
        try:
            run = read_run(folder)
        except (DamagedError, MismatchError) as error:
            log.warning("Leaving out run %s: %s", folder.name, error)
            continue
        if run.origin is not None and not fine_tuned:
            continue
        if _encoded_with(work, run) is None:
            log.info(
                "Run %s is newer, but nothing is encoded with its encoders yet: "
                "vidret extract --backbone run:%s",
                run.name,
                run.name,
            )
            continue
        return folder
    raise MissingError(
        f"no finished run below {work / 'runs'}: make one with `vidret train-heads`, "
        "or name another folder with --work"
    )


def find_run(work: Path, name: str | None) -> Path:
    """The folder of a run by its name, or the newest.

    Raises:
        MissingError: there is no such run.
    """
    if name is None:
        return newest_run(work)
    folder = work / "runs" / name
    if not (folder / RUN).exists():
        known = sorted(path.parent.name for path in (work / "runs").glob(f"*/{RUN}"))
        raise MissingError(f"no run {name!r} in {work / 'runs'}: {_listed(name, known)}")
    return folder


def _listed(name: str, known: Sequence[str]) -> str:
    """The runs that there are, as far as a line holds them, those that sound alike first."""
    if not known:
        return "there are none yet"
    close = get_close_matches(name, known, n=3)
    first = [*close, *(one for one in known if one not in close)][:LISTED]
    more = f" and {len(known) - LISTED:,} more" if len(known) > LISTED else ""
    return f"there are {', '.join(first)}{more}"


def trained_on(work: Path, run: Run) -> Path:
    """The cache that a run was fitted on, also where the work folder was moved or copied since.

    The name of a cache says what is in it, so one of the same name in the same work folder is it.
    """
    here = work / "cache" / run.cache.name
    return here if (here / MANIFEST).exists() else run.cache


def cache_of_run(work: Path, run: Run) -> Path:
    """The cache that a run is scored on: its own, or one made since with the encoders it changed.

    Raises:
        MissingError: there is none with those encoders yet.
        MismatchError: a newer vidret wrote one of the caches.
        DamagedError: the manifest of one of them cannot be read.
    """
    found = _encoded_with(work, run)
    if found is None:
        raise MissingError(
            f"nothing is encoded with the encoders of run {run.name} yet: "
            f"vidret extract --backbone run:{run.name}, with the dataset's options as before"
        )
    return found


def _encoded_with(work: Path, run: Run) -> Path | None:
    """The cache that a run is scored on, if there is one."""
    if not run.has_own_encoders:
        return trained_on(work, run)
    fitting = (
        folder
        for folder in find_caches(work)
        if not read_manifest(folder).fingerprint.differences(run.fingerprint)
    )
    return next(fitting, None)


def encoders_of_run(work: Path, name: str) -> tuple[str, str]:
    """The encoders that a fine-tuned run is made for: of pictures and words, and of sound.

    Raises:
        MissingError: there is no such run, it has not finished, or it changed no encoder.
    """
    folder = find_run(work, name)
    run = read_run(folder)
    require_finished(folder, run)
    if run.origin is None or not run.has_own_encoders:
        raise MissingError(
            f"run {run.name} changed no encoder, so its features are those of {run.cache}: "
            f"leave out --backbone run:{run.name}, or make a run with `vidret finetune --e2e`"
        )
    return (
        _with_weights(run.origin.backbone, folder / CLIP_WEIGHTS),
        _with_weights(run.origin.audio, folder / SOUND_WEIGHTS),
    )


def build_head(run: Run, *, sound: bool = True) -> Retriever:
    """The head of a run before it has learned anything, with or without its head for sound."""
    retriever = build_retriever(
        run.head if sound else run.head.removesuffix(SOUND),
        dim=run.fingerprint.dim,
        audio_dim=run.fingerprint.audio_dim,
        logit_scale=run.settings["logit_scale"] or run.fingerprint.logit_scale,
        options=HeadOptions(**{name: run.settings[name] for name in HEAD_SETTINGS}),
        seed=run.seed,
    )
    weight = run.settings["audio_weight"]
    retriever.audio_weight.fill_(1.0 if weight == "val" else weight)
    return retriever


def save_weights(folder: Path, retriever: Retriever) -> None:
    """Write the weights of a finished run."""
    with publish(folder / WEIGHTS) as part:
        save_file({name: w.contiguous() for name, w in retriever.state_dict().items()}, part)


def require_finished(folder: Path, run: Run) -> None:
    """Refuse a run without weights.

    Raises:
        MissingError: there are none.
    """
    if not (folder / WEIGHTS).exists():
        command = "train-heads" if run.origin is None else "finetune"
        raise MissingError(
            f"run {run.name} has not finished: go on with `vidret {command} --resume {run.name}`"
        )


def load_weights(folder: Path, run: Run) -> Retriever:
    """The head of a finished run.

    Raises:
        MissingError: the run has not finished.
        DamagedError: its weights cannot be read.
        MismatchError: they are those of another head, or of another width.
    """
    require_finished(folder, run)
    retriever = build_head(run)
    expected, found = retriever.state_dict(), read_tensors(folder / WEIGHTS)
    found = {name: expected[name] for name in NEWER & expected.keys()} | {
        _renamed(name): tensor for name, tensor in found.items()
    }
    require_same_tensors(found, expected, where=str(folder / WEIGHTS), what="this head")
    retriever.load_state_dict(found)
    return retriever


def _renamed(name: str) -> str:
    """What a tensor is called today."""
    for before, now in RENAMED.items():
        name = name.replace(before, now)
    return name


def _with_weights(encoder: str, weights: Path) -> str:
    """An encoder as `NAME@PATH` where a run has weights of its own for it."""
    if not weights.exists():
        return encoder
    from vidret.extract.weights.backbones import with_other_weights

    return with_other_weights(encoder, weights.absolute())


def _read_audio_weight(values: dict[str, Any] | None) -> AudioWeight | None:
    return None if values is None else AudioWeight(**values)


def _read_origin(values: dict[str, Any] | None, where: str) -> Origin | None:
    if values is None:
        return None
    return Origin(**values | {"fingerprint": Fingerprint.from_json(values["fingerprint"], where)})
