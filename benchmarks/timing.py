"""Seconds of several ways to do one thing, taken in turns, so that a busy moment hits all alike."""

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Seconds = Mapping[str, Sequence[float]]


def take_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Time each way once a round, in a new order each time; a first round is not counted."""
    order, shuffled = list(ways), random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        shuffled.shuffle(order)
        for name in order:
            began = time.perf_counter()
            ways[name]()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def median(seconds: Seconds, name: str) -> float:
    """The middle one of what a way took."""
    return statistics.median(seconds[name])


def times_slower(seconds: Seconds, name: str, than: str) -> float:
    """How many times as long a way took as another one: the middle one of all rounds."""
    pairs = zip(seconds[name], seconds[than], strict=True)
    return statistics.median(one / other for one, other in pairs)
