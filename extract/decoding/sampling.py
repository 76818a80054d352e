"""Which frames stand for a video, and when they are shown."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

ASSUMED_RATE = Fraction(25)  # what FFmpeg assumes of a raw stream that names no frame rate


def uniform_indices(num_frames: int, wanted: int) -> NDArray[np.int64]:
    """The middle of each of `wanted` equal parts, or of fewer in a shorter video (X-Pool)."""
    # In floats, as published: 30 of 130 frames put one bound a frame earlier than whole numbers do.
    bounds = np.linspace(0, num_frames, min(num_frames, wanted) + 1).astype(np.int64)
    return (bounds[:-1] + bounds[1:] - 1) // 2


def frame_times(
    pts: Sequence[int | None], time_base: Fraction, rate: Fraction | None
) -> NDArray[np.float64]:
    """Seconds of every frame after the first one.

    Args:
        pts: the presentation time stamp of every frame of the file, in the order of showing.
        time_base: seconds of one tick of `pts`.
        rate: frames a second, which stand in where the stamps are missing or run backwards.
    """
    stamps = [stamp for stamp in pts if stamp is not None]
    ticks = np.array(stamps, dtype=np.int64)
    if len(stamps) < len(pts) or (np.diff(ticks) <= 0).any():
        ticks, time_base = np.arange(len(pts)), 1 / (rate or ASSUMED_RATE)
    return (ticks - ticks[:1]) * time_base.numerator / time_base.denominator


def shown_seconds(times: NDArray[np.float64]) -> float:
    """How long the frames are shown, the last one as long as the others are on average."""
    if len(times) < 2:
        return 0.0
    return float(times[-1] * len(times) / (len(times) - 1))
