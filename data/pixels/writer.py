"""Writing a pixel shard piece by piece, so that an hour of video takes no more memory than a clip.

Layout: `ids`, `split`, `audio_state`, `source/...` and `failures/...` as in a video shard, and

    pixels      values uint8 [frame, 3, side, side], start, stop [video]
    times, indices [frame]
    waveform    values float32 [sample], start, stop [video]

`values` are in chunks, since nobody knows their length before the end; all else is contiguous.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vidret.data.fingerprint import FORMAT
from vidret.data.samples import AudioState, Failure, Video, VideoFacts
from vidret.data.storage.hdf5 import (
    Column,
    ShardEntry,
    ShardKind,
    put_array,
    read_shard_entry,
    require_storable,
    seal,
    storable,
)
from vidret.data.storage.patient_file import PatientFile, new_hdf5
from vidret.data.storage.publish import publish

KIND: ShardKind = "pixel"

_CHUNK = 1 << 18  # bytes, or one picture where that is more


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finished:
    """A video whose pictures and sound are in the shard."""

    video: Video
    facts: VideoFacts
    path: str
    size: int
    content_hash: str
    pictures: tuple[int, int]
    samples: tuple[int, int]


class _Rows:
    """An array that grows at its end; what fills no chunk yet waits in memory."""

    def __init__(
        self,
        shard: h5py.File,
        disk: PatientFile,
        name: str,
        shape: tuple[int, ...],
        dtype: type[np.generic],
    ) -> None:
        row_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.waiting = np.empty((max(1, _CHUNK // row_bytes), *shape), dtype)
        self.disk = disk
        self.written = 0
        self.filled = 0
        self.stored = shard.create_dataset(
            name,
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=self.waiting.shape,
            dtype=dtype,
            track_times=False,
        )

    def __len__(self) -> int:
        return self.written + self.filled

    def add(self, rows: NDArray[Any]) -> None:
        """Put rows behind the last one."""
        while len(rows):
            # After a cut the next write ends where a chunk does, and all later ones are whole.
            room = len(self.waiting) - self.written % len(self.waiting) - self.filled
            some, rows = rows[:room], rows[room:]
            self.waiting[self.filled : self.filled + len(some)] = some
            self.filled += len(some)
            if len(some) == room:
                self.write()

    def cut(self, length: int) -> None:
        """Forget the rows behind the first `length`."""
        self.filled = max(0, length - self.written)
        self.written = min(length, self.written)

    def write(self) -> None:
        """Write what waits; behind it the array ends.

        Raises:
            OSError: the disk does not take it.
        """
        self.stored.resize(len(self), axis=0)
        if self.filled:
            self.stored[self.written :] = self.waiting[: self.filled]
        self.written, self.filled = len(self), 0
        self.disk.check()


class PixelWriter:
    """Takes the videos of one shard, one after the other; `new_pixel_shard` makes it.

    A video begins, has pictures and sound added in any order, and is finished or fails.
    `entry` is what the manifest is to say of the shard, once it has been published.
    """

    def __init__(self, shard: h5py.File, disk: PatientFile, side: int) -> None:
        self._pictures = _Rows(shard, disk, "pixels/values", (3, side, side), np.uint8)
        self._sound = _Rows(shard, disk, "waveform/values", (), np.float32)
        self._begun: Video | None = None
        self._start = (0, 0)
        self._finished: list[_Finished] = []
        self._failures: list[Failure] = []
        self._entry: ShardEntry | None = None

    @property
    def entry(self) -> ShardEntry:
        """The shard in short; known only behind the block of `new_pixel_shard`."""
        assert self._entry is not None, "the shard has not been published"
        return self._entry

    def begin(self, video: Video) -> None:
        """What is added from now on belongs to this video."""
        assert self._begun is None, f"{self._begun} has neither been finished nor failed"
        self._begun = video
        self._start = (len(self._pictures), len(self._sound))

    def add_picture(self, crop: NDArray[np.uint8]) -> None:
        """Add the next picture, uint8 `(3, side, side)`, as the model takes it."""
        assert self._begun is not None
        assert crop.dtype == np.uint8, crop.dtype  # numpy would squeeze any number into a byte
        assert crop.shape == self._pictures.waiting.shape[1:], crop.shape
        self._pictures.add(crop[None])

    def add_sound(self, samples: NDArray[np.float32]) -> None:
        """Add the next samples of the sound."""
        assert self._begun is not None
        assert samples.dtype == np.float32, samples.dtype
        self._sound.add(samples)

    def restart(self) -> None:
        """The pictures of this video so far are void; its sound stays."""
        assert self._begun is not None
        self._pictures.cut(self._start[0])

    def finish(self, facts: VideoFacts, *, path: str, size: int, content_hash: str) -> None:
        """The video is whole; its sound is kept only where its state says that it is good.

        Args:
            facts: with a time and an index for each picture that was added.
            path: relative to the dataset's root.
            size: bytes of the file.
            content_hash: of the file.
        """
        assert self._begun is not None
        if facts.audio_state is not AudioState.OK:
            self._sound.cut(self._start[1])
        first, last = self._start[0], len(self._pictures)
        assert len(facts.times) == len(facts.indices) == last - first, self._begun.id
        self._finished.append(
            _Finished(
                video=self._begun,
                facts=facts,
                path=path,
                size=size,
                content_hash=content_hash,
                pictures=(first, last),
                samples=(self._start[1], len(self._sound)),
            )
        )
        self._begun = None

    def fail(self, failure: Failure) -> None:
        """The video gave nothing; one that never began may fail too."""
        if self._begun is not None:
            assert failure.id == self._begun.id, failure.id
            self._pictures.cut(self._start[0])
            self._sound.cut(self._start[1])
        self._failures.append(failure)
        self._begun = None

    def _complete(self, shard: h5py.File) -> None:
        assert self._begun is None, f"{self._begun} has neither been finished nor failed"
        self._pictures.write()
        self._sound.write()
        columns = _columns(self._finished, self._failures)
        require_storable(columns)
        for name, values in columns.items():
            put_array(shard, name, values)


@contextmanager
def new_pixel_shard(path: Path, digest: str, side: int) -> Iterator[PixelWriter]:
    """Yield the writer of a pixel shard; `path` appears only once the block has succeeded.

    Raises:
        EncodeError: a string that HDF5 cannot hold.
        MissingError: the folder cannot be written to, or the disk is full.
    """
    with publish(path) as part:
        with new_hdf5(part) as (shard, disk):
            shard.attrs["format"] = FORMAT
            shard.attrs["kind"] = KIND
            shard.attrs["fingerprint"] = digest
            writer = PixelWriter(shard, disk, side)
            yield writer
            writer._complete(shard)  # noqa: SLF001 - nobody else is to call it
            disk.check()
            seal(shard)
        writer._entry = replace(read_shard_entry(part), file=path.name)  # noqa: SLF001 - likewise


def require_pixels(shard: h5py.File) -> None:
    """Refuse a shard of another kind, as damage: it lies where pixels should."""
    kind = shard.attrs["kind"]
    if kind != KIND:
        raise ValueError(f"it is a {kind} shard, where pixels should be")


def _columns(videos: list[_Finished], failures: list[Failure]) -> dict[str, Column]:
    facts = [video.facts for video in videos]
    return {
        "ids": [video.video.id for video in videos],
        "split": [video.video.split for video in videos],
        "audio_state": [str(one.audio_state) for one in facts],
        "times": np.concatenate([np.zeros(0), *(one.times for one in facts)]),
        "indices": np.concatenate([np.zeros(0, np.int64), *(one.indices for one in facts)]),
        "pixels/start": np.array([video.pictures[0] for video in videos], np.int64),
        "pixels/stop": np.array([video.pictures[1] for video in videos], np.int64),
        "waveform/start": np.array([video.samples[0] for video in videos], np.int64),
        "waveform/stop": np.array([video.samples[1] for video in videos], np.int64),
        "source/path": [video.path for video in videos],
        "source/size": np.array([video.size for video in videos], np.int64),
        "source/content_hash": [video.content_hash for video in videos],
        "source/duration": np.array([one.duration for one in facts], np.float64),
        "source/num_frames": np.array([one.num_frames for one in facts], np.int64),
        "source/width": np.array([one.width for one in facts], np.int64),
        "source/height": np.array([one.height for one in facts], np.int64),
        "source/codec": [one.codec for one in facts],
        "source/partial": np.array([one.partial for one in facts], np.bool_),
        "failures/ids": [failure.id for failure in failures],
        "failures/path": [failure.path for failure in failures],
        "failures/stage": [failure.stage for failure in failures],
        "failures/reason": [storable(failure.reason) for failure in failures],
    }
