"""Reading a pixel shard: all that is said of its videos at once, their pictures as they are needed.

A reader may be sent to another process, and be used after a fork: each process opens its own file.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vidret.data.pixels.writer import require_pixels
from vidret.data.samples import AudioState, Failure, VideoFacts
from vidret.data.shards import read_failures
from vidret.data.storage.hdf5 import naming_damage, open_shard, read_strings


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelTable:
    """A pixel shard, its pictures and sound not yet read: a row a video.

    Args:
        side: of the pictures.
        samples: how long the sound of each video is, 0 where none is kept.
    """

    side: int
    ids: list[str]
    split: list[str]
    path: list[str]
    size: NDArray[np.int64]
    content_hash: list[str]
    facts: list[VideoFacts]
    samples: NDArray[np.int64]
    failures: list[Failure]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """An open pixel shard: its arrays, and the rows of each video in them."""

    process: int
    closing: ExitStack
    pictures: h5py.Dataset
    indices: h5py.Dataset
    picture_rows: NDArray[np.int64]
    sound: h5py.Dataset
    sound_rows: NDArray[np.int64]


def read_pixel_table(path: Path) -> PixelTable:
    """Everything of a pixel shard but its pictures and sound.

    Raises:
        DamagedError: it cannot be read, or is no pixel shard.
        MismatchError: a newer vidret wrote it.
    """
    with open_shard(path) as shard:
        require_pixels(shard)
        rows, columns = _rows(shard, "pixels"), _fact_columns(shard)
        times, indices = shard["times"][...], shard["indices"][...]
        _require(len(times) == len(indices) == len(shard["pixels/values"]), "times or indices")
        samples = _rows(shard, "waveform")
        return PixelTable(
            side=shard["pixels/values"].shape[-1],
            ids=read_strings(shard, "ids"),
            split=read_strings(shard, "split"),
            path=read_strings(shard, "source/path"),
            size=shard["source/size"][...],
            content_hash=read_strings(shard, "source/content_hash"),
            facts=[
                VideoFacts(times=times[start:stop], indices=indices[start:stop], **own)
                for (start, stop), own in zip(rows, columns, strict=True)
            ],
            samples=samples[:, 1] - samples[:, 0],
            failures=read_failures(path),
        )


class PixelReader:
    """Pictures and sound of one pixel shard; it opens when it is first asked, and is to be closed.

    Raises:
        DamagedError: whatever is asked of a shard that cannot be read.
        MismatchError: likewise of one that a newer vidret wrote.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: _Opened | None = None

    def __enter__(self) -> "PixelReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type["PixelReader"], tuple[Path]]:
        return PixelReader, (self.path,)

    def close(self) -> None:
        """Close the file; the next question opens it again."""
        if self._opened is not None:
            self._opened.closing.close()
        self._opened = None

    @property
    def side(self) -> int:
        """Of every picture."""
        return int(self._open().pictures.shape[-1])

    def num_pictures(self, row: int) -> int:
        """How many pictures a video has."""
        start, stop = self._open().picture_rows[row]
        return int(stop - start)

    def num_samples(self, row: int) -> int:
        """How long the sound of a video is, 0 where none is kept."""
        start, stop = self._open().sound_rows[row]
        return int(stop - start)

    def indices(self, row: int) -> NDArray[np.int64]:
        """Which frames of a full decode the pictures of a video are, in rising order."""
        opened = self._open()
        return self._read(opened.indices, opened.picture_rows[row], 0, None)

    def pictures(self, row: int, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """Some pictures of a video, or all of them: `[n, 3, side, side]`."""
        opened = self._open()
        return self._read(opened.pictures, opened.picture_rows[row], start, stop)

    def iter_pictures(self, row: int, at_once: int = 64) -> Iterator[NDArray[np.uint8]]:
        """All pictures of a video, `at_once` of them at a time."""
        for start in range(0, self.num_pictures(row), at_once):
            yield self.pictures(row, start, start + at_once)

    def sound(self, row: int, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Some samples of a video's sound, or all of them."""
        opened = self._open()
        return self._read(opened.sound, opened.sound_rows[row], start, stop)

    def iter_sound(self, row: int, at_once: int = 320_000) -> Iterator[NDArray[np.float32]]:
        """The sound of a video, `at_once` samples at a time."""
        for start in range(0, self.num_samples(row), at_once):
            yield self.sound(row, start, start + at_once)

    def _open(self) -> _Opened:
        if self._opened is not None and self._opened.process != os.getpid():
            self.close()  # HDF5 would share what it finds open, and that is the parent's
        if self._opened is None:
            self._opened = _open(self.path)
        return self._opened

    def _read(
        self, stored: h5py.Dataset, rows: NDArray[np.int64], start: int, stop: int | None
    ) -> NDArray[Any]:
        first, last, _ = slice(start, stop).indices(int(rows[1] - rows[0]))
        with naming_damage(self.path):
            return stored[rows[0] + first : rows[0] + max(first, last)]


def _open(path: Path) -> _Opened:
    with ExitStack() as stack:
        shard = stack.enter_context(open_shard(path))
        with naming_damage(path):
            require_pixels(shard)
            return _Opened(
                process=os.getpid(),
                pictures=shard["pixels/values"],
                indices=shard["indices"],
                picture_rows=_rows(shard, "pixels"),
                sound=shard["waveform/values"],
                sound_rows=_rows(shard, "waveform"),
                closing=stack.pop_all(),
            )


def _rows(shard: h5py.File, name: str) -> NDArray[np.int64]:
    """The first row of each video in an array, and the one behind its last: `[video, 2]`."""
    rows = np.stack([shard[f"{name}/start"][...], shard[f"{name}/stop"][...]], axis=1)
    inside = (rows[:, 0] >= 0) & (rows[:, 0] <= rows[:, 1])
    length = len(shard[f"{name}/values"])
    _require(bool(inside.all()) and bool((rows[:, 1] <= length).all()), f"rows of {name}")
    _require(len(rows) == len(shard["ids"]), f"number of rows of {name}")
    return rows


def _fact_columns(shard: h5py.File) -> list[dict[str, Any]]:
    """The facts of each video, but for its times and indices."""
    columns = {
        "num_frames": shard["source/num_frames"][...].tolist(),
        "duration": shard["source/duration"][...].tolist(),
        "audio_state": [AudioState(state) for state in read_strings(shard, "audio_state")],
        "width": shard["source/width"][...].tolist(),
        "height": shard["source/height"][...].tolist(),
        "codec": read_strings(shard, "source/codec"),
        "partial": shard["source/partial"][...].tolist(),
    }
    values = zip(*columns.values(), strict=True)
    return [dict(zip(columns, own, strict=True)) for own in values]


def _require(good: bool, what: str) -> None:  # noqa: FBT001 - a condition reads best first
    if not good:
        raise ValueError(f"no pixel shard has this {what}")
