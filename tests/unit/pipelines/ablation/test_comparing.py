from types import SimpleNamespace

import numpy as np
import pytest

from vidret.heads.metrics import Ranks, summarize
from vidret.heads.streaming import BothRanks
from vidret.pipelines.ablation.comparing import COMPARED, compare

OWNERS = np.array([0, 0, 0, 1, 2, 2])


def ranked(*values):
    """Ranks without ties, from 1."""
    return Ranks(better=np.array(values, np.int64) - 1, tied=np.zeros(len(values), np.int64))


def both(t2v, v2t):
    return BothRanks(t2v=ranked(*t2v), v2t=ranked(*v2t))


def compared(row, base, **settings):
    features = SimpleNamespace(owners=OWNERS)
    return compare(row, base, features, resamples=settings.pop("resamples", 2000))


BASE = {
    0: both((1, 2, 2, 9, 1, 60), (1, 3, 2)),
    1: both((1, 1, 2, 8, 2, 61), (1, 2, 2)),
}
BETTER = {
    0: both((1, 1, 1, 4, 1, 30), (1, 1, 2)),
    1: both((1, 1, 2, 3, 1, 20), (2, 1, 2)),
}


def test_differences_are_those_of_the_summaries_averaged_over_the_seeds():
    found = compared(BETTER, BASE)
    for way in ("t2v", "v2t"):
        for metric in COMPARED:
            by_seed = [
                summarize(getattr(BETTER[seed], way))[metric]
                - summarize(getattr(BASE[seed], way))[metric]
                for seed in (0, 1)
            ]
            assert found[way][metric].difference == pytest.approx(sum(by_seed) / 2)


def test_a_lower_rank_is_the_better_one():
    its = compared(BETTER, BASE)["t2v"]["MnR"]
    assert its.difference < 0
    assert (its.favour, its.seeds_ahead, its.seeds) == (1.0, 2, 2)


def test_a_tie_of_seeds_is_no_lead():
    """Video to text, R@1: one more of three in the first seed, and as many in the second."""
    assert compared(BETTER, BASE)["v2t"]["R@1"].seeds_ahead == 1


def test_a_row_against_itself_is_no_difference_at_all():
    for its in compared(BASE, BASE)["t2v"].values():
        assert (its.difference, its.low, its.high, its.favour) == (0.0, 0.0, 0.0, 0.5)


def test_what_changes_sides_changes_its_sign_and_its_share():
    there, back = compared(BETTER, BASE)["t2v"], compared(BASE, BETTER)["t2v"]
    for metric in COMPARED:
        assert there[metric].difference == -back[metric].difference
        assert there[metric].low == pytest.approx(-back[metric].high)
        assert there[metric].favour == pytest.approx(1 - back[metric].favour)


def test_captions_are_drawn_with_their_video():
    """One video gains all of its three captions, the others nothing.

    With k copies of it among three drawn videos the gain can only be one of few numbers.
    """
    base = {0: both((2, 2, 2, 2, 2, 2), (1, 1, 1))}
    row = {0: both((1, 1, 1, 2, 2, 2), (1, 1, 1))}
    its = compared(row, base, resamples=5000)["t2v"]["R@1"]
    assert its.difference == 50.0
    assert (its.low, its.high) == (0.0, 100.0)  # none of it drawn, and nothing else: 8 and 1 in 27
    assert its.favour == pytest.approx(1 - 8 / 27 / 2, abs=0.02)


def test_only_seeds_that_both_have_are_compared():
    its = compared(BETTER, {1: BASE[1], 7: BASE[0]})["t2v"]["R@1"]
    assert its.seeds == 1
    gained = summarize(BETTER[1].t2v)["R@1"] - summarize(BASE[1].t2v)["R@1"]
    assert its.difference == pytest.approx(gained)
    assert compared(BETTER, {7: BASE[0]}) == {}
