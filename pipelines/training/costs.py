"""What a fit has cost: its seconds stand in the log, its memory in a file beside it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from vidret.data.storage.publish import publish
from vidret.pipelines.training.journal import EPOCH, read_log
from vidret.pipelines.training.peak import peak_memory

MEMORY = "memory.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FitCost:
    """What training took, without looking for the best epoch.

    Args:
        seconds: of all batches of all epochs, also of those before an interruption.
        peak_bytes: the most that was held above the features since the fit was last begun or
            continued; None where nobody looked.
    """

    seconds: float
    peak_bytes: int | None


@contextmanager
def memory_noted(folder: Path, device: torch.device) -> Iterator[None]:
    """Write down the most memory that this block takes, once it has come to its end."""
    with peak_memory(device) as peak:
        yield
    with publish(folder / MEMORY) as part:
        part.write_text(f"{json.dumps({'peak_bytes': peak[0], 'device': device.type})}\n")


def read_memory(folder: Path) -> int | None:
    """The most bytes that a fit took, or None where that is not known."""
    try:
        return int(json.loads((folder / MEMORY).read_text())["peak_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def cost_of_fit(folder: Path) -> FitCost:
    """What the fit of a run took, by its log."""
    seconds = {
        (line["stage"], line["epoch"]): float(line["seconds"])
        for line in read_log(folder)
        if line.get("kind") == EPOCH and "seconds" in line
    }
    return FitCost(seconds=sum(seconds.values()), peak_bytes=read_memory(folder))


def both(first: FitCost | None, second: FitCost) -> FitCost:
    """What two fits took one after the other."""
    if first is None:
        return second
    peaks = [one.peak_bytes for one in (first, second) if one.peak_bytes is not None]
    return FitCost(seconds=first.seconds + second.seconds, peak_bytes=max(peaks) if peaks else None)
