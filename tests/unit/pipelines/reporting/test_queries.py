from types import SimpleNamespace

import numpy as np
import pytest
import torch
from making.planted import load_split, write_planted_cache

from vidret.data.cache import FeatureCache
from vidret.heads.catalog import build_retriever
from vidret.heads.metrics import Ranks, text_to_video_ranks
from vidret.pipelines.reporting.queries import (
    look_at_queries,
    random_rows,
    shown_videos,
    worst_rows,
)


def ranks(*places):
    better = np.array(places, np.int64) - 1
    return Ranks(better=better, tied=np.zeros_like(better))


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A split, a head with sound that knows nothing, and its similarities by its own forward."""
    folder = write_planted_cache(tmp_path_factory.mktemp("cache"), splits={"test": 12})
    features, split = FeatureCache.open(folder).load("test"), load_split(folder, "test")
    sizes = {"dim": split.videos.frames.shape[-1], "audio_dim": split.videos.audio.shape[-1]}
    retriever = build_retriever("mgfi+cmfi", **sizes, logit_scale=20.0, seed=1)
    with torch.inference_mode():
        similarity = retriever.eval()(split.texts[:], split.videos)
    return SimpleNamespace(
        features=features,
        split=split,
        retriever=retriever,
        similarity=similarity.double().numpy(),
        ranks=text_to_video_ranks(similarity, split.owners),
    )


def look(scored, rows):
    return look_at_queries(
        scored.retriever, scored.split, scored.features, scored.ranks, np.array(rows, np.int64)
    )


def test_the_hardest_are_the_worst_ranks_and_equal_ones_in_order():
    assert worst_rows(ranks(2, 9, 1, 9, 4), 3).tolist() == [1, 3, 4]


def test_what_was_found_at_once_is_not_hard():
    assert worst_rows(ranks(1, 2, 1), 20).tolist() == [1]
    assert worst_rows(ranks(1, 1), 20).tolist() == []


def test_the_random_ones_are_drawn_by_the_seed_and_none_twice():
    of_all = ranks(*range(1, 101))
    first, again = random_rows(of_all, 10, 0), random_rows(of_all, 10, 0)
    assert first.tolist() == again.tolist() == sorted(set(first.tolist()))
    assert first.tolist() != random_rows(of_all, 10, 1).tolist()


def test_of_few_queries_all_are_drawn():
    assert random_rows(ranks(1, 2, 3), 20, 0).tolist() == [0, 1, 2]


def test_the_random_ones_do_not_depend_on_the_ranks():
    drawn = random_rows(ranks(*range(1, 101)), 10, 0)
    assert drawn.tolist() == random_rows(ranks(*[1] * 100), 10, 0).tolist()


def test_the_scores_are_those_of_the_heads_own_forward(scored):
    for row, query in enumerate(look(scored, range(24))):
        own = int(scored.features.owners[row])
        assert query.right.row == own
        assert query.right.score == pytest.approx(scored.similarity[row, own], abs=1e-5)
        assert query.right.score == pytest.approx(sum(query.right.parts.values()))
        assert list(query.right.parts) == ["sentence", "words", "audio"]


def test_the_rival_is_the_best_of_the_other_videos(scored):
    for row, query in enumerate(look(scored, range(24))):
        own = int(scored.features.owners[row])
        others = np.delete(scored.similarity[row], own)
        assert query.rival.row != own
        assert query.rival.score == pytest.approx(others.max(), abs=1e-5)
        assert query.is_found == (query.right.score > query.rival.score)


def test_a_query_is_told_with_its_words_and_its_rank(scored):
    (query,) = look(scored, [5])
    assert query.caption == scored.features.caption_ids[5]
    assert query.text == scored.features.text[5]
    assert query.kind == scored.features.kind[5]
    assert query.rank == scored.ranks.values[5]
    assert query.right.sound == str(scored.features.audio_state[query.right.row])


def test_no_rows_ask_for_no_scores(scored):
    assert look(scored, []) == []


def test_among_one_video_there_is_no_rival(tmp_path):
    folder = write_planted_cache(tmp_path, splits={"test": 1})
    features, split = FeatureCache.open(folder).load("test"), load_split(folder, "test")
    retriever = build_retriever("mean", dim=16, audio_dim=8, logit_scale=20.0)
    query, _ = look_at_queries(retriever, split, features, ranks(1, 1), np.array([0, 1]))
    assert query.rival is None


def test_a_video_that_is_shown_often_needs_its_pictures_once(scored):
    queries = look(scored, range(24))
    rows = shown_videos(queries)
    assert len(rows) == len(set(rows))
    assert set(rows) == {one.row for query in queries for one in (query.right, query.rival)}
