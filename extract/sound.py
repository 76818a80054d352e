"""From decoded samples to what the audio encoder hears: mono float32 at 32 kHz."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import soxr
from numpy.typing import NDArray

from vidret.data.samples import AudioState

SAMPLE_RATE = 32_000
SILENCE_PEAK = 1e-4  # -80 dB of full scale: below it is dither and codec noise


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundBlock:
    """Some samples of one channel, as float32 at the rate of the file."""

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


def sound_of(blocks: Sequence[SoundBlock], *, damaged: bool) -> Sound:
    """Join the blocks of a sound stream, bring them to 32 kHz, and say what became of them.

    Args:
        blocks: in the order of hearing; a stream may change its rate on the way.
        damaged: some packets could not be decoded.
    """
    runs = [(rate, [block.samples for block in run]) for rate, run in groupby(blocks, _rate_of)]
    waveform = np.concatenate(
        [np.zeros(0, np.float32), *(_resample(np.concatenate(run), rate) for rate, run in runs)]
    )
    state = _state_of(waveform, damaged=damaged)
    return Sound(
        waveform=waveform if state is AudioState.OK else None,
        state=state,
        seconds=len(waveform) / SAMPLE_RATE,
    )


def _state_of(waveform: NDArray[np.float32], *, damaged: bool) -> AudioState:
    if not np.isfinite(waveform).all() or (damaged and not len(waveform)):
        return AudioState.FAILED
    if not len(waveform) or np.abs(waveform).max() < SILENCE_PEAK:
        return AudioState.SILENT
    return AudioState.OK


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
