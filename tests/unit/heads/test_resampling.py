import time
import tracemalloc

import numpy as np
import pytest
from scipy.stats import bootstrap

from vidret.heads.resampling import percentile_interval, resampled_means, share_above_zero

SIZES = (1, 4, 2, 7, 3)  # captions of five videos


def uneven(seed=0):
    """Two columns of values, and the groups of the queries in mixed order."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(len(SIZES)), SIZES))
    return rng.normal(size=(len(groups), 2)), groups


def slow_means(values, groups, resamples, seed):
    """Every draw by itself, every query by itself."""
    rng = np.random.default_rng(seed)
    names = sorted(set(groups.tolist()))
    means = []
    for _ in range(resamples):
        drawn = [names[place] for place in rng.integers(0, len(names), len(names))]
        chosen = [values[query] for name in drawn for query in np.flatnonzero(groups == name)]
        means.append(np.mean(chosen, axis=0))
    return np.array(means)


def test_draws_are_those_of_a_slow_loop_over_groups_of_uneven_size():
    values, groups = uneven()
    found = resampled_means(values, groups, resamples=200, seed=3)
    np.testing.assert_allclose(found, slow_means(values, groups, 200, 3), rtol=1e-12)


def test_queries_of_their_own_give_the_paired_interval_of_scipy():
    rng = np.random.default_rng(1)
    ours, base = (rng.random((60, 1)) < 0.6).astype(float), rng.random((60, 1))
    samples = resampled_means(ours - base, np.arange(60), resamples=999, seed=5)[:, 0]
    expected = bootstrap(
        (ours[:, 0], base[:, 0]),
        lambda a, b: (a - b).mean(),
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=999,
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert percentile_interval(samples) == pytest.approx(expected, abs=1e-12)


def test_two_videos_give_the_three_means_that_can_be_written_down():
    """One video with one caption that gained 1, one with three that gained nothing.

    Drawn are both the first (mean 1) in a quarter of all cases, both the second (0) in a quarter,
    and one of each (a quarter of the captions gained, so 0.25) in half.
    """
    values, groups = np.array([[1.0], [0.0], [0.0], [0.0]]), np.array([7, 2, 2, 2])
    samples = resampled_means(values, groups, resamples=40_000)[:, 0]
    means, counts = np.unique(samples, return_counts=True)
    assert means.tolist() == [0.0, 0.25, 1.0]
    np.testing.assert_allclose(counts / 40_000, [0.25, 0.5, 0.25], atol=0.01)
    assert share_above_zero(samples) == pytest.approx(0.875, abs=0.01)
    assert percentile_interval(samples) == (0.0, 1.0)
    assert percentile_interval(samples, level=40.0) == (0.25, 0.25)


def test_captions_of_one_video_widen_the_interval_as_they_tell_the_same():
    rng = np.random.default_rng(2)
    values = np.repeat(rng.normal(size=(40, 1)), 25, axis=0)
    apart = resampled_means(values, np.arange(1000), resamples=500)[:, 0]
    together = resampled_means(values, np.repeat(np.arange(40), 25), resamples=500)[:, 0]
    assert together.std() == pytest.approx(5 * apart.std(), rel=0.15)  # the root of 25


def test_the_order_of_queries_and_the_names_of_groups_do_not_matter():
    values, groups = uneven()
    order = np.random.default_rng(9).permutation(len(groups))
    again = resampled_means(values[order], 10 * groups[order] - 3, resamples=50)
    np.testing.assert_allclose(again, resampled_means(values, groups, resamples=50), rtol=1e-12)


def test_memory_decides_nothing_but_the_speed():
    values, groups = uneven()
    whole = resampled_means(values, groups, resamples=100)
    in_pieces = resampled_means(values, groups, resamples=100, memory=1)
    np.testing.assert_allclose(in_pieces, whole, rtol=1e-12)


def test_a_column_sees_the_same_draws_whatever_stands_beside_it():
    values, groups = uneven()
    both, alone = (resampled_means(some, groups, resamples=50) for some in (values, values[:, 1:]))
    np.testing.assert_allclose(both[:, 1], alone[:, 0], rtol=1e-12)


def test_no_difference_favours_nobody():
    samples = resampled_means(np.zeros((4, 1)), np.arange(4), resamples=20)[:, 0]
    assert share_above_zero(samples) == 0.5
    assert percentile_interval(samples) == (0.0, 0.0)


def test_the_captions_of_msvd_take_seconds_and_bounded_memory_each_on_its_own():
    values = np.random.default_rng(0).random((27_763, 8))
    began = time.process_time()
    resampled_means(values, np.arange(27_763), resamples=1000)
    assert time.process_time() - began < 20  # under 2 seconds on a machine that has nothing to do
    tracemalloc.start()
    resampled_means(values, np.arange(27_763), resamples=100, memory=8 * 2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * values.nbytes + 2 * 8 * 2**20
