"""Weights as a difference: the tensors that a fine-tuning changed, and whose they were before."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vidret.data.errors import MismatchError, MissingError
from vidret.data.storage.moved import encoder_found_again
from vidret.data.storage.publish import publish
from vidret.extract.models.adapters import DOWN, UP, merge_factors
from vidret.extract.weights.files import WeightsFile, read_metadata, write_tensors

log = logging.getLogger(__name__)

BASE_KEY = "vidret.base"  # in the metadata: the encoder that was changed, as it is asked for
DIGEST_KEY = "vidret.base_weights"  # and what tells its weights apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What a difference is a difference from.

    Args:
        spec: an encoder as `--backbone` or `--audio` names it.
        digest: of its weights.
    """

    spec: str
    digest: str


def base_of(metadata: Mapping[str, str]) -> Base | None:
    """What a file is a difference from, or None where it holds all weights."""
    if BASE_KEY not in metadata:
        return None
    return Base(spec=metadata[BASE_KEY], digest=metadata.get(DIGEST_KEY, ""))


def base_of_file(path: Path) -> Base | None:
    """Likewise, of a file that may be in any form."""
    return base_of(read_metadata(path)) if path.is_file() else None


def with_absolute_path(spec: str) -> str:
    """An encoder whose file or folder is found from any working folder."""
    prefix = "local-dir:" if spec.startswith("local-dir:") else ""
    name, at, place = spec.removeprefix(prefix).partition("@")
    if prefix and Path(name).expanduser().exists():
        name = str(Path(name).expanduser().absolute())
    if place and Path(place).expanduser().exists():
        place = str(Path(place).expanduser().absolute())
    return f"{prefix}{name}{at}{place}"


def write_delta(
    path: Path,
    now: Mapping[str, Tensor],
    before: Mapping[str, Tensor],
    base: Base,
    *,
    factors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
) -> None:
    """Write what differs from the weights before, whole or not at all.

    Args:
        path: of the file.
        now: all weights.
        before: those of the base, by the same names.
        base: what to say of it.
        factors: of adapters, which are written in the place of the matrices they were added to.
        metadata: what else the file should say.
    """
    adapted = {name.removesuffix(UP).removesuffix(DOWN) for name in factors}
    changed = {
        name: tensor
        for name, tensor in now.items()
        if name not in adapted and not torch.equal(tensor.cpu(), before[name].cpu())
    }
    of_base = {BASE_KEY: with_absolute_path(base.spec), DIGEST_KEY: base.digest}
    with publish(path) as part:
        write_tensors(part, {**changed, **factors}, {**metadata, **of_base})


def with_delta(before: Mapping[str, Tensor], delta: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All weights of an encoder, from those of its base and what was changed.

    Raises:
        ValueError: a tensor of the difference has no place among them, or another shape.
    """
    factors = {name: tensor for name, tensor in delta.items() if name.endswith((DOWN, UP))}
    plain = {name: tensor for name, tensor in delta.items() if name not in factors}
    _require_places(before, plain, factors)
    return merge_factors(before, factors) | plain


def state_with_base(
    file: WeightsFile, base: Base, load: Callable[[str], tuple[nn.Module, str]]
) -> dict[str, Tensor]:
    """All weights of an encoder that lies on disk as a difference.

    Args:
        file: the difference.
        base: what it says of its base.
        load: loads an encoder by its spec; gives its network and what tells its weights apart.

    Raises:
        MismatchError: the base has other weights now.
        MissingError: the base is not there.
        ValueError: the difference does not fit it.
    """
    try:
        spec = base.spec
        for work in file.path.absolute().parents[2:4]:  # above runs/NAME, or runs/NAME/last-STAGE
            spec = encoder_found_again(spec, work)
        network, digest = load(spec)
    except MissingError as error:
        raise MissingError(
            f"{file.path} holds only what a fine-tuning changed of {base.spec}: {error}"
        ) from error
    if digest != base.digest:
        raise MismatchError(
            f"{file.path} holds what a fine-tuning changed of weights {base.digest}, and "
            f"{base.spec} holds {digest}: put the old file back, or fine-tune again"
        )
    log.debug("%s changes %d tensors of %s", file.path, len(file.tensors), base.spec)
    return with_delta(network.state_dict(), file.tensors)


def _require_places(
    before: Mapping[str, Tensor], plain: Mapping[str, Tensor], factors: Collection[str]
) -> None:
    for name, tensor in plain.items():
        if name not in before:
            raise ValueError(f"it has the unknown {name}")
        if before[name].shape != tensor.shape:
            raise ValueError(f"it has another shape in {name}")
    for name in factors:
        matrix = name.removesuffix(UP).removesuffix(DOWN)
        if matrix not in before or not {f"{matrix}{UP}", f"{matrix}{DOWN}"} <= set(factors):
            raise ValueError(f"it has no matrix for {name}")
