import pytest
import torch

from vidret.heads.products import quickest_products

MATMUL = torch.backends.mkldnn.matmul


@pytest.fixture(autouse=True)
def as_it_was():
    before = MATMUL.fp32_precision
    yield
    assert MATMUL.fp32_precision == before, "the setting is the user's again"


def test_what_comes_out_the_same_either_way_is_multiplied_the_quick_way():
    with quickest_products(lambda: torch.ones(3)):
        assert MATMUL.fp32_precision == "bf16"


def test_what_rounds_is_multiplied_as_ever():
    def rounding():
        return torch.tensor([1.001 if MATMUL.fp32_precision == "bf16" else 1.0])

    with quickest_products(rounding):
        assert MATMUL.fp32_precision != "bf16"


def test_double_precision_is_left_alone():
    with quickest_products(lambda: torch.ones(3, dtype=torch.float64)):
        assert MATMUL.fp32_precision != "bf16"


def test_an_error_in_the_block_leaves_the_setting_as_it_was():
    with pytest.raises(ZeroDivisionError), quickest_products(lambda: torch.ones(3)):
        raise ZeroDivisionError
