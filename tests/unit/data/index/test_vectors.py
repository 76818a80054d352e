import numpy as np
import pytest

from vidret.data.errors import DamagedError
from vidret.data.index import vectors
from vidret.data.index.vectors import FLAT, LISTS, NOTHING, build_vectors, load_vectors, overlap

DIM = 8


@pytest.fixture(params=[FLAT, LISTS])
def kind(request, monkeypatch):
    """Both ways of searching, with lists from a few vectors on."""
    monkeypatch.setattr(vectors, "LISTS_FROM", 50 if request.param == LISTS else 10**9)
    return request.param


def drawn(count, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def built(rows, keys):
    return build_vectors(rows, [(keys[:70], rows[:70]), (keys[70:], rows[70:])], total=len(rows))


ROUNDED = {FLAT: 1e-3, LISTS: 0.02}  # how far a product of so few numbers may be off


def test_the_nearest_everywhere_are_those_that_numpy_finds(kind):
    rows, keys = drawn(200), np.arange(200) * 7 + 3
    index = built(rows, keys)
    assert (index.kind, len(index), index.dim) == (kind, 200, DIM)
    for query in drawn(5, seed=1):
        found, products = index.nearest(query[None], 10, everywhere=True)
        exact = rows.astype(np.float64) @ query
        of_found = exact[(found[0] - 3) // 7]
        np.testing.assert_allclose(products[0], of_found, atol=ROUNDED[kind])
        assert (np.diff(products[0]) <= 0).all()
        assert len(set(found[0])) == 10
        assert of_found.min() >= np.sort(exact)[-10] - 2 * ROUNDED[kind]


@pytest.mark.usefixtures("kind")
def test_as_many_lists_are_looked_into_as_find_the_nearest():
    rows = drawn(200)
    index = built(rows, np.arange(200))
    queries = drawn(20, seed=1)
    share = index.tune(queries)
    found, _ = index.nearest(queries, vectors.TRIED_AT)
    truth, _ = index.nearest(queries, vectors.TRIED_AT, everywhere=True)
    assert share == pytest.approx(overlap(truth, found))
    assert share >= vectors.GOOD


@pytest.mark.usefixtures("kind")
def test_only_allowed_keys_are_found():
    index = built(drawn(200), np.arange(200))
    allowed = np.array([4, 40, 199])
    found, _ = index.nearest(drawn(1, seed=1), 10, allowed=allowed, everywhere=True)
    assert set(found[0]) == {4, 40, 199, NOTHING}


@pytest.mark.usefixtures("kind")
def test_all_vectors_of_a_key_go_together():
    index = built(drawn(200), np.arange(200) // 4)
    assert index.remove(np.array([0, 7, 1000])) == 8
    found, _ = index.nearest(drawn(1, seed=1), 192, everywhere=True)
    assert len(index) == 192
    assert set(found[0]) == set(range(50)) - {0, 7}


@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_gives_back_what_was_saved(kind, mapped, tmp_path):
    index = built(drawn(200), np.arange(200))
    index.tune(drawn(20, seed=1))
    index.save(tmp_path / "a.faiss")
    again = load_vectors(tmp_path / "a.faiss", kind, mapped=mapped)
    queries = drawn(5, seed=2)
    assert np.array_equal(again.nearest(queries, 9)[0], index.nearest(queries, 9)[0])


def test_a_file_that_is_no_index_is_damage(tmp_path):
    (tmp_path / "a.faiss").write_bytes(b"dear all")
    with pytest.raises(DamagedError, match=r"a\.faiss cannot be read .* `vidret index build`"):
        load_vectors(tmp_path / "a.faiss", FLAT)


def test_an_index_of_nothing_finds_nothing():
    index = build_vectors(np.zeros((0, DIM), np.float32), [], total=0)
    assert index.nearest(drawn(1), 5)[0].tolist() == [[NOTHING]]


def test_overlap_counts_what_both_have():
    truth, found = np.array([[1, 2, 3, 4], [5, 6, NOTHING, NOTHING]]), np.array([[4, 9], [5, 6]])
    assert overlap(truth, found) == (0.25 + 1.0) / 2
