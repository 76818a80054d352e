"""Ranks without the whole matrix: blocks of similarities stream through, and are forgotten.

Two rounds. The first asks for those blocks alone that hold a text with its own video, and keeps
these scores. The second asks for every block, and counts what scores higher or the same. A score
and what it is compared with so come from the very same blocks: another block may round the same
similarity in another way, and ties would appear or vanish. The texts are taken in the order of
their videos, so that the first round needs few blocks, and a video's captions follow each other.

Memory: `memory` bytes for a block and its comparisons, 72 bytes a text and 64 a video.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isqrt

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from vidret.data.errors import MismatchError
from vidret.heads.metrics import Competition, Ranks
from vidret.heads.similarities import (
    Array,
    Names,
    Owners,
    as_array,
    columns_of,
    not_finite,
    require_as_many,
    require_fine,
    require_some,
    size_of,
)

DEFAULT_MEMORY = 16 * 2**20
BYTES_PER_PAIR = 16  # float64, once more while it is made or compared
FEWEST_BLOCKS = 8  # along either side, for the first round to be a small part of the second
BYTE = 255  # as many ones as a sum of bytes holds
WORD = 8  # bytes

Rows = slice | NDArray[np.int64]
Scorer = Callable[[Rows, slice], Shaped[Array, "text video"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockShape:
    """How many texts and how many videos a block has at most."""

    texts: int
    videos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BothRanks:
    """The ranks of both directions: one a text, and one a video that has captions."""

    t2v: Ranks
    v2t: Ranks


def ranks_in_blocks(
    score: Scorer,
    owners: Owners,
    num_videos: int,
    *,
    by: Competition = "group",
    memory: int = DEFAULT_MEMORY,
    shape: BlockShape | None = None,
    own: Float[np.ndarray, " text"] | None = None,
    names: Names | None = None,
) -> BothRanks:
    """Rank as `text_to_video_ranks` and `video_to_text_ranks` do, a block at a time.

    Args:
        score: gives the similarities of some texts (a slice or their numbers) and some videos,
            float32 or better, as an array or a tensor of any device; asked for the same block
            again, it gives the same numbers.
        owners: the column of each text's own video.
        num_videos: with those that have no captions.
        by: whom a video's captions compete with, as in `video_to_text_ranks`.
        memory: bytes that a block and its comparisons may take.
        shape: of the blocks; None makes them fit the memory.
        own: the score of each text with its own video, where every block holds the same number for
            it; it saves the first round.
        names: what a message calls texts and videos; their numbers if None.

    Raises:
        ConfigError: the similarities are too coarse, and so full of ties that are not real.
        DamagedError: a similarity is not finite.
        MismatchError: the owners do not fit the videos, or the blocks are not those asked for.
        MissingError: there is nothing to rank.
    """
    require_some(len(owners), num_videos)
    grid = _grid(columns_of(owners, num_videos), num_videos, shape, memory)
    own = _own_scores(score, grid) if own is None else own[grid.order].astype(np.float64)
    best = np.full(num_videos, np.inf)  # which no candidate of a video without captions reaches
    best[grid.queries] = np.maximum.reduceat(own, grid.starts)
    counts = _Counts.of(grid)
    for columns in grid.columns():
        open_group: _Marks | None = None
        for rows in grid.rows():
            block = _block(score, grid, rows, columns)
            _refuse_non_finite(block, grid, rows, columns, names)
            _require_same(block, own, grid, rows, columns)
            _count_texts(counts, block, own[rows], rows)
            marks = _marked(block, best[columns])
            if by == "group":
                marks, open_group = _grouped(marks, grid, rows, open_group)
            counts.videos_better[columns] += _ones_by_column(marks.higher)[: block.shape[1]]
            counts.videos_tied[columns] += _ones_by_column(marks.equal)[: block.shape[1]]
    return _ranks(counts, grid, own, best, by)


def matrix_ranks_in_blocks(
    similarity: Shaped[np.ndarray, "text video"],
    owners: Owners,
    *,
    by: Competition = "group",
    memory: int = DEFAULT_MEMORY,
    names: Names | None = None,
) -> BothRanks:
    """Rank a matrix in memory or in a mapped file, in blocks of whole rows or whole columns.

    The file is read as it lies, from beginning to end where the texts stand in the order of their
    videos.

    Raises:
        ConfigError: the similarities are too coarse, and so full of ties that are not real.
        DamagedError: a similarity is not finite.
        MismatchError: the owners do not fit the similarities.
        MissingError: there is nothing to rank.
    """
    num_texts, num_videos = size_of(similarity)
    require_as_many(len(owners), num_texts)
    columns = columns_of(owners, num_videos)
    return ranks_in_blocks(
        matrix_blocks(similarity),
        columns,
        num_videos,
        by=by,
        shape=matrix_shape(similarity, memory=memory),
        own=similarity[np.arange(num_texts), columns],
        names=names,
    )


def matrix_blocks(similarity: Shaped[np.ndarray, "text video"]) -> Scorer:
    """The blocks of a matrix in memory, or in a file that is mapped."""
    return lambda rows, columns: similarity[rows, columns]


def matrix_shape(
    similarity: Shaped[np.ndarray, "text video"], *, memory: int = DEFAULT_MEMORY
) -> BlockShape:
    """Blocks that lie in one piece: as much of a row as fits the memory, or else of a column."""
    pairs, (texts, videos) = max(1, memory // BYTES_PER_PAIR), similarity.shape
    if similarity.flags.f_contiguous and not similarity.flags.c_contiguous:
        rows = min(texts, pairs)
        return BlockShape(texts=rows, videos=min(videos, pairs // rows))
    columns = min(videos, pairs)
    return BlockShape(texts=min(texts, pairs // columns), videos=columns)


def block_shape(num_texts: int, num_videos: int, *, memory: int = DEFAULT_MEMORY) -> BlockShape:
    """Nearly square blocks that fit the memory: all in one, or else several along either side."""
    pairs = max(1, memory // BYTES_PER_PAIR)
    if num_texts * num_videos <= pairs:
        return BlockShape(texts=num_texts, videos=num_videos)
    videos = min(isqrt(pairs), -(-num_videos // FEWEST_BLOCKS))
    texts = min(pairs // videos, -(-num_texts // FEWEST_BLOCKS))
    return BlockShape(texts=texts, videos=videos)


# The order of the texts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """The texts in the order of their videos, and the blocks that they make with all videos.

    Args:
        order: which text stands at each place.
        owners: the column of each text's own video, in this order and so rising.
        queries: the videos that have captions.
        starts: the place of the first caption of each.
    """

    order: NDArray[np.int64]
    owners: NDArray[np.int64]
    queries: NDArray[np.int64]
    starts: NDArray[np.int64]
    num_videos: int
    shape: BlockShape

    def columns(self) -> Iterator[slice]:
        """The videos of each panel of blocks."""
        for start in range(0, self.num_videos, self.shape.videos):
            yield slice(start, min(start + self.shape.videos, self.num_videos))

    def rows(self) -> Iterator[slice]:
        """The places of each row of blocks."""
        for start in range(0, len(self.owners), self.shape.texts):
            yield slice(start, min(start + self.shape.texts, len(self.owners)))

    def own(self, rows: slice, columns: slice) -> slice:
        """The places of those texts of a block whose own video is in it."""
        first, last = np.searchsorted(self.owners[rows], (columns.start, columns.stop))
        return slice(rows.start + int(first), rows.start + int(last))


def _grid(
    owners: NDArray[np.int64], num_videos: int, shape: BlockShape | None, memory: int
) -> _Grid:
    order = owners.argsort(kind="stable")
    queries, starts = np.unique(owners[order], return_index=True)
    return _Grid(
        order=order,
        owners=owners[order],
        queries=queries,
        starts=starts.astype(np.int64),
        num_videos=num_videos,
        shape=shape or block_shape(len(owners), num_videos, memory=memory),
    )


def _block(score: Scorer, grid: _Grid, rows: slice, columns: slice) -> NDArray[np.floating]:
    """What the scorer gives, as an array, or an error."""
    texts = grid.order[rows]
    in_a_row = (np.diff(texts) == 1).all()
    found = score(slice(int(texts[0]), int(texts[-1]) + 1) if in_a_row else texts, columns)
    require_fine(found.dtype)
    wanted = (len(texts), columns.stop - columns.start)
    if tuple(found.shape) != wanted:
        raise MismatchError(
            f"a block of similarities has the shape {tuple(found.shape)}, and {wanted} was asked "
            "for: score exactly these texts and videos"
        )
    return as_array(found)


def _own_scores(score: Scorer, grid: _Grid) -> NDArray[np.float64]:
    """The score of each text with its own video; float64 holds a float32 as it is."""
    own = np.empty(len(grid.owners))
    for columns in grid.columns():
        for rows in grid.rows():
            mine = grid.own(rows, columns)
            if mine.start < mine.stop:
                block = _block(score, grid, rows, columns)
                own[mine] = _own_of(block, grid, rows, columns, mine)
    return own


def _own_of(
    block: NDArray[np.floating], grid: _Grid, rows: slice, columns: slice, mine: slice
) -> NDArray[np.floating]:
    places = np.arange(mine.start - rows.start, mine.stop - rows.start)
    return block[places, grid.owners[mine] - columns.start]


def _require_same(
    block: NDArray[np.floating],
    own: NDArray[np.float64],
    grid: _Grid,
    rows: slice,
    columns: slice,
) -> None:
    """Refuse a scorer that changes its mind: its ranks would be of no one matrix."""
    mine = grid.own(rows, columns)
    again = _own_of(block, grid, rows, columns, mine)
    other = np.flatnonzero(again != own[mine])
    if len(other):
        place = mine.start + int(other[0])
        raise MismatchError(
            f"the similarity of text {grid.order[place]} and video {grid.owners[place]} was "
            f"{float(own[place])!r} and then {float(again[other[0]])!r}: a scorer must give the "
            "same block each time it is asked for it"
        )


def _refuse_non_finite(
    block: NDArray[np.floating], grid: _Grid, rows: slice, columns: slice, names: Names | None
) -> None:
    finite = np.isfinite(block)
    if not finite.all():
        row, column = np.argwhere(~finite)[0].tolist()
        text, video = int(grid.order[rows.start + row]), columns.start + column
        how_many = f"{(~finite).sum():,} of the {block.size:,} that were read with it"
        raise not_finite(text, video, float(block[row, column]), how_many, names)


# Counting


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """How many candidates scored higher than the right answer, or the same, so far."""

    texts_better: NDArray[np.int64]
    texts_tied: NDArray[np.int64]
    videos_better: NDArray[np.int64]
    videos_tied: NDArray[np.int64]

    @staticmethod
    def of(grid: _Grid) -> "_Counts":
        """None so far."""
        return _Counts(
            texts_better=np.zeros(len(grid.owners), np.int64),
            texts_tied=np.zeros(len(grid.owners), np.int64),
            videos_better=np.zeros(grid.num_videos, np.int64),
            videos_tied=np.zeros(grid.num_videos, np.int64),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marks:
    """Which candidates of a block score higher than a video's best caption, and which the same.

    Rows are filled up with False to whole words of 8 bytes, so that 8 marks are one number.
    """

    higher: NDArray[np.bool_]
    equal: NDArray[np.bool_]


def _count_texts(
    counts: _Counts, block: NDArray[np.floating], own: NDArray[np.float64], rows: slice
) -> None:
    own = own.astype(block.dtype)[:, None]
    counts.texts_better[rows] += _ones_by_row(_mask(np.greater, block, own))
    counts.texts_tied[rows] += _ones_by_row(_mask(np.equal, block, own))


def _marked(block: NDArray[np.floating], best: NDArray[np.float64]) -> _Marks:
    best = best.astype(block.dtype)
    return _Marks(higher=_mask(np.greater, block, best), equal=_mask(np.equal, block, best))


def _mask(
    compare: np.ufunc, block: NDArray[np.floating], with_: NDArray[np.floating]
) -> NDArray[np.bool_]:
    texts, videos = block.shape
    mask = np.zeros((texts, -(-videos // WORD) * WORD), dtype=bool)
    compare(block, with_, out=mask[:, :videos])
    return mask


def _ones_by_row(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of each row are True; 8 bytes are added up at once, none beyond 255."""
    words, ones = mask.view(np.uint64), np.zeros(len(mask), np.int64)
    for start in range(0, words.shape[1], BYTE):
        sums = np.add.reduce(words[:, start : start + BYTE], axis=1)
        ones += sums.view(np.uint8).reshape(-1, WORD).sum(1, dtype=np.int64)
    return ones


def _ones_by_column(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of each column are True; bytes are added up, none beyond 255."""
    values, ones = mask.view(np.uint8), np.zeros(mask.shape[1], np.int64)
    for start in range(0, len(values), BYTE):
        ones += np.add.reduce(values[start : start + BYTE], axis=0, dtype=np.uint8)
    return ones


def _grouped(
    marks: _Marks, grid: _Grid, rows: slice, open_group: _Marks | None
) -> tuple[_Marks, _Marks | None]:
    """One row for each video whose captions end in this block, and what is known of the last one.

    The best caption of a video scores higher where any of them does; the same, where none scores
    higher and any the same. Captions of one video may lie in several blocks.
    """
    owners = grid.owners[rows]
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    higher, equal = _any_of(marks.higher, starts), _any_of(marks.equal, starts)
    if open_group is not None:
        higher[0] |= open_group.higher
        equal[0] |= open_group.equal
    if rows.stop < len(grid.owners) and grid.owners[rows.stop] == owners[-1]:
        open_group = _Marks(higher=higher[-1], equal=equal[-1])
        higher, equal = higher[:-1], equal[:-1]
    else:
        open_group = None
    return _Marks(higher=higher, equal=equal & ~higher), open_group


def _any_of(mask: NDArray[np.bool_], starts: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether any row from each start to the next is True."""
    return np.bitwise_or.reduceat(mask.view(np.uint64), starts, axis=0).view(bool)


def _ranks(
    counts: _Counts,
    grid: _Grid,
    own: NDArray[np.float64],
    best: NDArray[np.float64],
    by: Competition,
) -> BothRanks:
    """What was counted, less the right answers themselves, each in its caller's order."""
    better, tied = np.empty_like(counts.texts_better), np.empty_like(counts.texts_tied)
    better[grid.order], tied[grid.order] = counts.texts_better, counts.texts_tied - 1
    videos_tied = counts.videos_tied[grid.queries]
    if by == "group":
        videos_tied -= 1
    else:
        is_best = (own == best[grid.owners]).astype(np.int64)
        videos_tied -= np.add.reduceat(is_best, grid.starts)
    return BothRanks(
        t2v=Ranks(better=better, tied=tied),
        v2t=Ranks(better=counts.videos_better[grid.queries], tied=videos_tied),
    )
