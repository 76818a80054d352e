"""The dual softmax at test time, as papers use CAMoE's (Cheng et al., arXiv 2109.04290)."""

import numpy as np

from vidret.heads.reranking.correcting import Block, Correct
from vidret.heads.reranking.pairs import Asked, log_sums, lowest
from vidret.heads.streaming import Rows

FAR = 600.0  # exp(-745) is nothing in float64, and then all that is far would tie


def dual_softmax(asked: Asked, *, scale: float) -> Correct:
    """Multiply each similarity with the softmax of its candidate over all queries.

    Each direction is computed from the similarities themselves. Where the softmax would fall below
    what float64 holds, all products are raised to the same power, which keeps their order.

    Args:
        asked: the queries, all of which are looked at, and the candidates.
        scale: what similarities are multiplied by within the softmax.
    """
    sums = log_sums(asked, scale)
    power = min(1.0, FAR / max(1.0, float((sums - scale * lowest(asked)).max())))

    def correct(block: Block, _queries: Rows, candidates: Rows) -> Block:
        softmax = np.exp(power * (scale * block - sums[candidates]))
        sized = block if power == 1 else np.sign(block) * np.abs(block) ** power
        return sized * softmax

    return correct
