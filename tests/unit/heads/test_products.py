import pytest
import torch

from vidret.heads.products import quick_products, quicker_is_exact

MATMUL = torch.backends.mkldnn.matmul


@pytest.fixture(autouse=True)
def as_it_was():
    before = MATMUL.fp32_precision
    yield
    assert MATMUL.fp32_precision == before, "the setting is the user's again"


def test_what_comes_out_the_same_either_way_may_be_multiplied_the_quick_way():
    tried = []

    def sample():
        tried.append(MATMUL.fp32_precision)
        return torch.ones(3)

    assert quicker_is_exact(sample)
    assert tried[0] != "bf16"
    assert tried[1] == "bf16"


def test_what_rounds_is_multiplied_as_ever():
    def rounding():
        return torch.tensor([1.001 if MATMUL.fp32_precision == "bf16" else 1.0])

    assert not quicker_is_exact(rounding)


def test_double_precision_is_left_alone():
    assert not quicker_is_exact(lambda: torch.ones(3, dtype=torch.float64))


def test_only_a_block_that_wants_it_is_multiplied_the_quick_way():
    with quick_products():
        assert MATMUL.fp32_precision == "bf16"
    with quick_products(wanted=False):
        assert MATMUL.fp32_precision != "bf16"


def test_an_error_in_the_block_leaves_the_setting_as_it_was():
    with pytest.raises(ZeroDivisionError), quick_products():
        raise ZeroDivisionError
