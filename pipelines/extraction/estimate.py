"""What an extraction would take: disk from its settings, time from a few videos tried at once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vidret.data.errors import DecodeError
from vidret.data.fingerprint import Fingerprint
from vidret.data.samples import AudioState, Caption, Video
from vidret.extract.decode import decode_video
from vidret.extract.decoding.sampling import parse_sampling
from vidret.extract.decoding.sound import SAMPLE_RATE
from vidret.extract.embedding import computing
from vidret.extract.encoders import Encoders
from vidret.extract.task import encode_captions
from vidret.pipelines.config.settings import ExtractConfig

TRIED_VIDEOS, TRIED_CAPTIONS = 4, 64
FACTS = 400  # bytes of ids, paths, times and hashes of one video
HALF, WHOLE = 2, 4  # bytes of a float16 and of a float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is to come.

    Args:
        disk: bytes that the cache will grow by.
        seconds: until it is done, with this many workers; None where nothing could be tried.
        workers: how many do the work.
        tried: videos that the time was measured on.
        decoding: share of the work that is decoding.
    """

    disk: int
    seconds: float | None
    workers: int
    tried: int
    decoding: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """One video, tried."""

    decoding: float
    encoding: float
    frames: int
    samples: int


def estimate(
    videos: Sequence[Video],
    captions: Sequence[Caption],
    *,
    config: ExtractConfig,
    fingerprint: Fingerprint,
    encoders: Encoders,
    workers: int,
) -> Estimate:
    """Try a few videos and captions of those that are to do, and count up."""
    trials = [
        trial
        for video in _spread(videos, TRIED_VIDEOS)
        if (trial := _try(video, config, encoders)) is not None
    ]
    words, reading = _read(_spread(captions, TRIED_CAPTIONS), encoders)
    measured = [[each.decoding, each.encoding, each.frames, each.samples] for each in trials]
    nothing = [[0.0, 0.0, config.frames, 0.0]]
    decoding, encoding, frames, samples = map(float, np.mean(measured or nothing, axis=0))
    of_video = _bytes_of_video(frames, samples, config, fingerprint, encoders)
    of_caption = fingerprint.text_dim * HALF * (1 + words) + FACTS // 2
    work = len(videos) * (decoding + encoding) + len(captions) * reading
    return Estimate(
        disk=round(len(videos) * of_video + len(captions) * of_caption),
        seconds=work / workers if trials or not videos else None,
        workers=workers,
        tried=len(trials),
        decoding=decoding / (decoding + encoding) if trials else 0.0,
    )


def _try(video: Video, config: ExtractConfig, encoders: Encoders) -> _Trial | None:
    began = time.monotonic()
    sampling = parse_sampling(config.sampling, config.frames)
    try:
        decoded = decode_video(
            video.path, frames=config.frames, decoder=config.decoder, sampling=sampling
        )
    except DecodeError:
        return None
    crops = torch.stack([encoders.clip.prepare(frame) for frame in decoded.frames])
    ready = time.monotonic()
    heard = decoded.waveform if decoded.audio_state is AudioState.OK else None
    with computing(encoders.device, encoders.precision):
        encoders.clip.encode_frames(crops.to(encoders.device)).cpu()
        if encoders.sound is not None and heard is not None:
            encoders.sound.encode(torch.from_numpy(heard).to(encoders.device)).cpu()
    done = time.monotonic()
    samples = round(decoded.duration * SAMPLE_RATE) if heard is not None else 0
    return _Trial(decoding=ready - began, encoding=done - ready, frames=len(crops), samples=samples)


def _read(captions: Sequence[Caption], encoders: Encoders) -> tuple[float, float]:
    """Words of a caption, and seconds that it takes."""
    if not captions:
        return 0.0, 0.0
    began = time.monotonic()
    with computing(encoders.device, encoders.precision):
        encoded = encode_captions(captions, encoders)
    seconds = time.monotonic() - began
    return float(np.mean([len(text.words) for text in encoded])), seconds / len(captions)


def _bytes_of_video(
    frames: float,
    samples: float,
    config: ExtractConfig,
    fingerprint: Fingerprint,
    encoders: Encoders,
) -> float:
    rows = config.frames + (frames if config.sampling != "uniform" else 0)
    kept = FACTS + HALF * (rows * fingerprint.frame_dim + fingerprint.audio_dim)
    if config.pixels:
        kept += frames * 3 * encoders.clip.pixels.size**2 + samples * WHOLE
    return kept if config.only is None else kept - HALF * rows * fingerprint.frame_dim


def _spread(items: Sequence, number: int) -> Sequence:  # type: ignore[type-arg]
    """Some items, taken evenly from all of them."""
    if len(items) <= number:
        return items
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, number)]
