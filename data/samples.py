"""The things that flow through extraction: videos, captions, what is decoded, what is encoded."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class AudioState(StrEnum):
    """What became of a video's sound; only `OK` carries an embedding."""

    OK = "ok"
    SILENT = "silent"
    NO_STREAM = "no-stream"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """One video of a dataset; `id` is unique in it."""

    id: str
    path: Path
    split: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """One sentence that describes one video; `kind` says what decides it, where a dataset knows."""

    id: str
    video_id: str
    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Videos and captions as they lie on disk, in the dataset's own order.

    Args:
        notes: what a user must know of it.
        sources: the annotation files that were read, below the root.
    """

    name: str
    root: Path
    videos: tuple[Video, ...]
    captions: tuple[Caption, ...]
    protocol: str
    notes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """What a decoder found out about a file, beside its pictures and its sound.

    Args:
        times: seconds of each chosen frame after the first frame of the file.
        indices: position of each chosen frame among the `num_frames` of a full decode.
        width: of the pictures as they are shown; so is `height`.
        codec: FFmpeg's name of the video's codec.
        partial: something in the file could not be decoded, and was left out.
        container: FFmpeg's name of the file format; no cache keeps it.
    """

    times: NDArray[np.float64]
    indices: NDArray[np.int64]
    num_frames: int
    duration: float
    audio_state: AudioState
    width: int = 0
    height: int = 0
    codec: str = ""
    partial: bool = False
    container: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseFrames:
    """The frames of a video at a fixed rate (`--sampling fps:1`), as many as it has seconds."""

    frames: NDArray[np.float32]
    times: NDArray[np.float64]
    indices: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedVideo:
    """Sampled frames at native size, and the sound of one file.

    Args:
        frames: uint8 `(height, width, 3)` each, upright; sizes may differ within a file.
        times: seconds of each frame after the first frame of the file.
        indices: position of each frame among the `num_frames` of a full decode.
        waveform: float32 mono at `SAMPLE_RATE`, or None unless the state is `OK`.
        partial: packets that could not be decoded were left out.
    """

    frames: tuple[NDArray[np.uint8], ...]
    times: NDArray[np.float64]
    indices: NDArray[np.int64]
    num_frames: int
    duration: float
    waveform: NDArray[np.float32] | None
    audio_state: AudioState
    partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoEmbeddings:
    """What the cache keeps of one video.

    Args:
        path: relative to the dataset's root.
        size: bytes of the file; with `content_hash` it tells a file that was moved or replaced.
        frames: those that the heads see; with a fixed rate, the middles of equal parts of `dense`.
        num_frames: of a full decode, 0 where an older cache does not say; so are width and height.
        partial: something in the file could not be decoded, and was left out.
        dense: all frames of a fixed rate, or None.
    """

    id: str
    split: str
    path: str
    size: int
    content_hash: str
    duration: float
    frames: NDArray[np.float32]
    times: NDArray[np.float64]
    indices: NDArray[np.int64]
    audio: NDArray[np.float32] | None
    audio_state: AudioState
    num_frames: int = 0
    width: int = 0
    height: int = 0
    codec: str = ""
    partial: bool = False
    dense: DenseFrames | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEmbeddings:
    """What the cache keeps of one caption."""

    id: str
    video_id: str
    text: str
    kind: str
    sentence: NDArray[np.float32]
    words: NDArray[np.float32]
    tokens: NDArray[np.int64]
    truncated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One item that could not be processed, and the tool's own words on it."""

    id: str
    path: str
    stage: str
    reason: str
