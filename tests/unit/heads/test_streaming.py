import tracemalloc

import numpy as np
import pytest
import torch

from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.heads.metrics import text_to_video_ranks, video_to_text_ranks
from vidret.heads.similarities import Names
from vidret.heads.streaming import (
    BYTES_PER_PAIR,
    FEWEST_BLOCKS,
    BlockShape,
    block_shape,
    matrix_blocks,
    matrix_ranks_in_blocks,
    matrix_shape,
    ranks_in_blocks,
)

WAYS = ("group", "caption")


def assert_ranks_are_those_of_the_whole(found, scores, owners, by):
    for ranks, whole in (
        (found.t2v, text_to_video_ranks(scores, owners)),
        (found.v2t, video_to_text_ranks(scores, owners, by)),
    ):
        np.testing.assert_array_equal(ranks.better, whole.better)
        np.testing.assert_array_equal(ranks.tied, whole.tied)


def draw(texts, videos, *, levels=10**6, seed=0, owners=None):
    """Scores of some levels, and owners that lie scattered and leave some videos out."""
    numbers = np.random.default_rng(seed)
    scores = numbers.integers(levels, size=(texts, videos)).astype(np.float32)
    return scores, numbers.integers(owners or videos, size=texts)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (7, 50), (60, 4), (60, 50), (999, 999)])
@pytest.mark.parametrize("levels", [1, 3, 10**6])
def test_any_shape_of_blocks_gives_the_ranks_of_the_whole(shape, levels, by):
    scores, owners = draw(60, 50, levels=levels)
    found = ranks_in_blocks(
        matrix_blocks(scores), owners, 50, by=by, shape=BlockShape(texts=shape[0], videos=shape[1])
    )
    assert_ranks_are_those_of_the_whole(found, scores, owners, by)


@pytest.mark.parametrize("by", WAYS)
def test_the_captions_of_a_video_may_lie_in_many_blocks(by):
    scores, owners = draw(300, 5, levels=9, owners=3)
    found = ranks_in_blocks(
        matrix_blocks(scores), owners, 5, by=by, shape=BlockShape(texts=7, videos=2)
    )
    assert_ranks_are_those_of_the_whole(found, scores, owners, by)
    assert len(found.v2t) == 3


@pytest.mark.parametrize("by", WAYS)
def test_more_candidates_than_a_byte_counts_are_counted(by):
    """Marks are added up as bytes, eight to a word: 255 of them, then the next."""
    texts, videos = 2100, 2100
    scores = np.zeros((texts, videos), np.float32)
    scores[0] = np.arange(videos)  # of video 0, which all others beat
    scores[:, 0] = np.arange(texts)
    found = ranks_in_blocks(
        matrix_blocks(scores),
        np.arange(texts),
        videos,
        by=by,
        shape=BlockShape(texts=texts, videos=videos),
    )
    assert found.t2v.better[0] == videos - 1
    assert found.v2t.better[0] == texts - 1
    assert_ranks_are_those_of_the_whole(found, scores, np.arange(texts), by)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_every_float_that_is_fine_enough_is_ranked(dtype):
    scores, owners = draw(20, 6, levels=5)
    found = ranks_in_blocks(matrix_blocks(scores.astype(dtype)), owners, 6, memory=1000)
    assert_ranks_are_those_of_the_whole(found, scores, owners, "group")


def test_scores_that_differ_in_the_last_bit_alone_are_no_tie():
    scores = np.array([[1.0, np.nextafter(1.0, 2)], [1.0, 1.0]])
    found = ranks_in_blocks(matrix_blocks(scores), [0, 1], 2)
    assert found.t2v.values.tolist() == [2, 1.5]
    assert found.v2t.values.tolist() == [1.5, 2]


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("lay", [np.ascontiguousarray, np.asfortranarray, lambda x: x[:, ::-1]])
@pytest.mark.parametrize("memory", [1, 900, 2**20])
def test_a_matrix_is_ranked_in_strips_as_it_lies(lay, memory, by):
    scores, owners = draw(40, 11, levels=6)
    scores = lay(scores)
    found = matrix_ranks_in_blocks(scores, owners, by=by, memory=memory)
    assert_ranks_are_those_of_the_whole(found, scores, owners, by)


def test_strips_lie_in_one_piece():
    rows = np.zeros((1000, 50), np.float32)
    assert matrix_shape(rows, memory=16 * 500) == BlockShape(texts=10, videos=50)
    assert matrix_shape(rows, memory=16 * 30) == BlockShape(texts=1, videos=30)
    columns = np.asfortranarray(rows)
    assert matrix_shape(columns, memory=16 * 5000) == BlockShape(texts=1000, videos=5)
    assert matrix_shape(columns, memory=16 * 300) == BlockShape(texts=300, videos=1)
    assert matrix_shape(rows) == matrix_shape(columns) == BlockShape(texts=1000, videos=50)


def test_own_scores_that_are_known_save_the_first_round():
    scores, owners = draw(90, 30, seed=4)
    rounding = Rounding(scores, noise=0.0)
    own, shape = scores[np.arange(90), owners], BlockShape(texts=10, videos=10)
    found = ranks_in_blocks(rounding, owners, 30, shape=shape, own=own)
    assert_ranks_are_those_of_the_whole(found, scores, owners, "group")
    assert len(rounding.blocks) == 9 * 3


def test_own_scores_that_the_blocks_do_not_hold_are_refused():
    scores = np.eye(3)
    with pytest.raises(MismatchError, match=r"text 1 and video 1 was 0\.5 and then 1\.0"):
        ranks_in_blocks(matrix_blocks(scores), [0, 1, 2], 3, own=np.array([1.0, 0.5, 1.0]))


def test_blocks_may_be_tensors():
    scores, owners = draw(30, 8, levels=4)
    tensor = torch.from_numpy(scores)
    found = ranks_in_blocks(lambda rows, columns: tensor[rows, columns], owners, 8, memory=999)
    assert_ranks_are_those_of_the_whole(found, scores, owners, "group")


def test_blocks_may_be_made_of_embeddings_on_the_fly():
    numbers = np.random.default_rng(0)
    texts, videos = (numbers.normal(size=(n, 16)).astype(np.float32) for n in (200, 70))
    owners = numbers.integers(70, size=200)
    found = ranks_in_blocks(lambda rows, columns: texts[rows] @ videos[columns].T, owners, 70)
    assert_ranks_are_those_of_the_whole(found, texts @ videos.T, owners, "group")


class Rounding:
    """A scorer whose last bits depend on the block that a pair is in, as those of products do."""

    def __init__(self, scores, noise=1e-6):
        self.scores, self.noise, self.blocks = scores, noise, []

    def __call__(self, rows, columns):
        first = rows.start if isinstance(rows, slice) else int(rows[0])
        self.blocks.append((first, columns.start))
        noise = 1 + self.noise * (7 * first + columns.start)
        return self.scores[rows, columns] * np.float32(noise)


def test_a_text_is_compared_with_its_own_video_as_the_very_same_block_scored_it():
    """Equal scores within a block stay ties, whatever another block makes of them."""
    rounding = Rounding(np.ones((40, 40), np.float32))
    of_texts, of_videos = BlockShape(texts=10, videos=40), BlockShape(texts=40, videos=10)
    t2v = ranks_in_blocks(rounding, np.arange(40), 40, shape=of_texts).t2v
    v2t = ranks_in_blocks(rounding, np.arange(40), 40, shape=of_videos).v2t
    for ranks in (t2v, v2t):
        assert (ranks.tied == 39).all()
        assert (ranks.better == 0).all()


def test_only_blocks_with_a_text_and_its_own_video_are_asked_for_twice():
    scores, owners = draw(4000, 900, seed=3)
    rounding = Rounding(scores)
    ranks_in_blocks(rounding, owners, 900, shape=BlockShape(texts=100, videos=30))
    whole_round, staircase = 40 * 30, 40 + 30
    assert whole_round < len(rounding.blocks) <= whole_round + staircase


def test_a_scorer_that_changes_its_mind_is_refused():
    scores, calls = np.eye(3), []

    def score(rows, columns):
        calls.append(rows)
        return scores[rows, columns] + 0.25 * len(calls)

    with pytest.raises(MismatchError, match=r"text 0 and video 0 was 1\.25 and then 1\.5"):
        ranks_in_blocks(score, [0, 1, 2], 3)


def test_a_scorer_of_other_texts_is_refused():
    with pytest.raises(MismatchError, match=r"shape \(4, 3\), and \(3, 3\) was asked for"):
        ranks_in_blocks(lambda _rows, _columns: np.zeros((4, 3)), [0, 1, 2], 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_coarse_blocks_are_refused(dtype):
    with pytest.raises(ConfigError, match="score in float32"):
        ranks_in_blocks(lambda _rows, _columns: torch.zeros(2, 2, dtype=dtype), [0, 1], 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(5, 2), (3, 4)])  # of a text and its own video, and of others
def test_what_is_not_finite_is_refused_by_its_place(value, place):
    scores, owners = draw(9, 6)
    owners[[3, 5]] = 0, 2
    scores[place] = value
    words = rf"row {place[0]} \(text\) and column {place[1]} \(video\) is {value}, and 1 of the"
    for shape in (BlockShape(texts=2, videos=2), BlockShape(texts=9, videos=6)):
        with pytest.raises(DamagedError, match=words):
            ranks_in_blocks(matrix_blocks(scores), owners, 6, shape=shape)


def test_what_is_not_finite_is_called_by_its_names():
    scores = np.array([[1.0, 2.0], [np.nan, 1.0]])
    names = Names(texts=["t0", "t1"], videos=["v0", "v1"])
    with pytest.raises(DamagedError, match="text t1 and video v0 is nan"):
        ranks_in_blocks(matrix_blocks(scores), [1, 0], 2, names=names)


def test_owners_without_a_column_are_refused():
    with pytest.raises(MismatchError, match="text 1 belongs to video 2"):
        ranks_in_blocks(matrix_blocks(np.zeros((2, 2))), [0, 2], 2)


@pytest.mark.parametrize(("owners", "videos"), [([], 3), ([0], 0)])
def test_nothing_to_rank_is_refused(owners, videos):
    with pytest.raises(MissingError, match="nothing to rank"):
        ranks_in_blocks(matrix_blocks(np.zeros((len(owners), videos))), owners, videos)


@pytest.mark.parametrize("size", [(27_763, 670), (1_000_000, 100_000), (5, 10**9), (10**9, 1)])
@pytest.mark.parametrize("memory", [1, 2**20, 2**28])
def test_blocks_fit_the_memory_and_are_many_enough(size, memory):
    shape = block_shape(*size, memory=memory)
    assert shape.texts >= 1
    assert shape.videos >= 1
    if (shape.texts, shape.videos) != (1, 1):
        assert shape.texts * shape.videos * BYTES_PER_PAIR <= memory
    if (shape.texts, shape.videos) != size:
        blocks = [
            -(-whole // part) for whole, part in zip(size, (shape.texts, shape.videos), strict=True)
        ]
        assert all(
            count >= min(FEWEST_BLOCKS, whole) for count, whole in zip(blocks, size, strict=True)
        )


def test_what_fits_at_once_is_one_block():
    assert block_shape(1000, 1000, memory=16 * 2**20) == BlockShape(texts=1000, videos=1000)


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("size", [(20_000, 3_000), (150_000, 30)])
def test_memory_stays_within_the_stated_formula(size, by):
    memory, (texts, videos) = 2**22, size
    numbers = np.random.default_rng(0)
    left, right = (numbers.normal(size=(n, 2)).astype(np.float32) for n in size)
    owners = np.arange(texts) % videos
    tracemalloc.start()
    try:
        ranks_in_blocks(
            lambda rows, columns: left[rows] @ right[columns].T,
            owners,
            videos,
            by=by,
            memory=memory,
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert memory / 4 < peak < memory + 72 * texts + 64 * videos
