"""Seconds of several ways to do one thing, taken in turns, so that a busy moment hits all alike."""

import random
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

Seconds = Mapping[str, Sequence[float]]


def take_turns(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    warm: bool = False,
) -> dict[str, list[float]]:
    """Time each way once a round, in a new order each time.

    A first round is not counted, unless all are `warm` already.
    """
    order, shuffled = list(ways), random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(warm, rounds + 1):
        shuffled.shuffle(order)
        for name in order:
            began = clock()
            ways[name]()
            if number:
                seconds[name].append(clock() - began)
    return seconds


def busy_seconds() -> float:
    """Seconds that cores have worked for this process and for all that it started.

    On a core of its own this is the time that passes; beside other work it stays the same.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = psutil.Process().children(recursive=True)
    return (
        time.process_time()
        + ended.ru_utime
        + ended.ru_stime
        + sum(_worked(child.pid) for child in running)
    )


def _worked(pid: int) -> float:
    """Seconds that the threads of a process have worked, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def median(seconds: Seconds, name: str) -> float:
    """The middle one of what a way took."""
    return statistics.median(seconds[name])


def times_slower(seconds: Seconds, name: str, than: str) -> float:
    """How many times as long a way took as another one: the middle one of all rounds."""
    pairs = zip(seconds[name], seconds[than], strict=True)
    return statistics.median(one / other for one, other in pairs)
