from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from making.contents import a_run
from making.planted import write_planted_cache

from vidret.data.cache import FeatureCache
from vidret.data.errors import MismatchError
from vidret.heads.metrics import Ranks
from vidret.heads.streaming import BothRanks
from vidret.pipelines.reporting.against_run import (
    compare_ranks,
    compare_runs,
    in_order_of,
    require_same_queries,
)


def ranks(*places, tied=None):
    better = np.array(places, np.int64) - 1
    return Ranks(better=better, tied=np.array(tied or [0] * len(places), np.int64))


def by_metric(way):
    return {one.metric: one for one in way.metrics}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = write_planted_cache(tmp_path_factory.mktemp("cache"), splits={"test": 4})
    return FeatureCache.open(folder).load("test")


def reordered(features, captions, videos):
    """The same split as another cache might hold it."""
    place_of = {old: new for new, old in enumerate(videos)}
    return replace(
        features,
        caption_ids=[features.caption_ids[row] for row in captions],
        text=[features.text[row] for row in captions],
        owners=np.array([place_of[features.owners[row]] for row in captions]),
        video_ids=[features.video_ids[row] for row in videos],
    )


def test_wins_and_losses_are_counted_query_by_query():
    way = compare_ranks(ranks(1, 1, 4, 2, 9), ranks(1, 3, 1, 5, 9), np.arange(5))
    assert (way.queries, way.won, way.lost) == (5, 1, 1)
    assert (way.closer, way.farther) == (2, 1)


def test_a_difference_is_this_run_less_the_other():
    found = by_metric(compare_ranks(ranks(1, 1, 4, 2), ranks(1, 3, 2, 12), np.arange(4)))
    assert found["R@1"].ours == 50
    assert found["R@1"].theirs == 25
    assert found["R@1"].difference == 25
    assert found["R@10"].difference == 25
    assert found["MnR"].difference == pytest.approx(8 / 4 - 18 / 4)
    assert found["MdR"].difference == pytest.approx(1.5 - 2.5)
    assert found["MdR"].interval is None


def test_a_run_against_itself_differs_in_nothing():
    same = ranks(1, 7, 2)
    way = compare_ranks(same, same, np.arange(3))
    assert all(one.difference == 0 for one in way.metrics)
    assert {one.interval for one in way.metrics if one.interval} == {(0.0, 0.0)}
    assert (way.won, way.lost, way.closer, way.farther) == (0, 0, 0, 0)


def test_the_interval_is_that_of_all_draws_of_whole_videos():
    """Three videos can be drawn in 27 ways; the quantiles are those of all of them."""
    ours, theirs = ranks(1, 1, 9, 9, 1, 9), ranks(9, 9, 1, 9, 9, 9)
    owners = np.array([0, 0, 1, 1, 2, 2])
    gain = 100 * (ours.hits(1) - theirs.hits(1))
    all_draws = [
        np.concatenate([gain[owners == video] for video in drawn]).mean()
        for drawn in product(range(3), repeat=3)
    ]
    (low, high) = by_metric(compare_ranks(ours, theirs, owners))["R@1"].interval
    expected = np.percentile(all_draws, [2.5, 97.5], method="inverted_cdf")
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-9)


def test_half_a_hit_of_a_tie_wins_over_none():
    way = compare_ranks(ranks(1, tied=[1]), ranks(2), np.arange(1))
    assert (way.won, way.lost) == (1, 0)


def test_other_runs_are_told_with_all_that_differs():
    ours = a_run(seed=0, settings={"lr": 0.001})
    theirs = a_run("s-f", name="theirs", seed=1, settings={"lr": 0.01})
    both = BothRanks(t2v=ranks(1, 2), v2t=ranks(1, 2))
    found = compare_runs((ours, both), (theirs, both), np.arange(2))
    assert (found.run, found.head, found.seed) == ("theirs", "s-f", 1)
    assert found.differs == {"head": ("mgfi+cmfi", "s-f"), "seed": (0, 1), "lr": (0.001, 0.01)}


def test_captions_of_one_video_are_drawn_together():
    """Of two videos a quarter of all draws has the one alone; of eight captions 1 in 256 would."""
    ours, theirs = ranks(1, 1, 1, 1, 9, 9, 9, 9), ranks(*[9] * 8)
    v2t = ranks(1, 1)
    both, other = BothRanks(t2v=ours, v2t=v2t), BothRanks(t2v=theirs, v2t=v2t)
    found = compare_runs((a_run(), both), (a_run(), other), np.repeat([0, 1], 4))
    assert by_metric(found.t2v)["R@1"].interval == (0.0, 100.0)


def test_ranks_of_a_cache_in_another_order_are_put_in_this_one(features):
    other = reordered(features, [7, 2, 5, 0, 1, 6, 3, 4], [2, 0, 3, 1])
    require_same_queries(features, other, "theirs")
    t2v = ranks(*(1 + row for row in (7, 2, 5, 0, 1, 6, 3, 4)))
    v2t = ranks(*(1 + row for row in (2, 0, 3, 1)))
    found = in_order_of(features, other, BothRanks(t2v=t2v, v2t=v2t))
    assert found.t2v.values.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert found.v2t.values.tolist() == [1, 2, 3, 4]


def test_videos_without_captions_are_no_queries_of_either_order(features):
    ours = replace(features, video_ids=["empty", *features.video_ids], owners=features.owners + 1)
    theirs = replace(features, video_ids=[*features.video_ids, "empty"])
    both = BothRanks(t2v=ranks(*[1] * 8), v2t=ranks(1, 2, 3, 4))
    require_same_queries(ours, theirs, "theirs")
    assert in_order_of(ours, theirs, both).v2t.values.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"video_ids": ["a", "b", "c", "d"]}, "8 videos"),
        ({"caption_ids": ["a", "b", "c", "d", "e", "f", "g", "h"]}, "16 captions"),
        ({"text": ["other"] * 8}, "other texts"),
    ],
)
def test_other_queries_are_refused_with_what_to_do(features, changes, told):
    with pytest.raises(MismatchError, match="theirs") as caught:
        require_same_queries(features, replace(features, **changes), "theirs")
    assert told in str(caught.value)
    assert "compare runs of one dataset" in str(caught.value)
