"""What ends a fit amid an epoch: numbers that are not finite, and memory that does not suffice."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vidret.data.errors import DamagedError, MissingError
from vidret.pipelines.training.journal import STOPPED, Journal

if TYPE_CHECKING:
    from vidret.pipelines.training.loop import Learner

NAMED = 5  # captions and videos in a message; the log names all
NO_ROOM = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)
AMOUNT = re.compile(r"tried to allocate ([\d.]+ \w+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a batch stands in a fit; epochs and the steps of a stage count from 1."""

    stage: str
    epoch: int
    step: int


def refuse_numbers(
    learner: "Learner",
    place: Place,
    rows: Tensor,
    batch: object,
    found: tuple[float, float],
    journal: Journal | None,
) -> DamagedError:
    """The error for a loss or a gradient that is not finite, once the log has it.

    Args:
        learner: knows what captions and videos are called.
        place: of the batch.
        rows: its captions.
        batch: as it was gathered.
        found: its loss, and the norm of its gradient.
        journal: where the log goes.
    """
    loss, norm = found
    captions, videos = _captions(learner, rows.tolist()), _videos(learner, rows.tolist())
    at_fault = [] if learner.astray is None else learner.astray(batch)
    astray = _videos(learner, at_fault) or _captions(learner, at_fault)
    if journal is not None:
        told: dict[str, Any] = {"kind": STOPPED, **asdict(place), "loss": str(loss)}
        told |= {"grad_norm": str(norm), "captions": captions, "videos": videos}
        journal.write(told | ({"astray": astray} if astray else {}))
    what = "norm of the gradient" if isfinite(loss) else "loss"
    of_videos = f" of videos {_some(videos)}" if videos else ""
    already = f", where the features of {_some(astray)} are not finite" if astray else ""
    return DamagedError(
        f"the {what} of stage {place.stage} is {norm if isfinite(loss) else loss} in epoch "
        f"{place.epoch}, step {place.step}, on captions {_some(captions)}{of_videos}{already}: "
        f"{learner.advice}; the epochs before this one are kept"
    )


def less_memory(
    *, chunk: int, checkpointing: bool, batch_size: int, precision: str, encodes: bool
) -> str:
    """What takes less memory than a fit does with these settings, for its message.

    Args:
        chunk: captions or videos encoded at once; 0 for a whole batch.
        checkpointing: blocks are computed twice.
        batch_size: captions in a batch.
        precision: that the encoders compute in.
        encodes: there are encoders that learn.
    """
    at_once = min(chunk or batch_size, batch_size)
    going_on = ["--checkpointing"] if encodes and not checkpointing else []
    going_on += [f"--chunk {max(1, at_once // 4)}"] if encodes and at_once > 1 else []
    anew = [f"a lower --batch-size than {batch_size}"]
    anew += ["--precision bfloat16"] if encodes and precision == "float32" else []
    beginning = f"begin anew with {' or '.join(anew)}"
    return f"go on with {' or '.join(going_on)}, or {beginning}" if going_on else beginning


@contextmanager
def naming_the_room(what: str, remedy: str) -> Iterator[None]:
    """Say in a sentence that memory does not suffice, and what would take less.

    Args:
        what: the block does, as in "in stage audio".
        remedy: what to do, as `less_memory` says it.

    Raises:
        MissingError: memory does not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch has a class of its own for GPUs alone
        if not isinstance(error, MemoryError) and NO_ROOM.search(str(error)) is None:
            raise
        raise MissingError(
            f"there is not enough memory {_amount(error)}{what}: {remedy}; the epochs before "
            "are kept"
        ) from error


def _amount(error: BaseException) -> str:
    """How much was asked for, with where, as far as the error says."""
    text = str(error)
    place = "on the GPU " if isinstance(error, torch.OutOfMemoryError) else ""
    found = AMOUNT.search(text)
    if found is None:
        return place
    amount, unit = found[1].split()
    told = f"{int(amount) / 2**20:,.0f} MiB" if unit == "bytes" else f"{amount} {unit}"
    return f"{place}(another {told} were asked for) "


def _captions(learner: "Learner", rows: list[int]) -> list[str]:
    return [learner.caption_ids[row] if learner.caption_ids else str(row) for row in rows]


def _videos(learner: "Learner", rows: list[int]) -> list[str]:
    """The videos of some captions, each once; none where nobody knows what they are called."""
    owners = dict.fromkeys(learner.owners[rows].tolist()) if learner.video_ids else {}
    return [learner.video_ids[owner] for owner in owners]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
