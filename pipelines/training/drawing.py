"""Which captions meet in a batch, drawn anew for every epoch."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

ALL, DISTINCT, ONE_EACH = "all", "distinct", "one-each"


def draw_batches(
    owners: Int[Tensor, " text"], *, size: int, pairs: str, generator: torch.Generator
) -> Iterator[Int[Tensor, " pair"]]:
    """The batches of one epoch, as rows of the captions; one alone has no negatives and waits.

    Args:
        owners: the video of each caption.
        size: of a batch, at most.
        pairs: `all` takes every caption once, in any order. `distinct` does so too, and no batch
            has a video twice. `one-each` takes one caption of each video.
        generator: of the draw, on the CPU like the owners.
    """
    if pairs == DISTINCT:
        batches = _distinct(owners, size, generator)
    elif pairs == ONE_EACH:
        batches = _one_each(owners, generator).split(size)
    else:
        batches = torch.randperm(len(owners), generator=generator).split(size)
    return (rows for rows in batches if len(rows) > 1)


def count_batches(owners: Int[Tensor, " text"], *, size: int, pairs: str) -> int:
    """How many batches an epoch has, those included that may be too small to count."""
    if pairs == DISTINCT:
        return _fewest(owners, size)
    videos = len(owners.unique()) if pairs == ONE_EACH else len(owners)
    return math.ceil(videos / size)


def _fewest(owners: Int[Tensor, " text"], size: int) -> int:
    """The fewest batches that hold every caption with no video twice in any."""
    most = int(owners.bincount().max()) if len(owners) else 0
    return max(math.ceil(len(owners) / size), most)


def _one_each(owners: Int[Tensor, " text"], generator: torch.Generator) -> Int[Tensor, " video"]:
    """The first caption of each video in a random order of all, these in random order again."""
    order = torch.randperm(len(owners), generator=generator)
    videos = int(owners.max()) + 1 if len(owners) else 0
    first = torch.full((videos,), len(owners)).scatter_reduce(
        0, owners[order], torch.arange(len(owners)), "amin"
    )
    chosen = order[first[first < len(owners)]]
    return chosen[torch.randperm(len(chosen), generator=generator)]


def _distinct(
    owners: Int[Tensor, " text"], size: int, generator: torch.Generator
) -> tuple[Int[Tensor, " pair"], ...]:
    """As few batches as can be, of sizes that differ by one at most.

    The captions stand in line, each video's behind one another, and are dealt out lap by lap: a lap
    gives every batch one caption, in random order. No video has more captions than there are
    batches, so it fits into one lap, or into two that follow each other. In the second it gets
    batches that it did not get in the first.
    """
    number = _fewest(owners, size)
    shuffled = torch.randperm(len(owners), generator=generator)
    videos = int(owners.max()) + 1 if len(owners) else 0
    place = torch.randperm(videos, generator=generator)  # of each video in the line
    line = shuffled[place[owners[shuffled]].argsort(stable=True)]
    batch_of = torch.empty_like(line)
    for start in range(0, len(line), max(1, number)):
        lap = owners[line[start : start + number]]
        slots = torch.randperm(number, generator=generator)
        split = bool(start) and bool(owners[line[start - 1]] == lap[0])
        if split:
            before = slice(start - number, start)
            slots = _elsewhere(slots, batch_of[before][owners[line[before]] == lap[0]], lap)
        batch_of[start : start + number] = slots[: len(lap)]
    order = batch_of.argsort(stable=True)
    return line[order].split(batch_of.bincount(minlength=number).tolist())


def _elsewhere(
    slots: Int[Tensor, " batch"], taken: Int[Tensor, " some"], lap: Int[Tensor, " few"]
) -> Int[Tensor, " batch"]:
    """The same slots, so ordered that the first video of a lap gets none of those it has."""
    free = (~torch.isin(slots, taken)).nonzero()[:, 0][: int((lap == lap[0]).sum())]
    others = torch.ones(len(slots), dtype=torch.bool)
    others[free] = False
    return torch.cat([slots[free], slots[others]])
