"""Embeddings read back from a shard, bit for bit as they were given to its writer."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidret.data.samples import AudioState, DenseFrames, TextEmbeddings, VideoEmbeddings
from vidret.data.shards import DenseTable, VideoTable, read_caption_table, read_video_table
from vidret.data.storage.hdf5 import ArrayPlace
from vidret.data.storage.rows import ShardRows, ragged_rows


def read_videos(path: Path, rows: Sequence[int] | None = None) -> list[VideoEmbeddings]:
    """Some videos of a shard, or all of them, in the order of `rows`.

    Raises:
        DamagedError: the shard cannot be read.
    """
    table = read_video_table(path)
    wanted = np.arange(len(table.ids)) if rows is None else np.array(rows, np.int64)
    frames, audio = _read(table.frames, wanted), _read(table.audio, wanted)
    dense = [None] * len(wanted) if table.dense is None else _dense(table.dense, wanted)
    return [
        _video(table, row, frames[number], audio[number], dense[number])
        for number, row in enumerate(wanted.tolist())
    ]


def read_captions(path: Path, rows: Sequence[int] | None = None) -> list[TextEmbeddings]:
    """Some captions of a shard, or all of them, in the order of `rows`.

    Raises:
        DamagedError: the shard cannot be read.
    """
    table = read_caption_table(path)
    wanted = np.arange(len(table.ids)) if rows is None else np.array(rows, np.int64)
    sentences = _read(table.sentence, wanted)
    word_rows, word_offsets = ragged_rows(table.word_offsets, wanted)
    words = np.split(_read(table.words, word_rows), word_offsets[1:-1])
    token_rows, token_offsets = ragged_rows(table.token_offsets, wanted)
    tokens = np.split(table.tokens[token_rows], token_offsets[1:-1])
    return [
        TextEmbeddings(
            id=table.ids[row],
            video_id=table.video_ids[row],
            text=table.text[row],
            kind=table.kind[row],
            sentence=sentences[number],
            words=words[number],
            tokens=tokens[number],
            truncated=bool(table.truncated[row]),
        )
        for number, row in enumerate(wanted.tolist())
    ]


def _video(
    table: VideoTable,
    row: int,
    frames: NDArray[np.float32],
    audio: NDArray[np.float32],
    dense: DenseFrames | None,
) -> VideoEmbeddings:
    real = slice(int(table.frame_mask[row].sum()))
    heard = table.audio_state[row] is AudioState.OK and len(audio) > 0
    return VideoEmbeddings(
        id=table.ids[row],
        split=table.split[row],
        path=table.path[row],
        size=int(table.size[row]),
        content_hash=table.content_hash[row],
        duration=float(table.duration[row]),
        frames=frames[real],
        times=table.times[row][real],
        indices=table.indices[row][real],
        audio=audio if heard else None,
        audio_state=table.audio_state[row],
        num_frames=int(table.num_frames[row]),
        width=int(table.width[row]),
        height=int(table.height[row]),
        codec=table.codec[row],
        partial=bool(table.partial[row]),
        dense=dense,
    )


def _dense(table: DenseTable, wanted: NDArray[np.int64]) -> list[DenseFrames | None]:
    rows, offsets = ragged_rows(table.offsets, wanted)
    values = _read(table.values, rows)
    parts = [slice(*bounds) for bounds in pairwise(offsets.tolist())]
    return [
        DenseFrames(
            frames=values[part], times=table.times[rows[part]], indices=table.indices[rows[part]]
        )
        if part.stop > part.start
        else None
        for part in parts
    ]


def _read(place: ArrayPlace, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    return ShardRows([place], rows, place.shape[1:], "lazy")[:].astype(np.float32)
