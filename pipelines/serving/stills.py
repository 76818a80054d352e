"""Pictures of moments, drawn when they are first asked for and kept in memory for a while."""

import threading
from collections import OrderedDict
from pathlib import Path

from vidret.extract.stills import draw_still

WIDTHS = (96, 320, 640)
MOST_BYTES = 64 << 20


class Stills:
    """Draws pictures, and remembers those that were asked for last."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[tuple[str, int, int, int, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    def draw(self, path: Path, second: float, width: int) -> bytes:
        """A JPEG of what a file shows at a second, as wide as the next of `WIDTHS`.

        Raises:
            DecodeError: the file shows nothing there.
            OSError: it is gone.
        """
        width = next((one for one in WIDTHS if one >= width), WIDTHS[-1])
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns, round(second * 1000), width)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        jpeg = draw_still(path, second, width=width)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = jpeg
                self._bytes += len(jpeg)
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return jpeg
