"""From decoded samples to what the audio encoder hears: mono float32 at 32 kHz."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from vidret.data.samples import AudioState
from vidret.extract.decoding.files import printable

log = logging.getLogger(__name__)

SAMPLE_RATE = 32_000
SILENCE_PEAK = 1e-4  # -80 dB of full scale: below it is dither and codec noise


@dataclass(frozen=True, slots=True)
class SoundBlock:
    """Some samples, the mean of all channels, at the rate of the file."""

    rate: int
    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """The sound of one file; `seconds` counts silence too."""

    waveform: NDArray[np.float32] | None
    state: AudioState
    seconds: float


NO_STREAM = Sound(waveform=None, state=AudioState.NO_STREAM, seconds=0.0)


def mono(samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """The mean of `(channel, sample)`; FFmpeg's own downmix to float is 3 dB louder than that."""
    return np.ascontiguousarray(_full_scale(samples)).mean(axis=0, dtype=np.float32)


def sound_of(path: Path, blocks: Sequence[SoundBlock], *, complaint: str) -> Sound:
    """Join the blocks of a sound stream, bring them to 32 kHz, and say what became of them.

    Args:
        path: the file, for the log.
        blocks: in the order of hearing; a stream may change its rate on the way.
        complaint: the decoder's last words, empty where it had no trouble.
    """
    runs = [(rate, [block.samples for block in run]) for rate, run in groupby(blocks, _rate_of)]
    waveform = np.concatenate(
        [np.zeros(0, np.float32), *(_resample(np.concatenate(run), rate) for rate, run in runs)]
    )
    if complaint and not len(waveform):
        return failed_sound(path, complaint)
    if not np.isfinite(waveform).all():
        return failed_sound(path, "samples that are not numbers")
    seconds = len(waveform) / SAMPLE_RATE
    if np.abs(waveform).max(initial=0.0) < SILENCE_PEAK:
        return Sound(waveform=None, state=AudioState.SILENT, seconds=seconds)
    return Sound(waveform=waveform, state=AudioState.OK, seconds=seconds)


def failed_sound(path: Path, words: str) -> Sound:
    """The sound of a file that has some, but none that a tool could decode."""
    log.warning("%s: the sound cannot be decoded (%s); the frames are kept", printable(path), words)
    return Sound(waveform=None, state=AudioState.FAILED, seconds=0.0)


def _rate_of(block: SoundBlock) -> int:
    return block.rate


def _resample(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    if rate == SAMPLE_RATE or not len(samples):
        return samples
    return soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")


def _full_scale(samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """Whole numbers as float32 in [-1, 1), the way FFmpeg converts them."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float32)
    half = np.float32(2.0 ** (8 * samples.itemsize - 1))
    offset = half if samples.dtype.kind == "u" else np.float32(0)
    return (samples.astype(np.float32) - offset) / half
