import numpy as np
import pytest
import torch

from vidret.data.errors import ConfigError
from vidret.heads.reranking.pairs import (
    BYTES_PER_PAIR,
    Asked,
    Pairs,
    log_sums,
    lowest,
    nearest,
    pairs_of,
)

MATRIX = np.random.default_rng(0).normal(size=(37, 13))


def asked(way, *, memory=700, matrix=MATRIX):
    return Asked(pairs=pairs_of(matrix, memory=memory), way=way)


def oriented(way):
    return MATRIX if way == "t2v" else MATRIX.T


@pytest.mark.parametrize("way", ["t2v", "v2t"])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_sums_of_exponentials_are_exact_where_no_float_holds_them(way, scale):
    s = oriented(way)
    wanted = [np.logaddexp.reduce(scale * column) for column in s.T]
    np.testing.assert_allclose(log_sums(asked(way), scale), wanted, rtol=1e-14)
    more = np.linspace(-5, 5, len(s))
    wanted = [np.logaddexp.reduce(scale * column + more) for column in s.T]
    np.testing.assert_allclose(log_sums(asked(way), scale, more), wanted, rtol=1e-14)


@pytest.mark.parametrize("way", ["t2v", "v2t"])
@pytest.mark.parametrize("count", [1, 4, 13, 1000])
def test_the_nearest_are_the_largest_of_a_candidate(way, count):
    s = oriented(way)
    found = np.sort(nearest(asked(way), count), axis=0)
    np.testing.assert_array_equal(found, np.sort(s, axis=0)[-min(count, len(s)) :])
    np.testing.assert_array_equal(lowest(asked(way)), s.min(0))


@pytest.mark.parametrize("way", ["t2v", "v2t"])
def test_every_pair_is_read_once(way):
    seen = np.zeros(oriented(way).shape)
    for queries, candidates, block in asked(way).blocks():
        np.testing.assert_array_equal(block, oriented(way)[queries, candidates])
        seen[queries, candidates] += 1
    assert (seen == 1).all()
    assert (asked(way).num_queries, asked(way).num_candidates) == seen.shape
    assert asked(way).flipped.num_queries == seen.shape[1]


@pytest.mark.parametrize("size", [(27_763, 670), (1_000_000, 100_000), (5, 10**9), (10**9, 1)])
@pytest.mark.parametrize("memory", [1, 2**20, 2**28])
def test_blocks_fit_the_memory(size, memory):
    pairs = Pairs(score=lambda *_: MATRIX, num_texts=size[0], num_videos=size[1], memory=memory)
    shape = pairs.shape
    assert 1 <= shape.texts <= size[0]
    assert 1 <= shape.videos <= size[1]
    assert shape.texts * shape.videos <= max(1, memory // BYTES_PER_PAIR)


def test_similarities_may_be_tensors():
    matrix = torch.from_numpy(MATRIX).float()
    pairs = Pairs(score=lambda rows, columns: matrix[rows, columns], num_texts=37, num_videos=13)
    found = pairs.read(np.array([3, 1]), slice(2, 5))
    np.testing.assert_array_equal(found, matrix.numpy()[[3, 1], 2:5])
    assert found.dtype == np.float64


def test_coarse_similarities_are_called_by_their_name():
    with pytest.raises(ConfigError, match="the bank are float16, whose rounding makes ties"):
        next(pairs_of(MATRIX.astype(np.float16), what="the bank").blocks())
