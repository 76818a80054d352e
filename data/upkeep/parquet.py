"""Splits of a cache as Parquet tables, a block at a time; pyarrow is asked for only here."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidret.data.errors import MissingError
from vidret.data.features import SplitFeatures
from vidret.data.samples import AudioState
from vidret.data.storage.publish import publish
from vidret.data.storage.rows import ragged_rows

ROWS = 256  # of one row group

Block = dict[str, Any]


def require_pyarrow() -> None:
    """Refuse to begin without pyarrow.

    Raises:
        MissingError: it is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401 (only whether it is there)
    except ImportError as error:
        raise MissingError(
            "pyarrow is not installed, and Parquet files are written with it: "
            "pip install pyarrow, or export with --format npz"
        ) from error


def write_video_parquet(path: Path, split: SplitFeatures) -> None:
    """Write the videos of a split, a row each."""
    rows = np.arange(len(split.video_ids))
    _write(path, rows, lambda some: _video_block(split, some))


def write_caption_parquet(path: Path, split: SplitFeatures) -> None:
    """Write the captions of a split, a row each."""
    rows = np.arange(len(split.caption_ids))
    _write(path, rows, lambda some: _caption_block(split, some))


def _write(
    path: Path, rows: NDArray[np.int64], block: Callable[[NDArray[np.int64]], Block]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = [rows[start : start + ROWS] for start in range(0, len(rows), ROWS)] or [rows]
    with publish(path) as part, ExitStack() as closing:
        writer = None
        for some in parts:
            table = pa.table(block(some))
            if writer is None:
                writer = closing.enter_context(pq.ParquetWriter(part, table.schema))
            writer.write_table(table)


def _video_block(split: SplitFeatures, rows: NDArray[np.int64]) -> Block:
    import pyarrow as pa

    mask = split.frame_mask[rows]
    audio = np.asarray(split.audio[rows])
    heard = [split.audio_state[row] is AudioState.OK and audio.shape[1] > 0 for row in rows]
    offsets = np.concatenate([[0], np.cumsum(mask.sum(1))])
    return {
        "id": _strings([split.video_ids[row] for row in rows]),
        "path": _strings([split.paths[row] for row in rows]),
        "duration": pa.array(split.durations[rows]),
        "frames": _ragged(_vectors(np.asarray(split.frames[rows])[mask]), offsets),
        "times": _ragged(pa.array(split.times[rows][mask]), offsets),
        "indices": _ragged(pa.array(split.indices[rows][mask]), offsets),
        "audio": _vectors(audio, heard),
        "audio_state": _strings([str(split.audio_state[row]) for row in rows]),
        **_dense_columns(split, rows),
    }


def _dense_columns(split: SplitFeatures, rows: NDArray[np.int64]) -> Block:
    import pyarrow as pa

    if split.dense is None:
        return {}
    inner, offsets = ragged_rows(split.dense.offsets, rows)
    return {
        "dense": _ragged(_vectors(np.asarray(split.dense.values[inner])), offsets),
        "dense_times": _ragged(pa.array(split.dense.times[inner]), offsets),
        "dense_indices": _ragged(pa.array(split.dense.indices[inner]), offsets),
    }


def _caption_block(split: SplitFeatures, rows: NDArray[np.int64]) -> Block:
    import pyarrow as pa

    word_rows, word_offsets = ragged_rows(split.word_offsets, rows)
    token_rows, token_offsets = ragged_rows(split.token_offsets, rows)
    return {
        "id": _strings([split.caption_ids[row] for row in rows]),
        "video_id": _strings([split.video_ids[split.owners[row]] for row in rows]),
        "text": _strings([split.text[row] for row in rows]),
        "kind": _strings([split.kind[row] for row in rows]),
        "sentence": _vectors(np.asarray(split.sentence[rows])),
        "words": _ragged(_vectors(np.asarray(split.words[word_rows])), word_offsets),
        "tokens": _ragged(pa.array(split.tokens[token_rows]), token_offsets),
        "truncated": pa.array(split.truncated[rows]),
    }


def _vectors(values: NDArray[Any], there: Sequence[bool] | None = None) -> Any:  # noqa: ANN401 (pyarrow has no types)
    """Rows of equal width; null where one is not `there`."""
    import pyarrow as pa

    if not values.shape[1]:  # nothing was encoded
        return pa.nulls(len(values), pa.list_(pa.float16(), 0))
    flat = pa.array(np.ascontiguousarray(values).reshape(-1), pa.float16())
    width = pa.list_(pa.float16(), values.shape[1])
    missing = None if there is None else pa.array([not one for one in there], pa.bool_())
    return pa.FixedSizeListArray.from_arrays(flat, type=width, mask=missing)


def _ragged(values: Any, offsets: NDArray[np.int64]) -> Any:  # noqa: ANN401 (pyarrow has no types)
    import pyarrow as pa

    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def _strings(values: Sequence[str]) -> Any:  # noqa: ANN401 (pyarrow has no types)
    """As UTF-8; a byte of a file's name that is none is spelt out."""
    import pyarrow as pa

    return pa.array(list(_utf8(values)), pa.string())


def _utf8(values: Sequence[str]) -> Iterator[str]:
    for value in values:
        yield value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
