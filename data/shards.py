"""The shards of a cache: what is written of videos and captions, and what is read of them.

Layout of format 2, every numeric array contiguous and uncompressed, strings UTF-8:

    video shard     ids, split, frames [video, frame, frame_dim], audio [video, audio_dim],
                    audio_state, frame_mask, times, indices [video, frame],
                    source/{path,size,content_hash,duration,num_frames,width,height,codec,partial},
                    failures/{ids,path,stage,reason},
                    and with a fixed rate of frames dense/{values,offsets,times,indices}
    caption shard   ids, video_ids, text, kind, sentence [caption, text_dim], truncated,
                    words/{values,offsets}, tokens/{values,offsets}

`frames`, `dense/values`, `audio`, `sentence` and `words/values` are float16. Where the mask is
False, and where a video has no sound, there are zeros; `audio` has no columns where no sound was
encoded. Format 1 has no `dense` and, of `source`, the first four alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vidret.data.errors import EncodeError
from vidret.data.samples import AudioState, Failure, TextEmbeddings, VideoEmbeddings
from vidret.data.storage.hdf5 import (
    ArrayPlace,
    Column,
    ShardEntry,
    offsets_of,
    open_shard,
    place_of,
    read_strings,
    storable,
    write_shard,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseTable:
    """The frames at a fixed rate: video `n` has the rows `offsets[n]` to `offsets[n + 1]`."""

    offsets: NDArray[np.int64]
    times: NDArray[np.float64]
    indices: NDArray[np.int64]
    values: ArrayPlace


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoTable:
    """A video shard, its embeddings not yet read.

    Of an older format `num_frames`, `width` and `height` are 0, and `codec` is empty.
    """

    ids: list[str]
    split: list[str]
    path: list[str]
    size: NDArray[np.int64]
    content_hash: list[str]
    duration: NDArray[np.float64]
    num_frames: NDArray[np.int64]
    width: NDArray[np.int64]
    height: NDArray[np.int64]
    codec: list[str]
    partial: NDArray[np.bool_]
    frame_mask: NDArray[np.bool_]
    times: NDArray[np.float64]
    indices: NDArray[np.int64]
    audio_state: list[AudioState]
    frames: ArrayPlace
    audio: ArrayPlace
    dense: DenseTable | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTable:
    """Which files a video shard was made from, and which of them failed."""

    ids: list[str]
    split: list[str]
    path: list[str]
    size: list[int]
    content_hash: list[str]
    failures: list[Failure]


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
        MissingError: the folder cannot be written to, or has no room.
    """
    length = max((len(video.frames) for video in embeddings), default=0)
    columns: dict[str, Column] = {
        "ids": [video.id for video in embeddings],
        "split": [video.split for video in embeddings],
        "frames": _stacked([_frames_of(video) for video in embeddings], length),
        "frame_mask": np.arange(length) < _column([len(video.frames) for video in embeddings]),
        "times": _stacked([video.times for video in embeddings], length, np.float64),
        "indices": _stacked([video.indices for video in embeddings], length, np.int64),
        "audio": _audio_of(embeddings),
        "audio_state": [str(video.audio_state) for video in embeddings],
        **_sources_of(embeddings),
        **_dense_of(embeddings),
        "failures/ids": [failure.id for failure in failures],
        "failures/path": [failure.path for failure in failures],
        "failures/stage": [failure.stage for failure in failures],
        "failures/reason": [storable(failure.reason) for failure in failures],
    }
    return write_shard(path, "video", columns, fingerprint_digest)


def write_caption_shard(
    path: Path, embeddings: list[TextEmbeddings], fingerprint_digest: str
) -> ShardEntry:
    """Write the captions of one shard.

    Raises:
        EncodeError: an embedding that float16 cannot hold, or a string that HDF5 cannot.
        MissingError: the folder cannot be written to, or has no room.
    """
    words = [to_float16(text.words, text.id, "words") for text in embeddings]
    sentences = [to_float16(text.sentence, text.id, "sentence") for text in embeddings]
    columns: dict[str, Column] = {
        "ids": [text.id for text in embeddings],
        "video_ids": [text.video_id for text in embeddings],
        "text": [text.text for text in embeddings],
        "kind": [text.kind for text in embeddings],
        "sentence": np.stack(sentences) if sentences else np.zeros((0, 0), np.float16),
        "truncated": np.array([text.truncated for text in embeddings], np.bool_),
        "words/values": np.concatenate(words) if words else np.zeros((0, 0), np.float16),
        "words/offsets": offsets_of([len(rows) for rows in words]),
        "tokens/values": np.concatenate([np.zeros(0, np.int64), *(t.tokens for t in embeddings)]),
        "tokens/offsets": offsets_of([len(text.tokens) for text in embeddings]),
    }
    return write_shard(path, "caption", columns, fingerprint_digest)


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


def read_failures(path: Path) -> list[Failure]:
    """The videos of a video shard that could not be processed."""
    with open_shard(path) as shard:
        return _failures(shard)


def read_sources(path: Path) -> SourceTable:
    """No more of a video shard than a plan needs: a million videos lie in many shards."""
    with open_shard(path) as shard:
        return SourceTable(
            ids=read_strings(shard, "ids"),
            split=read_strings(shard, "split"),
            path=read_strings(shard, "source/path"),
            size=shard["source/size"][...].tolist(),
            content_hash=read_strings(shard, "source/content_hash"),
            failures=_failures(shard),
        )


def read_video_table(path: Path) -> VideoTable:
    """Everything of a video shard but its embeddings."""
    with open_shard(path) as shard:
        ids = read_strings(shard, "ids")
        return VideoTable(
            ids=ids,
            split=read_strings(shard, "split"),
            path=read_strings(shard, "source/path"),
            size=shard["source/size"][...],
            content_hash=read_strings(shard, "source/content_hash"),
            duration=shard["source/duration"][...],
            num_frames=_known(shard, "source/num_frames", np.zeros(len(ids), np.int64)),
            width=_known(shard, "source/width", np.zeros(len(ids), np.int64)),
            height=_known(shard, "source/height", np.zeros(len(ids), np.int64)),
            codec=(
                read_strings(shard, "source/codec") if "source/codec" in shard else [""] * len(ids)
            ),
            partial=_known(shard, "source/partial", np.zeros(len(ids), np.bool_)),
            frame_mask=shard["frame_mask"][...],
            times=shard["times"][...],
            indices=shard["indices"][...],
            audio_state=[AudioState(state) for state in read_strings(shard, "audio_state")],
            frames=place_of(path, shard, "frames"),
            audio=place_of(path, shard, "audio"),
            dense=_dense_table(path, shard),
        )


def read_caption_table(path: Path) -> CaptionTable:
    """Everything of a caption shard but its embeddings."""
    with open_shard(path) as shard:
        return CaptionTable(
            ids=read_strings(shard, "ids"),
            video_ids=read_strings(shard, "video_ids"),
            text=read_strings(shard, "text"),
            kind=read_strings(shard, "kind"),
            truncated=shard["truncated"][...],
            tokens=shard["tokens/values"][...],
            token_offsets=shard["tokens/offsets"][...],
            word_offsets=shard["words/offsets"][...],
            sentence=place_of(path, shard, "sentence"),
            words=place_of(path, shard, "words/values"),
        )


def read_caption_texts(path: Path) -> list[tuple[str, str, str]]:
    """The id, the video and the text of each caption of a shard, and nothing else of it."""
    with open_shard(path) as shard:
        columns = [read_strings(shard, name) for name in ("ids", "video_ids", "text")]
    return list(zip(*columns, strict=True))


def _failures(shard: h5py.File) -> list[Failure]:
    names = ("ids", "path", "stage", "reason")
    columns = [read_strings(shard, f"failures/{name}") for name in names]
    return [
        Failure(id=id_, path=source, stage=stage, reason=reason)
        for id_, source, stage, reason in zip(*columns, strict=True)
    ]


def _dense_table(path: Path, shard: h5py.File) -> DenseTable | None:
    if "dense" not in shard:
        return None
    return DenseTable(
        offsets=shard["dense/offsets"][...],
        times=shard["dense/times"][...],
        indices=shard["dense/indices"][...],
        values=place_of(path, shard, "dense/values"),
    )


def _known(shard: h5py.File, name: str, otherwise: NDArray[Any]) -> NDArray[Any]:
    """A column that older formats do not have."""
    return shard[name][...] if name in shard else otherwise


def _sources_of(embeddings: Sequence[VideoEmbeddings]) -> dict[str, Column]:
    """What is known of the files that the videos were read from."""
    return {
        "source/path": [video.path for video in embeddings],
        "source/size": np.array([video.size for video in embeddings], np.int64),
        "source/content_hash": [video.content_hash for video in embeddings],
        "source/duration": np.array([video.duration for video in embeddings], np.float64),
        "source/num_frames": np.array([video.num_frames for video in embeddings], np.int64),
        "source/width": np.array([video.width for video in embeddings], np.int64),
        "source/height": np.array([video.height for video in embeddings], np.int64),
        "source/codec": [video.codec for video in embeddings],
        "source/partial": np.array([video.partial for video in embeddings], np.bool_),
    }


def _dense_of(embeddings: Sequence[VideoEmbeddings]) -> dict[str, Column]:
    """All frames of a fixed rate, ragged; no columns where no video has any."""
    if all(video.dense is None for video in embeddings):
        return {}
    found = [video.dense for video in embeddings if video.dense is not None]
    owners = [video.id for video in embeddings if video.dense is not None]
    values = [
        to_float16(dense.frames, owner, "frames")
        for dense, owner in zip(found, owners, strict=True)
    ]
    lengths = [0 if video.dense is None else len(video.dense.frames) for video in embeddings]
    return {
        "dense/values": np.concatenate(values),
        "dense/offsets": offsets_of(lengths),
        "dense/times": np.concatenate([dense.times for dense in found]).astype(np.float64),
        "dense/indices": np.concatenate([dense.indices for dense in found]).astype(np.int64),
    }


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
