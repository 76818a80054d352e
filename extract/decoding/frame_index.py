"""What the packets of a video say about its frames, before any of them is decoded."""

from collections.abc import Sequence
from dataclasses import dataclass

# One packet is one frame in these. VP8 has hidden frames, MPEG-4 has empty ones.
INDEXED_CODECS = frozenset({"h264", "hevc", "vp9", "av1", "libdav1d"})
UNINDEXED_FORMATS = frozenset({"avi", "h264", "hevc"})  # the demuxer has to guess time stamps
SEEKABLE_FORMATS = ("mov", "matroska")  # elsewhere a seek may land behind the key packet


class BrokenIndexError(Exception):
    """The packets promised something that the decoder did not keep."""


@dataclass(frozen=True, slots=True)
class VideoPacket:
    """What the demuxer says of one packet; packets come in the order of decoding."""

    pts: int | None
    key: bool
    discard: bool = False
    corrupt: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Frames, by pts, that are decoded in one go from the key packet at `start`."""

    start: int
    wanted: list[int]


def is_trusted(packets: Sequence[VideoPacket], codec: str, container: str) -> bool:
    """Whether every packet that is not to be discarded is a frame, with a pts of its own."""
    if codec not in INDEXED_CODECS or container in UNINDEXED_FORMATS:
        return False
    if not packets or all(packet.discard for packet in packets):
        return False
    if any(packet.corrupt or packet.pts is None for packet in packets):
        return False
    stamps = _stamps(packets)
    # A file that was cut within a group of pictures has packets that show nothing.
    return packets[0].key and stamps[0] == min(stamps) and len(set(stamps)) == len(stamps)


def count_shown(packets: Sequence[VideoPacket]) -> int:
    """How many frames there are if each packet is one."""
    return sum(not packet.discard for packet in packets)


def shown_stamps(packets: Sequence[VideoPacket]) -> list[int]:
    """The pts of every frame, in the order of showing."""
    return sorted(_stamps([packet for packet in packets if not packet.discard]))


def plan_runs(packets: Sequence[VideoPacket], wanted: Sequence[int], container: str) -> list[Run]:
    """Start anew only where a key packet lies behind everything that was needed before.

    Args:
        packets: all of them, as `is_trusted` wants them.
        wanted: the pts of the wanted frames, rising.
        container: FFmpeg's name of the file format.
    """
    if not container.startswith(SEEKABLE_FORMATS):
        return [Run(0, list(wanted))]
    positions = {packet.pts: position for position, packet in enumerate(packets)}
    runs: list[Run] = []
    reached = -1
    for pts in wanted:
        start = _key_before(packets, positions[pts], pts)
        if start > reached:
            runs.append(Run(start, []))
        runs[-1].wanted.append(pts)
        reached = max(reached, positions[pts])
    return runs


def _key_before(packets: Sequence[VideoPacket], position: int, pts: int) -> int:
    """The key packet that a frame builds on; one that is shown later belongs to the next group."""
    while not packets[position].key or (packets[position].pts or 0) > pts:
        position -= 1
        if position < 0:
            raise BrokenIndexError(f"no key packet before pts {pts}")
    return position


def _stamps(packets: Sequence[VideoPacket]) -> list[int]:
    return [packet.pts for packet in packets if packet.pts is not None]
