import numpy as np
import pytest
import torch

from vidret.data.errors import ConfigError, MismatchError, MissingError
from vidret.heads.similarities import as_array, columns_of, require_fine, size_of


@pytest.mark.parametrize("dtype", [np.float16, torch.float16, torch.bfloat16])
def test_coarse_numbers_are_refused_for_the_ties_they_make(dtype):
    named = np.dtype(dtype) if isinstance(dtype, type) else dtype
    with pytest.raises(ConfigError, match=r"float16, whose rounding makes ties"):
        require_fine(named)


@pytest.mark.parametrize(
    "dtype", [np.dtype(int), np.dtype(bool), np.dtype(complex), np.dtype("O"), torch.int64]
)
def test_what_is_no_float_is_refused(dtype):
    with pytest.raises(ConfigError, match="give float32 or float64"):
        require_fine(dtype)


@pytest.mark.parametrize("dtype", [np.dtype("<f4"), np.dtype(">f4"), np.dtype("f8"), torch.float32])
def test_floats_of_32_bits_or_more_are_taken_in_any_byte_order(dtype):
    require_fine(dtype)


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3)])
def test_what_is_no_matrix_is_refused(shape):
    with pytest.raises(ConfigError, match="give a matrix, a row a text and a column a video"):
        size_of(np.zeros(shape))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_an_empty_matrix_is_refused(shape):
    with pytest.raises(MissingError, match="nothing to rank"):
        size_of(np.zeros(shape))


def test_owners_come_in_many_forms():
    for owners in ([2, 0], (2, 0), np.array([2, 0], np.uint8), torch.tensor([2, 0])):
        found = columns_of(owners, 3)
        assert found.dtype == np.int64
        assert found.tolist() == [2, 0]


@pytest.mark.parametrize("owners", [[0, -1], [0, 3], np.array([0, 2**64 - 1], np.uint64)])
def test_an_owner_without_a_column_is_refused_by_name(owners):
    with pytest.raises(MismatchError, match=r"text 1 belongs to video .*, but .* videos 0 to 2"):
        columns_of(owners, 3)


@pytest.mark.parametrize(
    "owners", [np.array([0.0, 1.0]), np.array([True, False]), np.array([[0], [1]])]
)
def test_owners_that_are_no_whole_numbers_are_never_rounded(owners):
    with pytest.raises(MismatchError, match="one whole number a text"):
        columns_of(owners, 3)


def test_the_numbers_of_a_tensor_that_learns_are_taken_as_they_are():
    assert as_array(torch.ones(2, requires_grad=True)).tolist() == [1, 1]
