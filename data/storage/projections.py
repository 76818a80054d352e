"""The last projections of a backbone, beside a cache of what enters them.

A cache made with `--features hidden` holds one file of them: `visual.weight` `(in, out)` and
`visual.bias` for frames, `text.weight` and `text.bias` for sentences and words. What is not there
changes nothing: a backbone may project without a bias, or not at all.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from vidret.data.errors import DamagedError
from vidret.data.storage.hdf5 import checksum, how_to_repair
from vidret.data.storage.publish import publish

if TYPE_CHECKING:  # torch takes seconds to import, and writing these needs none of it
    import torch

PROJECTIONS = "projections.safetensors"
NAMES = frozenset({"visual.weight", "visual.bias", "text.weight", "text.bias"})

Side = Literal["visual", "text"]
Projections = dict[str, NDArray[np.float32]]


def write_projections(folder: Path, tensors: Mapping[str, NDArray[np.float32]]) -> dict[str, str]:
    """Write the projections of a cache, whole or not at all.

    Args:
        folder: the cache.
        tensors: some of `NAMES`; a weight is `(in, out)`.

    Returns:
        The manifest's `files` for it: its name and its checksum.

    Raises:
        MissingError: the folder cannot be written to, or has no room.
    """
    assert tensors.keys() <= NAMES, tensors.keys()
    values = {
        name: np.ascontiguousarray(tensor, np.float32) for name, tensor in sorted(tensors.items())
    }
    with publish(folder / PROJECTIONS) as part:
        part.write_bytes(save(values))
    return {PROJECTIONS: checksum(folder / PROJECTIONS)}


def read_projections(folder: Path, files: Mapping[str, str]) -> Projections:
    """Read the projections of a cache.

    Args:
        folder: the cache.
        files: of its manifest.

    Raises:
        DamagedError: they are not there, or not as they were written.
    """
    path = folder / PROJECTIONS
    try:
        found = load(path.read_bytes())
        same = checksum(path) == files.get(PROJECTIONS)
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is not there: {how_to_repair(folder)}") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read ({error}): {how_to_repair(folder)}") from error
    if not same or not found.keys() <= NAMES:
        raise DamagedError(f"{path} is not as it was written: {how_to_repair(folder)}")
    return found


def project(values: "torch.Tensor", projections: Projections, side: Side) -> "torch.Tensor":
    """What the backbone makes of hidden features, in float32."""
    import torch

    weight, bias = projections.get(f"{side}.weight"), projections.get(f"{side}.bias")
    if weight is not None:
        values = values @ torch.from_numpy(weight)
    return values if bias is None else values + torch.from_numpy(bias)
