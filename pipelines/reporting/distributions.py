"""How ranks are spread: how many queries end where, and how many are found among the first K."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidret.heads.metrics import Ranks
from vidret.heads.streaming import BothRanks

CURVE_POINTS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class RankBin:
    """The share of all queries, in percent, whose rank is above `first - 1` and at most `last`."""

    first: int
    last: int
    t2v: float
    v2t: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallPoint:
    """R@K in percent of both directions."""

    k: int
    t2v: float
    v2t: float


def bin_ranks(ranks: BothRanks) -> tuple[RankBin, ...]:
    """Ranks in bins that double: 1, 2, 3 to 4, 5 to 8, as far as the worst one.

    A tied rank may end in a half and belongs to the bin of the next whole one.
    """
    t2v, v2t = _places(ranks.t2v), _places(ranks.v2t)
    number = int(max(t2v.max(), v2t.max())) + 1
    shares = [
        (100 * np.bincount(places, minlength=number) / len(places)).tolist()
        for places in (t2v, v2t)
    ]
    return tuple(
        RankBin(first=2 ** (place - 1) + 1 if place else 1, last=2**place, t2v=first, v2t=second)
        for place, (first, second) in enumerate(zip(*shares, strict=True))
    )


def trace_recall(ranks: BothRanks, candidates: int) -> tuple[RecallPoint, ...]:
    """R@K from 1 to the number of candidates, at most forty K evenly apart on a log scale."""
    spread = np.geomspace(1, max(1, candidates), CURVE_POINTS).round().astype(int)
    return tuple(
        RecallPoint(k=k, t2v=_recall(ranks.t2v, k), v2t=_recall(ranks.v2t, k))
        for k in np.unique(spread).tolist()
    )


def _places(ranks: Ranks) -> NDArray[np.int64]:
    """The number of each rank's bin; the logarithm of a power of two is exact."""
    return np.ceil(np.log2(np.ceil(ranks.values))).astype(np.int64)


def _recall(ranks: Ranks, k: int) -> float:
    return 100 * float(ranks.hits(k).mean())
