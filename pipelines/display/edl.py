"""Hits as an edit decision list (CMX 3600), which editing programs turn into a timeline."""

import math
from collections.abc import Sequence

from vidret.data.printable import printable
from vidret.pipelines.search import Hit

BEGINS = 3600  # seconds: the first hour of a timeline is left to what comes before a programme
MUTE = "no-stream"


def hits_as_edl(title: str, hits: Sequence[Hit], rate: float) -> str:
    """One cut for each moment, the best first, each clip's own time counted from its beginning.

    Args:
        title: of the list.
        hits: whose moments are cut.
        rate: frames a second; times are counted without dropping any.
    """
    lines, place = [f"TITLE: {printable(title)}", "FCM: NON-DROP FRAME"], BEGINS * math.ceil(rate)
    for hit in hits:
        first = round(hit.start * rate)
        length = max(round(hit.end * rate) - first, 1)
        track = "V" if hit.sound == MUTE else "B"  # the picture, or both
        spans = (first, first + length, place, place + length)
        codes = " ".join(timecode(frame, rate) for frame in spans)
        lines += [
            "",
            f"{hit.rank:03d}  AX       {track:<5} C        {codes}",
            f"* FROM CLIP NAME: {printable(hit.path.rpartition('/')[2])}",
            f"* SOURCE FILE: {printable(hit.path)}",
        ]
        place += length
    return "\n".join(lines)


def timecode(frame: int, rate: float) -> str:
    """A frame as hours, minutes, seconds and frames: `01:00:00:00`."""
    whole, frames = divmod(frame, math.ceil(rate))
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}:{frames:02}"
