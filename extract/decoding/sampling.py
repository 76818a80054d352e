"""Which frames stand for a video, and when they are shown."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vidret.data.errors import ConfigError

ASSUMED_RATE = Fraction(25)  # what FFmpeg assumes of a raw stream that names no frame rate
NO_PTS = -(2**63)  # FFmpeg's own mark for a missing time stamp
UNIFORM = "uniform"
BY_RATE = "fps:"
HIGHEST_RATE = 60.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a video are taken.

    Args:
        frames: how many stand for a video.
        rate: frames to take of each second, whatever their number; None takes `frames`, evenly.

    Raises:
        ConfigError: there is no such number of frames, or no such rate.
    """

    frames: int
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ConfigError(f"frames is {self.frames}: ask for 1 or more frames of each video")
        if self.rate is not None and not 0 < self.rate <= HIGHEST_RATE:
            raise ConfigError(
                f"sampling takes {self.rate:g} frames a second: choose a number above 0 and up to"
                f" {HIGHEST_RATE:g}"
            )

    @property
    def policy(self) -> str:
        """The way as one would type it: `uniform`, or `fps:` and the rate at its shortest."""
        return UNIFORM if self.rate is None else f"{BY_RATE}{repr(self.rate).removesuffix('.0')}"

    def indices(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Positions of the frames to take among all frames of a video, rising.

        With a rate, a frame is taken if it is on screen at second (j + 0.5) / rate for any
        j = 0, 1, 2 ..., in other words in the middle of the j-th step. So a frame that stays for
        several steps is taken once. The last frame stays for as long as `shown_seconds` says. A
        video that ends before the middle of its first step gives its middle frame.

        Args:
            times: seconds at which each frame appears, rising from 0.
        """
        if self.rate is None:
            return uniform_indices(len(times), self.frames)
        ends = np.append(times, shown_seconds(times))
        shown = np.flatnonzero(np.diff(_moments_before(ends, self.rate)))
        return shown if len(shown) else uniform_indices(len(times), 1)


def parse_sampling(policy: str, frames: int) -> Sampling:
    """The sampling that a `policy` names: `uniform`, or `fps:NUMBER`.

    Raises:
        ConfigError: it names none.
    """
    if policy == UNIFORM:
        return Sampling(frames)
    try:
        rate = float(policy.removeprefix(BY_RATE)) if policy.startswith(BY_RATE) else 0.0
    except ValueError:
        rate = 0.0
    if not 0 < rate <= HIGHEST_RATE:
        raise ConfigError(
            f"sampling is {policy!r}: choose {UNIFORM}, or {BY_RATE}NUMBER with a number above 0"
            f" and up to {HIGHEST_RATE:g}, for example {BY_RATE}1"
        )
    return Sampling(frames, rate)


def centres(count: int, frames: int) -> NDArray[np.int64]:
    """Which of `count` frames at a fixed rate stand for the video: those of even sampling."""
    return uniform_indices(count, frames)


def uniform_indices(num_frames: int, wanted: int) -> NDArray[np.int64]:
    """The middle of each of `wanted` equal parts, or of fewer in a shorter video (X-Pool)."""
    # In floats, as published: 30 of 130 frames put one bound a frame earlier than whole numbers do.
    bounds = np.linspace(0, num_frames, min(num_frames, wanted) + 1).astype(np.int64)
    return (bounds[:-1] + bounds[1:] - 1) // 2


def frame_times(
    pts: NDArray[np.int64], time_base: Fraction, rate: Fraction | None
) -> NDArray[np.float64]:
    """Seconds of every frame after the first one.

    Args:
        pts: the presentation time stamp of every frame of the file, in the order of showing;
            `NO_PTS` where there is none.
        time_base: seconds of one tick of `pts`.
        rate: frames a second, which stand in where the stamps are missing or run backwards.
    """
    if (pts == NO_PTS).any() or (np.diff(pts) <= 0).any():
        pts, time_base = np.arange(len(pts)), 1 / (rate or ASSUMED_RATE)
    return (pts - pts[:1]) * float(time_base.numerator) / time_base.denominator


def shown_seconds(times: NDArray[np.float64]) -> float:
    """How long the frames are shown, the last one as long as the others are on average."""
    if len(times) < 2:
        return 0.0
    return float(times[-1] * len(times) / (len(times) - 1))


def _moments_before(seconds: NDArray[np.float64], rate: float) -> NDArray[np.int64]:
    """How many of the moments (j + 0.5) / rate lie before each of `seconds`."""
    count = np.maximum(np.ceil(seconds * rate - 0.5), 0)
    # The product is rounded: a moment that falls on a frame's first instant belongs to that frame.
    count -= (count > 0) & ((count - 0.5) / rate >= seconds)
    count += (count + 0.5) / rate < seconds
    return count.astype(np.int64)
