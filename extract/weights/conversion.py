"""From the forms in which weights are published to safetensors that say what they are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vidret.data.errors import ConfigError, DamagedError, MissingError
from vidret.data.storage.publish import publish
from vidret.extract.weights.activation import METADATA_KEY, read_config
from vidret.extract.weights.files import PREPROCESS_KEY, write_tensors
from vidret.extract.weights.inspection import (
    MODEL_KEY,
    Inspection,
    computes_quick_gelu,
    inspect_weights,
)
from vidret.extract.weights.published import preprocessing_of

SOURCE_KEY = "vidret.source_sha256"
_KEPT = (PREPROCESS_KEY,)  # what a file of ours already says


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A file that was written.

    Args:
        source: what it was made of.
        metadata: what it says about itself.
    """

    source: Inspection
    path: Path
    size: int
    metadata: dict[str, str]


def convert_weights(source: Path, target: Path, *, model: str | None = None) -> Conversion:
    """Write the tensors of a file as safetensors; they are compared before the file appears.

    Raises:
        ConfigError: the target exists, or is not called like a safetensors file.
        MissingError: the source holds no weights of that model, or the target cannot be written.
        DamagedError: what was written does not read back.
    """
    _check_target(target)
    found = inspect_weights(source, model)
    if found.problem:
        raise MissingError(f"{source} {found.problem}")
    metadata = _metadata(found)
    tensors = {name: tensor.contiguous().clone() for name, tensor in found.tensors.items()}
    with publish(target) as part:
        write_tensors(part, tensors, metadata)
        if not _same(tensors, load_file(part)):
            raise DamagedError(f"{target} does not read back as it was written: try another disk")
    return Conversion(source=found, path=target, size=target.stat().st_size, metadata=metadata)


def _check_target(target: Path) -> None:
    if target.suffix != ".safetensors":
        raise ConfigError(f"{target} is no name for this: let it end in .safetensors")
    if target.exists():
        raise ConfigError(f"{target} is there already: choose another name, or take it away")
    if not target.parent.is_dir():
        raise MissingError(f"the folder {target.parent} is not there: make it, or choose another")


def _metadata(found: Inspection) -> dict[str, str]:
    """What is known for certain; a model that was named counts, a guess among twins does not."""
    metadata = {key: found.file.metadata[key] for key in _KEPT if key in found.file.metadata}
    metadata |= {"format": "pt", SOURCE_KEY: found.digests["sha256"]}
    if found.model:
        metadata[MODEL_KEY] = found.model
    said = found.activation is not None or found.fit is not None
    uses = computes_quick_gelu(found.model)
    if said and uses is not None:
        metadata[METADATA_KEY] = json.dumps(uses)
    way = _preprocessing(found)
    if way:
        metadata[PREPROCESS_KEY] = json.dumps(way)
    return metadata


def _preprocessing(found: Inspection) -> dict[str, Any]:
    """How the weights want their pictures, where their publisher says it."""
    beside = read_config(found.file.path.parent)
    if found.published is not None and found.published.quick_gelu is not None:
        return preprocessing_of(found.published.model, (found.published.tag,))[0]
    if beside is not None and PREPROCESS_KEY not in found.file.metadata:
        return dict(beside.get("preprocess_cfg", {}))
    return {}


def _same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        tensor.dtype == second[name].dtype and torch.equal(tensor, second[name])
        for name, tensor in first.items()
    )
