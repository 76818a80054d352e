"""Where in a video a sentence is answered."""

import numpy as np
from numpy.typing import NDArray


def span_of_moment(
    weights: NDArray[np.float64], times: NDArray[np.float64], duration: float
) -> tuple[float, float, float]:
    """Start, end and peak of the stretch about the heaviest frame, down to half its height.

    Height counts from the lightest frame; a frame reaches half-way to its neighbours, the first
    one back to the beginning, the last one to the end.
    """
    peak = int(weights.argmax())
    low, high = float(weights.min()), float(weights.max())
    tall = weights >= (low + high) / 2
    first = last = peak
    while first > 0 and tall[first - 1]:
        first -= 1
    while last + 1 < len(weights) and tall[last + 1]:
        last += 1
    edges = [0.0, *((times[:-1] + times[1:]) / 2), max(duration, float(times[-1]))]
    return float(edges[first]), float(edges[last + 1]), float(times[peak])
