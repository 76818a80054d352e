"""The HDF5 files of a cache: written whole or not at all, read without locks.

Layout of format 1, every numeric array contiguous and uncompressed, strings UTF-8:

    video shard     ids, split, frames [video, frame, dim], audio [video, audio_dim], audio_state,
                    frame_mask, times, indices [video, frame],
                    source/{path,size,content_hash,duration}, failures/{ids,path,stage,reason}
    caption shard   ids, video_ids, text, kind, sentence [caption, dim], truncated,
                    words/{values,offsets}, tokens/{values,offsets}

`frames`, `audio`, `sentence` and `words/values` are float16. Where the mask is False, and where a
video has no sound, there are zeros; `audio` has no columns where no sound was encoded.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from vidret.data.errors import DamagedError, EncodeError
from vidret.data.fingerprint import FORMAT, require_format
from vidret.data.publish import publish
from vidret.data.samples import AudioState, Failure, TextEmbeddings, VideoEmbeddings

ShardKind = Literal["video", "caption"]
Column = NDArray[Any] | list[str]

_ALIGNMENT = 64  # bytes: what is mapped later should start on a cache line
_READ_SIZE = 1 << 23


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """What the manifest says of one shard; `fingerprint` is the digest given to the writer."""

    file: str
    kind: ShardKind
    items: int
    failed: int
    bytes: int
    checksum: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPlace:
    """Where an array lies; `offset` is None where it cannot be mapped."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTable:
    """A video shard, its embeddings not yet read."""

    ids: list[str]
    split: list[str]
    path: list[str]
    size: NDArray[np.int64]
    content_hash: list[str]
    duration: NDArray[np.float64]
    frame_mask: NDArray[np.bool_]
    times: NDArray[np.float64]
    indices: NDArray[np.int64]
    audio_state: list[AudioState]
    frames: ArrayPlace
    audio: ArrayPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionTable:
    """A caption shard, its embeddings not yet read."""

    ids: list[str]
    video_ids: list[str]
    text: list[str]
    kind: list[str]
    truncated: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    token_offsets: NDArray[np.int64]
    word_offsets: NDArray[np.int64]
    sentence: ArrayPlace
    words: ArrayPlace


def write_video_shard(
    path: Path,
    embeddings: list[VideoEmbeddings],
    failures: list[Failure],
    fingerprint_digest: str,
) -> ShardEntry:
    """Write the videos of one shard, and those of them that failed.

    Raises:
        EncodeError: an embedding that float16 cannot hold, or a string that HDF5 cannot.
        MissingError: the folder cannot be written to.
    """
    length = max((len(video.frames) for video in embeddings), default=0)
    videos: dict[str, Column] = {
        "ids": [video.id for video in embeddings],
        "split": [video.split for video in embeddings],
        "frames": _stacked([_frames_of(video) for video in embeddings], length),
        "frame_mask": np.arange(length) < _column([len(video.frames) for video in embeddings]),
        "times": _stacked([video.times for video in embeddings], length, np.float64),
        "indices": _stacked([video.indices for video in embeddings], length, np.int64),
        "audio": _audio_of(embeddings),
        "audio_state": [str(video.audio_state) for video in embeddings],
        "source/path": [video.path for video in embeddings],
        "source/size": np.array([video.size for video in embeddings], np.int64),
        "source/content_hash": [video.content_hash for video in embeddings],
        "source/duration": np.array([video.duration for video in embeddings], np.float64),
        "failures/ids": [failure.id for failure in failures],
        "failures/path": [failure.path for failure in failures],
        "failures/stage": [failure.stage for failure in failures],
        "failures/reason": [_storable(failure.reason) for failure in failures],
    }
    return _write(path, "video", videos, fingerprint_digest)


def write_caption_shard(
    path: Path, embeddings: list[TextEmbeddings], fingerprint_digest: str
) -> ShardEntry:
    """Write the captions of one shard.

    Raises:
        EncodeError: an embedding that float16 cannot hold, or a string that HDF5 cannot.
        MissingError: the folder cannot be written to.
    """
    words = [to_float16(text.words, text.id, "words") for text in embeddings]
    sentences = [to_float16(text.sentence, text.id, "sentence") for text in embeddings]
    captions: dict[str, Column] = {
        "ids": [text.id for text in embeddings],
        "video_ids": [text.video_id for text in embeddings],
        "text": [text.text for text in embeddings],
        "kind": [text.kind for text in embeddings],
        "sentence": np.stack(sentences) if sentences else np.zeros((0, 0), np.float16),
        "truncated": np.array([text.truncated for text in embeddings], np.bool_),
        "words/values": np.concatenate(words) if words else np.zeros((0, 0), np.float16),
        "words/offsets": _offsets(words),
        "tokens/values": np.concatenate([np.zeros(0, np.int64), *(t.tokens for t in embeddings)]),
        "tokens/offsets": _offsets([text.tokens for text in embeddings]),
    }
    return _write(path, "caption", captions, fingerprint_digest)


def to_float16(values: NDArray[np.float32], owner: str, what: str) -> NDArray[np.float16]:
    """An embedding as it is stored; a writer refuses its whole shard over one that cannot be.

    Raises:
        EncodeError: it is not finite, or beyond what float16 holds.
    """
    if not np.isfinite(values).all():
        raise EncodeError(
            f"{owner}: its {what} embedding holds NaN or infinity: "
            "check the weights, then extract it again with --retry-failed"
        )
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    if not np.isfinite(half).all():
        raise EncodeError(
            f"{owner}: its {what} embedding reaches {np.abs(values).max():g}, and float16 ends at "
            "65504: check the weights, then extract it again with --retry-failed"
        )
    return half


def read_shard_entry(path: Path) -> ShardEntry:
    """What the writer returned, from the file alone.

    Raises:
        DamagedError: the file is no whole shard.
    """
    with open_shard(path) as shard:
        return _entry(path, shard, path.name)


def read_failures(path: Path) -> list[Failure]:
    """The videos of a video shard that could not be processed."""
    with open_shard(path) as shard:
        columns = [
            _strings(shard, f"failures/{name}") for name in ("ids", "path", "stage", "reason")
        ]
        return [
            Failure(id=id_, path=source, stage=stage, reason=reason)
            for id_, source, stage, reason in zip(*columns, strict=True)
        ]


def read_video_table(path: Path) -> VideoTable:
    """Everything of a video shard but its embeddings."""
    with open_shard(path) as shard:
        return VideoTable(
            ids=_strings(shard, "ids"),
            split=_strings(shard, "split"),
            path=_strings(shard, "source/path"),
            size=shard["source/size"][...],
            content_hash=_strings(shard, "source/content_hash"),
            duration=shard["source/duration"][...],
            frame_mask=shard["frame_mask"][...],
            times=shard["times"][...],
            indices=shard["indices"][...],
            audio_state=[AudioState(state) for state in _strings(shard, "audio_state")],
            frames=_place(path, shard, "frames"),
            audio=_place(path, shard, "audio"),
        )


def read_caption_table(path: Path) -> CaptionTable:
    """Everything of a caption shard but its embeddings."""
    with open_shard(path) as shard:
        return CaptionTable(
            ids=_strings(shard, "ids"),
            video_ids=_strings(shard, "video_ids"),
            text=_strings(shard, "text"),
            kind=_strings(shard, "kind"),
            truncated=shard["truncated"][...],
            tokens=shard["tokens/values"][...],
            token_offsets=shard["tokens/offsets"][...],
            word_offsets=shard["words/offsets"][...],
            sentence=_place(path, shard, "sentence"),
            words=_place(path, shard, "words/values"),
        )


@contextmanager
def open_shard(path: Path) -> Iterator[h5py.File]:
    """Yield a shard for reading; whatever goes wrong in the block is damage to the file.

    Raises:
        DamagedError: the file is absent, no HDF5 file, or not as this format has it.
        MismatchError: a newer vidret wrote it.
    """
    try:
        # A published shard is never written again, so there is nothing to lock; NFS often cannot.
        with h5py.File(path, "r", locking=False) as shard:
            require_format(_plain(shard.attrs.get("format")), str(path))
            yield shard
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise DamagedError(
            f"{path} cannot be read ({error}): {how_to_repair(path.parent)}"
        ) from error


def how_to_repair(folder: Path) -> str:
    """What a message says next about a damaged cache."""
    return f"run `vidret cache repair --cache {folder}`, then the same `vidret extract` again"


def _write(path: Path, kind: ShardKind, columns: dict[str, Column], digest: str) -> ShardEntry:
    _require_storable(columns)
    with publish(path) as part:
        with _new_file(part) as shard:
            shard.attrs["format"] = FORMAT
            shard.attrs["kind"] = kind
            shard.attrs["fingerprint"] = digest
            for name, values in columns.items():
                _put(shard, name, values)
        with open_shard(part) as shard:
            return _entry(part, shard, path.name)


def _new_file(part: Path) -> h5py.File:
    return h5py.File(part, "x", alignment_threshold=1, alignment_interval=_ALIGNMENT)


def _put(shard: h5py.File, name: str, values: Column) -> None:
    """Add one array; without times in the file, so that the same input gives the same bytes."""
    if isinstance(values, list):
        # File names need not be UTF-8; Python carries their odd bytes as surrogates.
        encoded = np.array([text.encode("utf-8", "surrogateescape") for text in values], object)
        kind = h5py.string_dtype()
        shard.create_dataset(name, data=encoded, dtype=kind, track_times=False)
        return
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # only what has a place can be mapped
    shard.create_dataset(name, data=values, dcpl=properties, track_times=False)


def _entry(path: Path, shard: h5py.File, file: str) -> ShardEntry:
    kind = shard.attrs["kind"]
    return ShardEntry(
        file=file,
        kind=kind,
        items=len(shard["ids"]),
        failed=len(shard["failures/ids"]) if kind == "video" else 0,
        bytes=path.stat().st_size,
        checksum=checksum(path),
        fingerprint=shard.attrs["fingerprint"],
    )


def checksum(path: Path) -> str:
    """The xxh3_128 of a whole file; HDF5 itself would not notice a flipped bit."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_READ_SIZE):
            digest.update(block)
    return digest.hexdigest()


def _strings(shard: h5py.File, name: str) -> list[str]:
    return list(shard[name].asstr(errors="surrogateescape")[...])


def _place(path: Path, shard: h5py.File, name: str) -> ArrayPlace:
    stored = shard[name]
    offset = stored.id.get_offset() if stored.chunks is None else None
    return ArrayPlace(path=path, name=name, shape=stored.shape, dtype=stored.dtype, offset=offset)


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _frames_of(video: VideoEmbeddings) -> NDArray[np.float16]:
    if not len(video.frames):
        raise EncodeError(f"{video.id}: no frame was encoded: decode it again")
    return to_float16(video.frames, video.id, "frames")


def _audio_of(embeddings: Sequence[VideoEmbeddings]) -> NDArray[np.float16]:
    width = max((len(video.audio) for video in embeddings if video.audio is not None), default=0)
    audio = np.zeros((len(embeddings), width), np.float16)
    for row, video in enumerate(embeddings):
        if video.audio is not None:
            assert video.audio_state is AudioState.OK, video.id
            audio[row] = to_float16(video.audio, video.id, "audio")
        else:  # without a sound encoder nobody has an embedding, and the states stay as they are
            assert video.audio_state is not AudioState.OK or not width, video.id
    return audio


def _stacked(
    items: Sequence[NDArray[Any]], length: int, dtype: type[np.generic] = np.float16
) -> NDArray[Any]:
    """Arrays of different lengths as rows, zeros behind the shorter ones."""
    rest = items[0].shape[1:] if items else ((0,) if dtype is np.float16 else ())
    rows = np.zeros((len(items), length, *rest), dtype)
    for row, item in zip(rows, items, strict=True):
        row[: len(item)] = item
    return rows


def _column(counts: list[int]) -> NDArray[np.int64]:
    return np.array(counts, np.int64)[:, None]


def _offsets(items: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    return np.cumsum([0, *(len(item) for item in items)], dtype=np.int64)


def _storable(reason: str) -> str:
    """A tool's own words may hold anything, and what HDF5 cannot hold is spelt out."""
    return reason.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _require_storable(columns: dict[str, Column]) -> None:
    """Refuse the few strings that an HDF5 string cannot give back."""
    for name, values in columns.items():
        for row, text in enumerate(values if isinstance(values, list) else ()):
            try:
                clean = b"\0" not in text.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                clean = False
            if not clean:
                owner = columns["failures/ids" if name.startswith("failures/") else "ids"][row]
                raise EncodeError(
                    f"{owner}: {name} is {text!r}, with a character that is no text: "
                    "mend the dataset's file"
                )
