"""`vidret weights verify | convert`."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidret.data.errors import MissingError, VidretError
from vidret.extract.backends import require_torchvision
from vidret.pipelines.config.settings import ConvertConfig, WeightsConfig

if TYPE_CHECKING:
    from vidret.extract.weights.inspection import Inspection


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsReport:
    """What a file of weights is.

    Args:
        checksum: `published`, `other` where the file is only called like a published one, or
            `unknown` where no publisher gives a checksum for it.
        activation: QuickGELU, GELU, or empty where nobody says; so is `activation_source`.
        problem: what speaks against using it, or nothing.
    """

    path: Path
    form: str
    bytes: int
    tensors: int
    parameters: int
    dtypes: dict[str, int]
    sha256: str
    checksum: str
    publisher: str
    model: str
    candidates: tuple[str, ...]
    activation: str
    activation_source: str
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    other_shape: tuple[str, ...]
    not_finite: tuple[str, ...]
    metadata: dict[str, str]
    problem: str

    @property
    def verdict(self) -> VidretError | None:
        """A file that should not be used."""
        return MissingError(f"{self.path} {self.problem}") if self.problem else None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertReport:
    """What was written.

    Args:
        spec: how to ask for it in `--backbone` or `--audio`; empty where no model is known.
    """

    source: Path
    path: Path
    form: str
    bytes: int
    tensors: int
    metadata: dict[str, str]
    spec: str

    @property
    def verdict(self) -> VidretError | None:
        """A file that was written is as it should be."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


def run_weights_verify(config: WeightsConfig) -> WeightsReport:
    """Say what a file of weights is; nothing in it is run, and nothing is fetched."""
    require_torchvision()
    from vidret.extract.weights.inspection import inspect_weights

    return _report(inspect_weights(config.file, config.model))


def run_weights_convert(config: ConvertConfig) -> ConvertReport:
    """Write the same tensors as safetensors."""
    require_torchvision()
    from vidret.extract.weights.backbones import TINY
    from vidret.extract.weights.conversion import convert_weights
    from vidret.extract.weights.inspection import TINY_SOUND

    done = convert_weights(config.file, config.out, model=config.model)
    model = done.source.model.replace(TINY_SOUND, TINY)  # --audio knows which of the two is meant
    return ConvertReport(
        source=config.file,
        path=done.path,
        form=str(done.source.file.form),
        bytes=done.size,
        tensors=len(done.source.tensors),
        metadata=done.metadata,
        spec=f"{model}@{done.path}" if model else "",
    )


def _report(found: "Inspection") -> WeightsReport:
    tensors, fit = found.tensors, found.fit
    dtypes = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values())
    publisher = found.published or found.named
    return WeightsReport(
        path=found.file.path,
        form=str(found.file.form),
        bytes=found.size,
        tensors=len(tensors),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        dtypes=dict(dtypes),
        sha256=found.digests["sha256"],
        checksum="published" if found.published else "other" if found.named else "unknown",
        publisher=publisher.title if publisher else "",
        model=found.model,
        candidates=found.candidates,
        activation=found.activation.name if found.activation else "",
        activation_source=found.activation.source if found.activation else "",
        missing=fit.missing if fit else (),
        unexpected=fit.unexpected if fit else (),
        other_shape=fit.other_shape if fit else (),
        not_finite=found.not_finite,
        metadata=dict(found.file.metadata),
        problem=found.problem,
    )
