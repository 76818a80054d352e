"""What a re-ranker makes of a block of similarities, once it knows the candidates."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from vidret.heads.reranking.pairs import Asked
from vidret.heads.streaming import Rows, Scorer

Block = Float[np.ndarray, "query candidate"]
Correct = Callable[[Block, Rows, Rows], Block]  # similarities, their queries, their candidates


def less(
    offsets: Float[np.ndarray, " candidate"], of: Bool[np.ndarray, " query"] | None = None
) -> Correct:
    """Take a number a candidate away from its similarities.

    Args:
        offsets: the numbers.
        of: the queries that this is done for; None is all of them. Similarities of one query are
            compared with each other alone, so the others may stay as they are.
    """

    def correct(block: Block, queries: Rows, candidates: Rows) -> Block:
        taken = offsets[candidates]
        return block - (taken if of is None else of[queries][:, None] * taken)

    return correct


def corrected(asked: Asked, correct: Correct) -> Scorer:
    """The scorer of the corrected similarities, texts in rows whoever asks."""

    def score(rows: Rows, columns: slice) -> Float[np.ndarray, "text video"]:
        block = asked.pairs.read(rows, columns)
        if asked.way == "t2v":
            return correct(block, rows, columns)
        return correct(block.T, columns, rows).T

    return score
