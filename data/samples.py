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
    """Videos and captions as they lie on disk, in the dataset's own order."""

    name: str
    root: Path
    videos: tuple[Video, ...]
    captions: tuple[Caption, ...]
    protocol: str
    notes: tuple[str, ...] = ()


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
    """What the cache keeps of one video."""

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
