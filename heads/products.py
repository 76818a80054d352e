"""Which code multiplies float32 matrices on a CPU: the quicker one, where it is as exact.

Told that bfloat16 would do, torch asks oneDNN in place of its usual library. On processors without
units for bfloat16 matrices oneDNN multiplies in float32 all the same, and about twice as fast; on
those with them it rounds. Nothing tells the two apart but the result, so that is looked at.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

EXACT = 5e-6  # of a similarity; rounding to bfloat16 moves it by a thousandth


def quicker_is_exact(sample: Callable[[], Tensor]) -> bool:
    """Whether oneDNN may multiply here.

    Args:
        sample: some of the work to come; it is done twice.
    """
    plain = sample()
    if plain.dtype != torch.float32 or plain.device.type != "cpu" or _matmul() is None:
        return False
    with quick_products():
        return torch.allclose(sample(), plain, rtol=0, atol=EXACT)


@contextmanager
def quick_products(*, wanted: bool = True) -> Iterator[None]:
    """Multiply by oneDNN in this block, if that is wanted."""
    matmul = _matmul()
    if not wanted or matmul is None:
        yield
        return
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def _matmul() -> Any:  # noqa: ANN401 - torch has no type for it
    return getattr(torch.backends.mkldnn, "matmul", None)  # older versions have none
