"""How far a difference could be chance: the bootstrap over the queries of a test set.

Two heads answer the same queries, so their answers are compared query by query, and the same draw
of queries counts for both. Captions of one video fail and succeed together, so a draw takes a video
with all its captions or leaves it (a cluster bootstrap).
"""

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 10_000
LEVEL = 95.0  # percent
MEMORY = 64 * 2**20


def resampled_means(
    values: Float[np.ndarray, "query column"],
    groups: Int[np.ndarray, " query"],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    memory: int = MEMORY,
) -> Float[np.ndarray, "resample column"]:
    """Return the means of all columns over queries that are drawn again and again.

    A draw takes as many groups as there are, each as often as chance has it, and the mean is over
    all queries in them. All columns see the same draws.

    Args:
        values: one number a query in each column, such as the difference of two heads.
        groups: a number for each query; those with the same number are drawn together.
        resamples: how many draws.
        seed: of the draws.
        memory: bytes that the draws held at once may take.
    """
    members, sizes, sums = _by_group(values, groups)
    means = np.empty((resamples, values.shape[1]))
    rng = np.random.default_rng(seed)
    at_once = max(1, memory // (4 * 8 * members))  # draws, places, counts, and counts as floats
    for start in range(0, resamples, at_once):
        block = means[start : start + at_once]
        times = _times_drawn(rng, len(block), members)
        block[:] = (times @ sums) / (times @ sizes)[:, None]
    return means


def percentile_interval(
    samples: Float[np.ndarray, " resample"], *, level: float = LEVEL
) -> tuple[float, float]:
    """Return the bounds that leave out as many resamples below as above, `level` percent within."""
    outside = (100 - level) / 2
    low, high = np.percentile(samples, [outside, 100 - outside])
    return float(low), float(high)


def share_above_zero(samples: Float[np.ndarray, " resample"]) -> float:
    """Return the share of the resamples above zero; one at zero counts half."""
    return float((samples > 0).mean() + (samples == 0).mean() / 2)


def _by_group(
    values: Float[np.ndarray, "query column"], groups: Int[np.ndarray, " query"]
) -> tuple[int, Float[np.ndarray, " group"], Float[np.ndarray, "group column"]]:
    """How many groups there are, how many queries each has, and the sums of its columns."""
    order = groups.argsort(kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    sums = np.add.reduceat(values[order].astype(np.float64), starts, axis=0)
    return len(starts), sizes.astype(np.float64), sums


def _times_drawn(
    rng: np.random.Generator, resamples: int, members: int
) -> Float[np.ndarray, "resample group"]:
    """How often each draw takes each group."""
    drawn = rng.integers(0, members, (resamples, members))
    drawn += np.arange(resamples)[:, None] * members
    counts = np.bincount(drawn.ravel(), minlength=resamples * members)
    return counts.reshape(resamples, members).astype(np.float64)
