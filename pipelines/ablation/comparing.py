"""A row against the base row: differences on the same queries, and how sure the queries make us."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidret.data.features import SplitFeatures
from vidret.heads.metrics import Ranks
from vidret.heads.resampling import percentile_interval, resampled_means, share_above_zero
from vidret.heads.streaming import BothRanks

COMPARED = ("R@1", "R@5", "R@10", "R@50", "MnR")
LOWER_IS_BETTER = "MnR"
DIGITS = 9  # beyond which what is left of a difference is rounding, and no lead

BySeed = Mapping[int, BothRanks]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One number of a row less that of the base row.

    Args:
        difference: of the means over those seeds that both rows have.
        low: lower bound of the 95 % interval over test videos.
        high: upper bound.
        favour: share of the resamples in which the row is better.
        seeds_ahead: in how many seeds the row is better.
        seeds: how many seeds both rows have.
    """

    difference: float
    low: float
    high: float
    favour: float
    seeds_ahead: int
    seeds: int


def compare(
    row: BySeed, base: BySeed, features: SplitFeatures, *, resamples: int
) -> dict[str, dict[str, Comparison]]:
    """Compare two rows in both directions; empty where no seed is in both.

    Queries are resampled video by video, with all captions of each; the seeds are averaged first,
    so the intervals tell how much the choice of test videos matters, and nothing of the seeds.
    """
    seeds = [seed for seed in row if seed in base]
    if not seeds:
        return {}
    groups = {"t2v": features.owners, "v2t": np.arange(len(np.unique(features.owners)))}
    return {
        way: _compare_one_way(
            [getattr(row[seed], way) for seed in seeds],
            [getattr(base[seed], way) for seed in seeds],
            groups[way],
            resamples,
        )
        for way in groups
    }


def _compare_one_way(
    ours: Sequence[Ranks], theirs: Sequence[Ranks], groups: NDArray[np.int64], resamples: int
) -> dict[str, Comparison]:
    by_seed = np.stack(
        [_numbers(one) - _numbers(other) for one, other in zip(ours, theirs, strict=True)]
    )
    samples = resampled_means(by_seed.mean(0), groups, resamples=resamples).round(DIGITS)
    of_seeds = by_seed.mean(1).round(DIGITS)
    return {
        metric: _comparison(of_seeds[:, column], samples[:, column], metric)
        for column, metric in enumerate(COMPARED)
    }


def _comparison(
    of_seeds: NDArray[np.float64], samples: NDArray[np.float64], metric: str
) -> Comparison:
    sign = -1 if metric == LOWER_IS_BETTER else 1
    low, high = percentile_interval(samples)
    return Comparison(
        difference=float(of_seeds.mean()),
        low=low,
        high=high,
        favour=share_above_zero(sign * samples),
        seeds_ahead=int((sign * of_seeds > 0).sum()),
        seeds=len(of_seeds),
    )


def _numbers(ranks: Ranks) -> NDArray[np.float64]:
    """What each query adds to the numbers: a column each, recalls in percent."""
    recalls = [100 * ranks.hits(int(one.removeprefix("R@"))) for one in COMPARED[:-1]]
    return np.stack([*recalls, ranks.values], axis=1)
