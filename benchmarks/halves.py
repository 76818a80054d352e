"""What a worker of the extraction does in parts: decode alone, encode alone, or as others do it.

Dask imports this in its workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from contenders import OTHERS, take
from numpy.typing import NDArray
from torch import Tensor

from vidret.data.samples import Video
from vidret.extract.decoding.events import SoundPart
from vidret.extract.decoding.process import DecodingProcess
from vidret.extract.decoding.sampling import Sampling
from vidret.extract.embedding import Embedder, Take, computing
from vidret.extract.encoders import Encoders, load_encoders
from vidret.extract.lanes import Crops, Failed, Piece, borrowed_lanes, decode_in
from vidret.extract.panns import cut_windows
from vidret.extract.task import TaskSettings


@dataclass(slots=True)
class Held:
    """What was decoded of one video, kept in memory piece by piece."""

    crops: list[Tensor] = field(default_factory=list)
    sounds: list[NDArray[np.float32]] = field(default_factory=list)


@cache
def _held() -> list[Held]:
    return []


def warm_up(videos: Sequence[Video], settings: TaskSettings) -> int:
    """Load the encoders, start the decoding process, and keep what it decodes of some videos."""
    _held().clear()
    for pieces in _decoded(videos, settings):
        held = Held()
        for piece in pieces:
            match piece:
                case Crops(values):
                    held.crops.append(values)
                case SoundPart(samples):
                    held.sounds.append(samples)
        _held().append(held)
    return encode_alone(settings)


def decode_alone(videos: Sequence[Video], settings: TaskSettings) -> int:
    """The lanes of a task with nothing behind them."""
    return sum(1 for pieces in _decoded(videos, settings) for _ in pieces)


def encode_alone(settings: TaskSettings) -> int:
    """The encoding of a task with everything ready in memory."""
    embedder = Embedder(load_encoders(settings.encoders), hidden=False)
    for held in _held():
        one = Take()
        for samples in held.sounds:
            embedder.add_sound(one, samples)
        for crops in held.crops:
            embedder.add_pictures(one, crops)
        embedder.end_sound(one)
    embedder.flush()
    return len(_held())


def one_after_another(videos: Sequence[Video], settings: TaskSettings, name: str) -> int:
    """Read each video as a contender does, then encode it, then go on to the next."""
    contender = next(one for one in OTHERS if one.name == name)
    encoders = load_encoders(settings.encoders)
    for video in videos:
        taken = take(contender, video.path)
        with computing(encoders.device, encoders.precision):
            encoders.clip.encode_frames(_as_batch(taken.crops))
            _encode_sound(encoders, taken.sound)
    return len(videos)


def _decoded(videos: Sequence[Video], settings: TaskSettings) -> Iterator[Iterator[Piece]]:
    prepare = load_encoders(settings.encoders).clip.prepare

    def source(video: Video, process: DecodingProcess) -> Iterator[Piece]:
        return decode_in(
            process,
            video,
            prepare,
            sampling=Sampling(settings.frames),
            decoder=settings.decoder,
            timeout=settings.timeout,
        )

    with borrowed_lanes(settings.lanes) as lanes:
        for _, pieces in lanes.run(videos, source):
            yield _without_failures(pieces)


def _without_failures(pieces: Iterator[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        if isinstance(piece, Failed):
            raise piece.error
        yield piece


def _as_batch(crops: object) -> Tensor:
    """Pictures of any contender as the encoder takes them."""
    if isinstance(crops, Tensor):  # X-Pool's: float32 from 0 to 1
        return crops * 255
    assert isinstance(crops, list)
    if isinstance(crops[0], Tensor):
        return torch.stack(crops)
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)


def _encode_sound(encoders: Encoders, sound: NDArray[np.float32]) -> None:
    if encoders.sound is not None:
        for window in cut_windows(torch.from_numpy(sound.copy())):
            encoders.sound.encode_windows(window[None])
