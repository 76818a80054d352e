"""Similarities of texts and videos that are read a block at a time, and what is summed over them.

A re-ranker asks what a candidate means to the queries as a whole: a sum of exponentials, or the
nearest of them. Both are gathered here while blocks stream by, so that no matrix has to fit into
memory. Texts may look for videos, or videos for texts: `Asked` says which are the queries.

Memory: `memory` bytes for a block and what is made of it, and a few numbers a text and a video;
the nearest k queries of every candidate take k numbers more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from vidret.data.errors import DamagedError, MismatchError
from vidret.heads.similarities import as_array, require_fine, require_some, size_of
from vidret.heads.streaming import DEFAULT_MEMORY, BlockShape, Rows, Scorer, matrix_blocks

BYTES_PER_PAIR = 48  # float64, and what is made of it on the way to a sum
FEWEST_TEXTS = 512  # of a block, before it is made narrower than the matrix

Way = Literal["t2v", "v2t"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """All pairs of some texts and some videos.

    Args:
        score: gives the similarities of a block, float32 or better; asked for the same block
            again, it gives the same numbers.
        what: they are, for messages.
        memory: bytes that a block and what is made of it may take.
    """

    score: Scorer
    num_texts: int
    num_videos: int
    what: str = "the similarities"
    memory: int = DEFAULT_MEMORY

    def __post_init__(self) -> None:
        require_some(self.num_texts, self.num_videos)

    @property
    def shape(self) -> BlockShape:
        """How large a block is at most."""
        most = max(1, self.memory // BYTES_PER_PAIR)
        videos = min(self.num_videos, max(1, most // min(FEWEST_TEXTS, self.num_texts)))
        return BlockShape(texts=min(self.num_texts, max(1, most // videos)), videos=videos)

    def read(self, rows: Rows, columns: slice) -> NDArray[np.float64]:
        """The similarities of some texts and some videos.

        Raises:
            ConfigError: they are too coarse.
            DamagedError: one of them is not finite.
            MismatchError: they are of other texts or videos than were asked for.
        """
        found = self.score(rows, columns)
        require_fine(found.dtype, self.what)
        texts = range(rows.start, rows.stop) if isinstance(rows, slice) else rows
        wanted = (len(texts), columns.stop - columns.start)
        if tuple(found.shape) != wanted:
            raise MismatchError(
                f"a block of {self.what} has the shape {tuple(found.shape)}, and {wanted} was "
                "asked for: score exactly these texts and videos"
            )
        block = as_array(found).astype(np.float64)
        finite = np.isfinite(block)
        if not finite.all():
            row, column = np.argwhere(~finite)[0].tolist()
            raise DamagedError(
                f"row {texts[row]} (text) and column {columns.start + column} (video) of "
                f"{self.what} hold {block[row, column]}, which nothing can be ranked by: check "
                "what they come from"
            )
        return block

    def blocks(self) -> Iterator[tuple[slice, slice, NDArray[np.float64]]]:
        """Every pair once: texts, videos, and their similarities."""
        shape = self.shape
        for columns in _slices(self.num_videos, shape.videos):
            for rows in _slices(self.num_texts, shape.texts):
                yield rows, columns, self.read(rows, columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Pairs as queries and candidates: `t2v` has texts for queries, `v2t` has videos."""

    pairs: Pairs
    way: Way

    @property
    def flipped(self) -> "Asked":
        """The same pairs, with candidates for queries."""
        return Asked(pairs=self.pairs, way="v2t" if self.way == "t2v" else "t2v")

    @property
    def num_queries(self) -> int:
        """How many ask."""
        return self.pairs.num_texts if self.way == "t2v" else self.pairs.num_videos

    @property
    def num_candidates(self) -> int:
        """How many are asked for."""
        return self.pairs.num_videos if self.way == "t2v" else self.pairs.num_texts

    def blocks(self) -> Iterator[tuple[slice, slice, Float[np.ndarray, "query candidate"]]]:
        """Every pair once: queries, candidates, and their similarities."""
        for rows, columns, block in self.pairs.blocks():
            if self.way == "t2v":
                yield rows, columns, block
            else:
                yield columns, rows, block.T


def pairs_of(
    matrix: Shaped[np.ndarray, "text video"],
    *,
    what: str = "the similarities",
    memory: int = DEFAULT_MEMORY,
) -> Pairs:
    """The pairs of a matrix in memory, or in a file that is mapped."""
    num_texts, num_videos = size_of(matrix)
    return Pairs(
        score=matrix_blocks(matrix),
        num_texts=num_texts,
        num_videos=num_videos,
        what=what,
        memory=memory,
    )


def log_sums(
    asked: Asked, scale: float, of_queries: Float[np.ndarray, " query"] | None = None
) -> Float[np.ndarray, " candidate"]:
    """The log of the sum, over all queries, of exp(scale x similarity + what is of the query)."""
    highest = np.full(asked.num_candidates, -np.inf)
    sums = np.zeros(asked.num_candidates)
    for queries, candidates, block in asked.blocks():
        exponents = scale * block
        if of_queries is not None:
            exponents += of_queries[queries, None]
        top = np.maximum(highest[candidates], exponents.max(0))
        exponents -= top
        here = np.exp(exponents, out=exponents).sum(0)
        sums[candidates] = sums[candidates] * np.exp(highest[candidates] - top) + here
        highest[candidates] = top
    return highest + np.log(sums)


def nearest(asked: Asked, count: int) -> Float[np.ndarray, "rank candidate"]:
    """The similarities of each candidate to the queries nearest to it, in no order.

    Where there are fewer than `count` queries, those that there are.
    """
    count = min(count, asked.num_queries)
    found = np.full((count, asked.num_candidates), -np.inf)
    for _, candidates, block in asked.blocks():
        together = np.concatenate([found[:, candidates], block])
        together.partition(len(together) - count, axis=0)
        found[:, candidates] = together[-count:]
    return found


def lowest(asked: Asked) -> Float[np.ndarray, " candidate"]:
    """The lowest similarity of each candidate."""
    found = np.full(asked.num_candidates, np.inf)
    for _, candidates, block in asked.blocks():
        found[candidates] = np.minimum(found[candidates], block.min(0))
    return found


def _slices(count: int, step: int) -> Iterator[slice]:
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
