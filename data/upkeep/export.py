"""A cache in files that need no vidret, `.npz` or Parquet, as docs/cache-format.md has them."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError, MissingError
from vidret.data.features import Rows, SplitFeatures
from vidret.data.storage.projections import PROJECTIONS, read_projections
from vidret.data.storage.publish import publish
from vidret.data.upkeep.npz import NpzWriter, new_npz
from vidret.data.upkeep.parquet import require_pyarrow, write_caption_parquet, write_video_parquet

NPZ, PARQUET = "npz", "parquet"
FORMATS = (NPZ, PARQUET)
FINGERPRINT = "fingerprint.json"  # written last: with it, an export is whole
ROWS = 256  # read at once


def export_cache(
    cache: FeatureCache, to: Path, *, file_format: str, splits: Sequence[str]
) -> list[Path]:
    """Write some splits of a cache into an empty folder, and say what was written.

    No more than a few hundred embeddings are in memory at once.

    Raises:
        ConfigError: the folder is not empty, or the cache has no such split.
        MissingError: pyarrow is not there, or the folder cannot be written to.
        DamagedError: the cache is.
    """
    if file_format == PARQUET:
        require_pyarrow()
    _make_empty(to)
    written = []
    for split in splits:
        features = cache.load(split, view="lazy")
        written += _export_split(features, to, file_format)
    if cache.fingerprint.features == "hidden":
        read_projections(cache.folder, cache.manifest.files)  # are they whole?
        with publish(to / PROJECTIONS) as part:
            shutil.copyfile(cache.folder / PROJECTIONS, part)
        written.append(to / PROJECTIONS)
    with publish(to / FINGERPRINT) as part:
        told = json.dumps(cache.fingerprint.to_json(), indent=1, sort_keys=True)
        part.write_text(f"{told}\n", encoding="utf-8")
    return [*written, to / FINGERPRINT]


def _export_split(features: SplitFeatures, to: Path, file_format: str) -> list[Path]:
    name = quote(features.split, safe=" ")  # a split may be called anything
    videos = to / f"videos-{name}.{file_format}"
    captions = to / f"captions-{name}.{file_format}"
    if file_format == PARQUET:
        write_video_parquet(videos, features)
        write_caption_parquet(captions, features)
    else:
        with new_npz(videos) as file:
            _add_videos(file, features)
        with new_npz(captions) as file:
            _add_captions(file, features)
    return [videos, captions]


def _add_videos(file: NpzWriter, split: SplitFeatures) -> None:
    file.strings("ids", split.video_ids)
    file.strings("path", split.paths)
    file.add("duration", split.durations)
    _stream(file, "frames", split.frames)
    file.add("frame_mask", split.frame_mask)
    file.add("times", split.times)
    file.add("indices", split.indices)
    _stream(file, "audio", split.audio)
    file.strings("audio_state", [str(state) for state in split.audio_state])
    if split.dense is not None:
        _stream(file, "dense", split.dense.values)
        file.add("dense_offsets", split.dense.offsets)
        file.add("dense_times", split.dense.times)
        file.add("dense_indices", split.dense.indices)


def _add_captions(file: NpzWriter, split: SplitFeatures) -> None:
    file.strings("ids", split.caption_ids)
    file.strings("video_ids", [split.video_ids[row] for row in split.owners])
    file.strings("text", split.text)
    file.strings("kind", split.kind)
    _stream(file, "sentence", split.sentence)
    _stream(file, "words", split.words)
    file.add("word_offsets", split.word_offsets)
    file.add("tokens", split.tokens)
    file.add("token_offsets", split.token_offsets)
    file.add("truncated", split.truncated)


def _stream(file: NpzWriter, name: str, rows: Rows) -> None:
    file.stream(name, np.dtype(np.float16), rows.shape, _blocks(rows))


def _blocks(rows: Rows) -> Iterator[NDArray[np.float16]]:
    for start in range(0, len(rows), ROWS):
        yield np.asarray(rows[start : start + ROWS])


def _make_empty(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = next(folder.iterdir(), None)
    except OSError as error:
        raise MissingError(
            f"cannot write to {folder}: {error.strerror or error}, choose another with --to"
        ) from error
    if taken is not None:
        raise ConfigError(
            f"{folder} is not empty (it holds {taken.name}): name a new folder with --to"
        )
