import numpy as np
import pytest

from vidret.heads.metrics import Ranks
from vidret.heads.streaming import BothRanks
from vidret.pipelines.reporting.distributions import bin_ranks, trace_recall


def ranks(*places, tied=None):
    better = np.array(places, np.int64) - 1
    return Ranks(better=better, tied=np.array(tied or [0] * len(places), np.int64))


def test_each_bin_is_twice_as_wide_as_the_one_before():
    found = bin_ranks(BothRanks(t2v=ranks(1, 20), v2t=ranks(1)))
    assert [(one.first, one.last) for one in found] == [
        (1, 1),
        (2, 2),
        (3, 4),
        (5, 8),
        (9, 16),
        (17, 32),
    ]


def test_every_rank_lies_in_the_bin_that_holds_it():
    for rank in range(1, 300):
        found = bin_ranks(BothRanks(t2v=ranks(rank), v2t=ranks(1)))
        (holding,) = [one for one in found if one.t2v]
        assert holding.first <= rank <= holding.last
        assert holding.t2v == 100


def test_the_bins_share_out_all_queries_of_both_directions():
    found = bin_ranks(BothRanks(t2v=ranks(1, 1, 4, 3), v2t=ranks(1, 2)))
    assert [(one.t2v, one.v2t) for one in found] == [(50, 50), (0, 50), (50, 0)]


def test_a_tied_rank_of_one_and_a_half_is_not_first():
    found = bin_ranks(BothRanks(t2v=ranks(1, tied=[1]), v2t=ranks(1)))
    assert [one.t2v for one in found] == [0, 100]


def test_recall_grows_as_the_share_of_ranks_that_are_small_enough():
    places = (1, 2, 2, 7, 9)
    curve = trace_recall(BothRanks(t2v=ranks(*places), v2t=ranks(1, 10)), 10)
    assert [one.k for one in curve] == list(range(1, 11))
    for one in curve:
        assert one.t2v == pytest.approx(100 * sum(place <= one.k for place in places) / 5)
        assert one.v2t == (100 if one.k == 10 else 50)


def test_recall_among_very_many_is_traced_at_few_places_from_the_first_to_the_last():
    curve = trace_recall(BothRanks(t2v=ranks(1), v2t=ranks(1)), 27_763)
    assert (curve[0].k, curve[-1].k) == (1, 27_763)
    assert len(curve) <= 40


def test_a_single_video_has_a_curve_of_one_point():
    assert [one.k for one in trace_recall(BothRanks(t2v=ranks(1), v2t=ranks(1)), 1)] == [1]
