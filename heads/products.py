"""Which code multiplies float32 matrices on a CPU: the quicker one, where it is as exact.

Told that bfloat16 would do, torch asks oneDNN in place of its usual library. On processors without
units for bfloat16 matrices oneDNN multiplies in float32 all the same, and about twice as fast; on
those with them it rounds. Nothing tells the two apart but the result, so that is looked at.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

EXACT = 2e-6  # of a similarity; rounding to bfloat16 moves it by a thousandth


@contextmanager
def quickest_products(sample: Callable[[], Tensor]) -> Iterator[None]:
    """Multiply by oneDNN in this block, if `sample` comes out the same that way.

    Args:
        sample: some of the work to come; it is done twice.
    """
    plain = sample()
    matmul = getattr(torch.backends.mkldnn, "matmul", None)  # older versions have none
    if plain.dtype != torch.float32 or plain.device.type != "cpu" or matmul is None:
        yield
        return
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "bf16"
        if not torch.allclose(sample(), plain, rtol=0, atol=EXACT):
            matmul.fp32_precision = before
        yield
    finally:
        matmul.fp32_precision = before
