"""The similarities of a head: as a matrix, or block by block, or in a file to be read again."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from torch import Tensor

from vidret.data.batches import AnyTexts, Videos
from vidret.data.storage.publish import cannot_write
from vidret.heads.reranking.pairs import Pairs, pairs_of
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import Precision, block_scorer, score_in_blocks
from vidret.heads.similarities import as_array
from vidret.heads.streaming import Scorer, matrix_blocks

MATRIX_MEMORY = 512 * 2**20  # of the similarities; larger ones are ranked in blocks
STRIP_MEMORY = 64 * 2**20  # of what is written to a file at once

Scored = Tensor | Scorer  # all similarities, or what gives any block of them


def score_pairs(
    retriever: Retriever,
    texts: AnyTexts,
    videos: Videos,
    *,
    memory: int | None = None,
    precision: Precision = "float32",
) -> Scored:
    """The whole matrix where it fits, and what gives its blocks where it does not.

    Args:
        retriever: what scores.
        texts: the rows.
        videos: the columns.
        memory: bytes to take; half of them may go to the similarities. None takes 512 MiB for
            them, and what is usual beside it.
        precision: what the products of hidden layers are multiplied in.
    """
    size = texts.sentence.element_size() * len(texts) * len(videos)
    most, beside = (MATRIX_MEMORY, None) if memory is None else (memory // 2, memory // 2)
    score = partial(
        score_in_blocks if size <= most else block_scorer, memory=beside, precision=precision
    )
    return score(retriever, texts, videos)


def to_read_again(scored: Scored, num_texts: int, num_videos: int, folder: Path) -> Scored:
    """The same similarities, none of which is computed again however often they are read.

    Args:
        scored: by `score_pairs`. What does not fit is written to a file.
        num_texts: how many rows there are.
        num_videos: how many columns.
        folder: with room for the file, which has no name there and is gone with the process.

    Raises:
        MissingError: there is no room.
    """
    if isinstance(scored, Tensor):
        return scored
    step = max(1, STRIP_MEMORY // (4 * num_videos))
    try:
        with TemporaryFile(dir=folder) as file:
            for start in range(0, num_texts, step):
                rows = slice(start, min(start + step, num_texts))
                block = as_array(scored(rows, slice(0, num_videos)))
                file.write(np.ascontiguousarray(block).data)
            file.flush()
            whole = np.memmap(file, dtype=block.dtype, mode="r", shape=(num_texts, num_videos))
    except OSError as error:
        raise cannot_write(folder, error) from error
    return matrix_blocks(whole.view(np.ndarray))


def pairs_of_scored(
    scored: Scored, num_texts: int, num_videos: int, *, what: str, memory: int
) -> Pairs:
    """Similarities as re-rankers read them.

    Args:
        scored: a matrix, or what gives its blocks.
        num_texts: how many rows there are.
        num_videos: how many columns.
        what: they are, for messages.
        memory: bytes that a block of them may take.
    """
    if isinstance(scored, Tensor):
        return pairs_of(as_array(scored), what=what, memory=memory)
    return Pairs(score=scored, num_texts=num_texts, num_videos=num_videos, what=what, memory=memory)
