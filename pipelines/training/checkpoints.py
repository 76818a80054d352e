"""The files of a run that hold weights: read whole, and held against what they are for."""

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vidret.data.errors import DamagedError, MismatchError
from vidret.data.storage.publish import publish

STATE = "state.pt"
STATE_FORMAT = 2  # of that file
NAMED = 5  # differences in a message

Shape = Sequence[int]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights.

    Raises:
        DamagedError: it cannot be read.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DamagedError(
            f"{path} cannot be read ({str(error).splitlines()[0]}): remove {path.parent} and "
            "train again"
        ) from error


def require_same_tensors(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, where: str, what: str
) -> None:
    """Refuse weights that are made for something else.

    Raises:
        MismatchError: a tensor has another shape, is not there, or should not be.
    """
    require_same_shapes(
        {name: tensor.shape for name, tensor in found.items()},
        {name: tensor.shape for name, tensor in expected.items()},
        where=where,
        what=what,
    )


def require_same_shapes(
    found: Mapping[str, Shape], expected: Mapping[str, Shape], *, where: str, what: str
) -> None:
    """Refuse tensors of other names or shapes, and name those that differ.

    Args:
        found: the shapes in the file.
        expected: those that it is to fill.
        where: the file.
        what: what it is to fill, as in "this head".

    Raises:
        MismatchError: a tensor has another shape, is not there, or should not be.
    """
    told = [
        f"{name} is {_times(found[name])} in the file, and {_times(shape)} in {what}"
        for name, shape in expected.items()
        if name in found and tuple(found[name]) != tuple(shape)
    ]
    told += [f"{name} is not in the file" for name in expected if name not in found]
    told += [f"{name} is in the file, and not in {what}" for name in found if name not in expected]
    if told:
        more = f"; and {len(told) - NAMED} more" if len(told) > NAMED else ""
        raise MismatchError(
            f"{where} is made for another model: {'; '.join(told[:NAMED])}{more}: "
            "use the settings that it was made with, or train again under another name"
        )


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write everything that a stopped run needs to go on."""
    with publish(folder / STATE) as part:
        torch.save({"format": STATE_FORMAT, **state}, part)


def sweep(folder: Path) -> None:
    """Remove what a kill left half-written in the folder of a run, before the run goes on."""
    for part in folder.rglob("*.part"):
        part.unlink(missing_ok=True)


def load_state(folder: Path) -> dict[str, Any] | None:
    """What `save_state` wrote last, or None.

    Raises:
        DamagedError: it cannot be read.
        MismatchError: another vidret wrote it.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        written = state.get("format", 1)
    except Exception as error:  # torch names no class for all that can be wrong with a file
        reason = f"{str(error).partition('. ')[0]} ".splitlines()[0].strip()
        raise DamagedError(
            f"{path} cannot be read ({reason}): remove the folder and train again"
        ) from error
    if written != STATE_FORMAT:
        age = "a newer" if written > STATE_FORMAT else "an older"
        raise MismatchError(
            f"{path} has format {written}, of {age} vidret, and this one goes on from format "
            f"{STATE_FORMAT} alone: go on with that vidret, or remove {folder} and train again"
        )
    return {name: value for name, value in state.items() if name != "format"}


def state_of_stage(
    state: dict[str, Any], stage: str, model: nn.Module, folder: Path
) -> dict[str, Any] | None:
    """Where a stage was stopped, or None if it was not.

    Raises:
        MismatchError: the state is that of another model.
    """
    if state["stage"] != stage:
        return None
    where = str(folder / STATE)
    require_same_tensors(state["weights"], model.state_dict(), where=where, what="this head")
    return state


def steps_done(state: dict[str, Any]) -> dict[str, float]:
    """The last step of each stage that is saved; of one that has ended, every step."""
    finished = dict.fromkeys(state["finished"], inf)
    if state["stage"] is None:
        return finished
    return finished | {state["stage"]: state["schedule"]["last_epoch"]}  # torch's name for a step


def _times(shape: Shape) -> str:
    return " x ".join(map(str, shape)) if len(shape) else "a single number"
