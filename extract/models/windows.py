"""A sound in windows of ten seconds, cut while it is still coming in."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from vidret.extract.panns import SHORTEST, WINDOW


class WindowCutter:
    """Gives out each window as soon as it is sure of it, so that a long sound needs no memory.

    The windows are those of `cut_windows` on the whole sound. A window is sure once so much lies
    behind it that the rest cannot be too short to stand alone.
    """

    def __init__(self) -> None:
        self._parts: deque[NDArray[np.float32]] = deque()
        self._held = 0

    def feed(self, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Take the next samples, and give out what windows they complete."""
        self._parts.append(samples)
        self._held += len(samples)
        windows = []
        while self._held >= WINDOW + SHORTEST:
            windows.append(self._take(WINDOW))
        return windows

    def finish(self) -> list[NDArray[np.float32]]:
        """Give out the last window; a short sound is padded, and nothing stays behind."""
        last = self._take(self._held)
        if len(last) < SHORTEST:
            last = np.pad(last, (0, SHORTEST - len(last)))
        return [last]

    def _take(self, count: int) -> NDArray[np.float32]:
        window = np.empty(count, dtype=np.float32)
        filled = 0
        while filled < count:
            part = self._parts.popleft()
            fits = min(len(part), count - filled)
            window[filled : filled + fits] = part[:fits]
            filled += fits
            if fits < len(part):
                self._parts.appendleft(part[fits:])
        self._held -= count
        return window
