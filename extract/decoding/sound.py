"""From decoded samples to what the audio encoder hears: mono float32 at 32 kHz, part by part."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from vidret.data.printable import printable
from vidret.data.samples import AudioState
from vidret.extract.decoding.events import SoundPart

log = logging.getLogger(__name__)

SAMPLE_RATE = 32_000
SILENCE_PEAK = 1e-4  # -80 dB of full scale: below it is dither and codec noise
PART_SECONDS = 10
PART_VALUES = 1 << 21  # of all channels, where these are many

Channels = Sequence[NDArray[np.generic]]  # the same stretch of each


@dataclass(frozen=True, slots=True)
class Sound:
    """What became of the sound of a file.

    Args:
        seconds: of all that was heard, silence too.
        damaged: some of it could not be decoded, and was left out.
    """

    state: AudioState
    seconds: float
    damaged: bool = False


NO_STREAM = Sound(AudioState.NO_STREAM, 0.0)
ENCRYPTED = "it is encrypted"


class Listener:
    """Takes the blocks of one sound stream as they are decoded, and gives parts at 32 kHz.

    Blocks wait until they make a part, since a call for each of the many small ones would cost
    more than the work. The parts together are what one call for the whole sound would give.
    """

    def __init__(self, path: Path) -> None:
        self.complaint = ""  # the decoder's last words, empty as long as it has no trouble
        self._path = path
        self._waiting: list[Channels] = []
        self._num_waiting = 0
        self._rate = 0
        self._resampler: soxr.ResampleStream | None = None
        self._num_heard = 0
        self._peak = 0.0

    def hear(self, channels: Channels, rate: int) -> Iterator[SoundPart]:
        """Take the next samples of all channels; a stream may change its form on the way."""
        if rate != self._rate:
            yield from self._mix(last=True)
            self._rate = rate
            self._resampler = None if rate == SAMPLE_RATE else _resampler(rate)
        elif self._waiting and not _are_alike(channels, self._waiting[0]):
            yield from self._mix(last=False)
        self._waiting.append(channels)
        self._num_waiting += len(channels[0])
        if self._num_waiting >= min(PART_SECONDS * rate, PART_VALUES // len(channels)):
            yield from self._mix(last=False)

    def rest(self) -> Iterator[SoundPart]:
        """Give what still waits; the stream has ended."""
        yield from self._mix(last=True)

    def verdict(self, *, lost: bool = False) -> Sound:
        """What the sound was worth, once `rest` has been given; `lost` says that it broke off."""
        if not np.isfinite(self._peak):
            self.complaint = "samples that are not numbers"
        elif not lost and (self._num_heard or not self.complaint):
            silent = self._peak < SILENCE_PEAK
            state = AudioState.SILENT if silent else AudioState.OK
            return Sound(state, self._num_heard / SAMPLE_RATE, damaged=bool(self.complaint))
        log.warning(
            "%s: the sound cannot be decoded (%s); the frames are kept",
            printable(self._path),
            self.complaint,
        )
        return Sound(AudioState.FAILED, 0.0)

    def _mix(self, *, last: bool) -> Iterator[SoundPart]:
        heard = np.zeros(0, np.float32)
        if self._waiting:
            heard = mono([np.concatenate(blocks) for blocks in zip(*self._waiting, strict=True)])
            self._waiting, self._num_waiting = [], 0
        if self._resampler is not None:
            heard = self._resampler.resample_chunk(heard, last=last)
        # A peak that is no number stays one.
        self._peak = float(np.maximum(self._peak, np.abs(heard).max(initial=0.0)))
        self._num_heard += len(heard)
        if len(heard) and np.isfinite(self._peak):
            yield SoundPart(heard)


def mono(channels: Channels) -> NDArray[np.float32]:
    """The mean of all channels; FFmpeg's own downmix to float is 3 dB louder than that."""
    return np.stack([_full_scale(samples) for samples in channels]).mean(axis=0, dtype=np.float32)


def _resampler(rate: int) -> soxr.ResampleStream:
    return soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")


def _are_alike(channels: Channels, others: Channels) -> bool:
    return len(channels) == len(others) and channels[0].dtype == others[0].dtype


def _full_scale(samples: NDArray[np.generic]) -> NDArray[np.float32]:
    """Whole numbers as float32 in [-1, 1), the way FFmpeg converts them."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond float32 is no sound, and `verdict` says so
            return samples.astype(np.float32, copy=False)
    half = np.float32(2.0 ** (8 * samples.itemsize - 1))
    offset = half if samples.dtype.kind == "u" else np.float32(0)
    return (samples.astype(np.float32) - offset) / half
