"""Laws of ranks, whole or in blocks: any shape, ties, distractors, few captions."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vidret.heads.metrics import text_to_video_ranks, video_to_text_ranks
from vidret.heads.protocols import score_protocol
from vidret.heads.streaming import BlockShape, block_shape, matrix_blocks, ranks_in_blocks

MANY = settings(max_examples=80, deadline=None)
WAYS = st.sampled_from(["group", "caption"])


@st.composite
def matrices(draw):
    """Scores of few or many levels, and owners that lie scattered; some videos have none."""
    texts, videos = draw(st.integers(1, 14)), draw(st.integers(1, 10))
    levels = draw(st.sampled_from([1, 3, 1000]))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    scores = draw(
        arrays(dtype, (texts, videos), elements=st.integers(0, levels), fill=st.nothing())
    )
    owners = draw(arrays(np.int64, texts, elements=st.integers(0, videos - 1), fill=st.nothing()))
    return scores, owners


def assert_same(found, wanted):
    np.testing.assert_array_equal(found.better, wanted.better)
    np.testing.assert_array_equal(found.tied, wanted.tied)


@MANY
@given(matrices(), WAYS, st.integers(1, 16), st.integers(1, 12))
def test_blocks_of_any_shape_rank_as_the_whole_matrix_does(matrix, by, texts, videos):
    scores, owners = matrix
    found = ranks_in_blocks(
        matrix_blocks(scores),
        owners,
        scores.shape[1],
        by=by,
        shape=BlockShape(texts=texts, videos=videos),
    )
    assert_same(found.t2v, text_to_video_ranks(scores, owners))
    assert_same(found.v2t, video_to_text_ranks(scores, owners, by))


@MANY
@given(matrices(), WAYS, st.integers(1, 4000))
def test_any_memory_gives_the_same_numbers(matrix, by, memory):
    scores, owners = matrix
    assert score_protocol(scores, owners, "pairs", by, memory=memory) == score_protocol(
        scores, owners, "pairs", by
    )


@MANY
@given(matrices(), WAYS, st.randoms(use_true_random=False))
def test_the_order_of_texts_and_videos_changes_no_number(matrix, by, random):
    scores, owners = matrix
    rows, columns = (random.sample(range(size), size) for size in scores.shape)
    turned = score_protocol(
        scores[rows][:, columns], np.argsort(columns)[owners[rows]], "pairs", by, memory=500
    )
    plain = score_protocol(scores, owners, "pairs", by)
    for found, wanted in ((turned.t2v, plain.t2v), (turned.v2t, plain.v2t)):
        assert {name: round(value, 9) for name, value in found.items()} == {
            name: round(value, 9) for name, value in wanted.items()
        }


@MANY
@given(matrices(), WAYS, st.sampled_from([np.cbrt, np.exp2, lambda x: 3 * x - 7]))
def test_a_map_that_keeps_the_order_of_scores_changes_nothing(matrix, by, bend):
    scores, owners = matrix
    bent = bend(scores.astype(np.float64) / 8)
    assert score_protocol(bent, owners, "pairs", by) == score_protocol(scores, owners, "pairs", by)


@MANY
@given(matrices(), WAYS, st.data())
def test_a_distractor_never_helps_a_text_and_is_nothing_to_a_video(matrix, by, data):
    scores, owners = matrix
    other = data.draw(arrays(scores.dtype, len(scores), elements=st.integers(0, 1000)))
    place = data.draw(st.integers(0, scores.shape[1]))
    more = np.insert(scores, place, other, axis=1)
    moved = owners + (owners >= place)
    before, after = text_to_video_ranks(scores, owners), text_to_video_ranks(more, moved)
    assert (after.values >= before.values).all()
    for k in (1, 5, 10, 50):
        assert (after.hits(k) <= before.hits(k) + 1e-12).all()
    assert_same(video_to_text_ranks(more, moved, by), video_to_text_ranks(scores, owners, by))


@MANY
@given(matrices(), WAYS)
def test_every_number_keeps_its_bounds(matrix, by):
    scores, owners = matrix
    found = score_protocol(scores, owners, "pairs", by)
    for numbers, candidates in ((found.t2v, scores.shape[1]), (found.v2t, len(scores))):
        recalls = [numbers[f"R@{k}"] for k in (1, 5, 10, 50)]
        assert sorted(recalls) == recalls
        assert 0 <= recalls[0] <= numbers["geometric mean"] + 1e-9 <= recalls[2] + 2e-9
        assert recalls[-1] <= 100
        assert 1 <= numbers["MdR"] <= candidates
        assert 1 <= numbers["MnR"] <= candidates
        assert 0 <= numbers["ties"] <= numbers["queries"]
    assert found.t2v["queries"] == len(scores)
    assert found.v2t["queries"] == len(np.unique(owners))


@MANY
@given(matrices())
def test_groups_rank_a_video_no_worse_than_single_captions_do(matrix):
    groups, captions = (video_to_text_ranks(*matrix, by) for by in ("group", "caption"))
    assert (groups.better <= captions.better).all()
    assert (groups.values <= captions.values).all()
    untied = captions.tied == 0
    assert (groups.hits(1)[untied] == captions.hits(1)[untied]).all()


@MANY
@given(st.integers(1, 10**7), st.integers(1, 10**7), st.integers(0, 2**32))
def test_blocks_are_never_empty_and_never_larger_than_asked_for(texts, videos, memory):
    shape = block_shape(texts, videos, memory=memory)
    assert 1 <= shape.texts <= texts
    assert 1 <= shape.videos <= videos
    assert shape.texts * shape.videos <= max(1, memory // 16)
