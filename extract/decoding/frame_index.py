"""What the packets of a video say about its frames, before any of them is decoded."""

from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vidret.extract.decoding.sampling import NO_PTS

# One packet is one frame in these. VP8 has hidden frames, MPEG-4 has empty ones.
INDEXED_CODECS = frozenset({"h264", "hevc", "vp9", "av1"})
UNINDEXED_FORMATS = frozenset({"avi", "h264", "hevc"})  # the demuxer has to guess time stamps
SEEKABLE_FORMATS = ("mov", "matroska")  # elsewhere a seek may land behind the key packet

KEY, DISCARD, CORRUPT = 1, 2, 4


class BrokenIndexError(Exception):
    """The packets promised something that the decoder did not keep."""


@dataclass(frozen=True, slots=True)
class PacketNotes:
    """What the demuxer says of each packet, in 9 bytes: an hour at 60 a second is 2 MB."""

    pts: "array[int]" = field(default_factory=lambda: array("q"))
    flags: bytearray = field(default_factory=bytearray)

    def add(self, pts: int | None, flags: int) -> None:
        """Note the next packet, in the order of decoding."""
        self.pts.append(NO_PTS if pts is None else pts)
        self.flags.append(flags)

    def index(self) -> "PacketIndex":
        """All that was noted so far."""
        return PacketIndex(np.array(self.pts, np.int64), np.array(self.flags, np.uint8))


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """All packets of a video in the order of decoding: their pts, `NO_PTS` for none, and flags."""

    pts: NDArray[np.int64]
    flags: NDArray[np.uint8]

    def shown_pts(self) -> NDArray[np.int64]:
        """The pts of every frame in the order of showing, if each packet is a frame."""
        return np.sort(self.pts[self.flags & DISCARD == 0])


@dataclass(frozen=True, slots=True)
class Run:
    """Frames that are decoded in one go.

    Args:
        start: pts of the key packet to begin at.
        wanted: pts of the frames, rising.
        last: pts of the last packet to decode: the last that they need, or that of the file.
    """

    start: int
    wanted: tuple[int, ...]
    last: int


def is_trusted(packets: PacketIndex, codec: str, container: str) -> bool:
    """Whether every packet that is not to be discarded is a frame, with a pts of its own."""
    if codec not in INDEXED_CODECS or container in UNINDEXED_FORMATS:
        return False
    pts, flags = packets.pts, packets.flags
    if (flags & DISCARD != 0).all() or (flags & CORRUPT).any() or (pts == NO_PTS).any():
        return False
    keys = pts[flags & KEY != 0]
    # A file that was cut within a group of pictures has packets that show nothing.
    starts_whole = bool(flags[0] & KEY) and pts[0] == pts.min()
    return bool(starts_whole and (np.diff(keys) > 0).all() and len(np.unique(pts)) == len(pts))


def plan_runs(packets: PacketIndex, wanted: NDArray[np.int64], container: str) -> list[Run]:
    """Start anew only where a key packet lies behind everything that was needed before.

    Where no seek is to be trusted, one run goes through the whole file: little of it lies behind
    the last wanted frame, and only there is it seen that a stream breaks off.

    Args:
        packets: all of them, as `is_trusted` wants them.
        wanted: the pts of the wanted frames, rising.
        container: FFmpeg's name of the file format.
    """
    order = np.argsort(packets.pts)
    positions = order[np.searchsorted(packets.pts, wanted, sorter=order)]
    starts = _starts(packets, positions, wanted)
    if not container.startswith(SEEKABLE_FORMATS):
        first, last = packets.pts[[0, -1]].tolist()
        return [Run(start=first, wanted=tuple(wanted.tolist()), last=last)]
    reached = np.maximum.accumulate(positions)
    fresh = np.flatnonzero(starts[1:] > reached[:-1]) + 1
    return [
        Run(
            start=int(packets.pts[starts[part[0]]]),
            wanted=tuple(wanted[part].tolist()),
            last=int(packets.pts[positions[part].max()]),
        )
        for part in np.split(np.arange(len(wanted)), fresh)
    ]


def _starts(
    packets: PacketIndex, positions: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The key packet that each frame builds on; one that is shown later begins the next group."""
    keys = np.flatnonzero(packets.flags & KEY)
    before = np.searchsorted(keys, positions, side="right")
    shown_before = np.searchsorted(packets.pts[keys], wanted, side="right")
    groups = np.minimum(before, shown_before) - 1
    if (groups < 0).any():
        raise BrokenIndexError(f"no key packet before pts {wanted[groups < 0][0]}")
    return keys[groups]
