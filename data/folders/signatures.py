"""Whether a file holds a video, told by its first bytes: its name is not asked.

Where the first bytes leave open whether there are pictures or only sound, the container's own list
of streams tells. A file that begins as a video and is damaged further on counts as one, so that it
is reported later and never left out in silence.
"""

import os
import stat
from codecs import getincrementaldecoder
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, NamedTuple

HEAD = 4096  # bytes that are read of any file
MOST_PARTS = 500  # looked at in any level of a container: a made-up file keeps nobody waiting

# Brands of files that are built like MP4 and hold sound or pictures alone.
SOUND_BRANDS = frozenset((b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B ", b"aax ", b"aaxc"))
IMAGE_BRANDS = frozenset(
    (
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis",
        b"crx ",
    )
)  # fmt: skip
QUICKTIME_FIRST = frozenset((b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"))  # no brand yet

EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
TRACKS, TRACK_ENTRY, TRACK_TYPE = 0x1654AE6B, 0xAE, 0x83

ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_STREAM = bytes.fromhex("9107dcb7b7a9cf118ee600c00c205365")
ASF_VIDEO = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")

OGG_VIDEO = (b"\x80theora", b"BBCD\0", b"OVP80", b"\x01video\0")

WTV = bytes.fromhex("b7d800203749da11a64e0007e95ead8d")
MXF = bytes.fromhex("060e2b34020501010d010201")  # the key of a partition; a run-in may stand before
PLAIN = (WTV, b"DKIF\0\0", b"nut/multimedia container\0")


class _Part(NamedTuple):
    """One box, element or object of a container: what it is, and where its content lies."""

    kind: bytes | int
    start: int
    end: int


def holds_video(path: str | os.PathLike[str]) -> bool:
    """Whether the file is a video by its content; pipes and devices are not, and never waited for.

    Raises:
        OSError: it cannot be opened or read.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    with open(os.open(path, flags), "rb", buffering=0) as file:  # noqa: PTH123  (flags of its own)
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return False
        head = file.read(HEAD) or b""
        return _begins_as_video(head) or any(look(head, file) for look in _LOOKS)


def holds_text(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as text in UTF-8; an empty one does not.

    Raises:
        OSError: it cannot be opened or read.
    """
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (paths of a walk are plain strings)
        return _is_text(file.read(HEAD) or b"")


def _begins_as_video(head: bytes) -> bool:
    """Containers that are videos as soon as their first bytes are there."""
    return (
        (head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"CDXA"))
        or head.startswith(PLAIN)
        or (head[:4] == b"FLV\x01" and head[4:5] != b"\x04")  # 4: sound, and no pictures
        or (head[:4] == b".RMF" and b"video/x-pn-" in head)
        or MXF in head
        or _is_dv(head)
        or _is_mpeg(head)
        or (any(_has_packets(head, size) for size in (188, 192, 204)) and not _is_text(head))
    )


def _is_text(head: bytes) -> bool:
    """Whether these bytes are UTF-8 without the signs that no text has."""
    try:
        text = getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD)
    except UnicodeDecodeError:
        return False
    return bool(text) and all(sign >= " " or sign in "\t\n\f\r" for sign in text)


def _is_dv(head: bytes) -> bool:
    """A header block and, 80 bytes on, a block of subcode."""
    return head[:3] == b"\x1f\x07\0" and head[3:4] in b"\x3f\xbf" and head[80:82] == b"\x3f\x07"


def _is_mpeg(head: bytes) -> bool:
    """A program stream, or a bare stream of MPEG-1 or MPEG-2 pictures."""
    if len(head) < 12 or not head.startswith(b"\0\0\1"):
        return False
    pack = head[3] == 0xBA and (head[4] & 0xC0 == 0x40 or head[4] & 0xF0 == 0x20)
    pictures = head[3] == 0xB3 and head[4:6] != b"\0\0" and head[10] & 0x20 != 0
    return pack or pictures


def _has_packets(head: bytes, size: int) -> bool:
    """A transport stream: packets of one size, each with its sign at the front.

    A recording may begin within a packet, and a text whose lines are all alike looks the same.
    """
    start = head.find(b"\x47", 0, size)
    while start >= 0:
        signs = range(start, len(head) - 3, size)
        if len(signs) >= 3 and all(head[at] == 0x47 and head[at + 3] & 0x30 for at in signs):
            return True
        start = head.find(b"\x47", start + 1, size)
    return False


def _is_mp4(head: bytes, file: BinaryIO) -> bool:
    """MP4, QuickTime and their kin: by their brand, then by the tracks of the movie."""
    branded = head[4:8] == b"ftyp"
    if head[8:12] in SOUND_BRANDS | IMAGE_BRANDS if branded else head[4:8] not in QUICKTIME_FIRST:
        return False
    length = file.seek(0, os.SEEK_END)
    kinds = set()
    for box in _boxes(file, 0, length):
        if box.kind == b"moov":
            return branded if box.end > length else _shows_pictures(file, box)
        kinds.add(box.kind)
    return branded and b"meta" not in kinds  # a picture has its list of items there, and no movie


def _shows_pictures(file: BinaryIO, movie: _Part) -> bool:
    """Whether a track says so; a movie without any may be packed, and counts."""
    handlers = {
        _read(file, handler.start + 8, 4)
        for track in _boxes(file, movie.start, movie.end, b"trak")
        for media in islice(_boxes(file, track.start, track.end, b"mdia"), 1)
        for handler in islice(_boxes(file, media.start, media.end, b"hdlr"), 1)
    }
    return not handlers or b"vide" in handlers


def _boxes(file: BinaryIO, start: int, end: int, kind: bytes | None = None) -> Iterator[_Part]:
    """The boxes of one level, or those of one kind."""
    for _ in range(MOST_PARTS):
        header = _read(file, start, 16)
        if start + 8 > end or len(header) < 8:
            return
        size, content = int.from_bytes(header[:4], "big"), 8
        if size == 1:
            size, content = int.from_bytes(header[8:], "big"), 16
        elif size == 0:
            size = end - start
        if size < content:
            return
        if kind in (None, header[4:8]):
            yield _Part(header[4:8], start + content, start + size)
        start += size


def _is_matroska(head: bytes, file: BinaryIO) -> bool:
    """Matroska and WebM; files of sound alone have no track of pictures."""
    if head[:4] != EBML.to_bytes(4, "big") or not any(
        n in head[:128] for n in (b"matroska", b"webm")
    ):
        return False
    length = file.seek(0, os.SEEK_END)
    segment = next((e for e in _elements(file, 0, length) if e.kind == SEGMENT), None)
    level = _elements(file, segment.start, length) if segment else iter(())
    tracks = next((e for e in level if e.kind in (TRACKS, CLUSTER)), None)
    if tracks is None or tracks.kind == CLUSTER or tracks.end > length:
        return True  # damaged, or told later
    kinds = {
        _read(file, kind.start, kind.end - kind.start)
        for entry in _elements(file, tracks.start, tracks.end)
        if entry.kind == TRACK_ENTRY
        for kind in _elements(file, entry.start, entry.end)
        if kind.kind == TRACK_TYPE and kind.end - kind.start == 1
    }
    return not kinds or b"\x01" in kinds


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[_Part]:
    """The EBML elements of one level; one that does not know its size lasts to the end."""
    for _ in range(MOST_PARTS):
        header = _read(file, start, 12)
        if start >= end or len(header) < 2:
            return
        name = 9 - header[0].bit_length()
        if name > 4 or len(header) <= name or not header[name]:
            return
        width = 9 - header[name].bit_length()
        unknown = (1 << 7 * width) - 1
        size = int.from_bytes(header[name : name + width], "big") & unknown
        content = start + name + width
        after = end if size == unknown else content + size
        yield _Part(int.from_bytes(header[:name], "big"), content, after)
        start = after


def _is_asf(head: bytes, file: BinaryIO) -> bool:
    """Windows Media: a file of sound alone has no stream of pictures in its header."""
    if head[:16] != ASF_HEADER:
        return False
    start, end = 30, int.from_bytes(head[16:24], "little")
    for _ in range(MOST_PARTS):
        if start >= end:
            return False
        found = _read(file, start, 40)
        size = int.from_bytes(found[16:24], "little")
        if size < 24 or (found[:16] == ASF_STREAM and found[24:] == ASF_VIDEO):
            return True  # of size 0: cut short or damaged
        start += size
    return False


def _is_ogg(head: bytes, file: BinaryIO) -> bool:
    """The first page of every stream comes before all others, and names its codec."""
    if head[:4] != b"OggS":
        return False
    start = 0
    for _ in range(MOST_PARTS):
        page = _read(file, start, HEAD)
        if page[:4] != b"OggS" or len(page) < 28 or not page[5] & 2:
            return False
        content = 27 + page[26]
        if page[content:].startswith(OGG_VIDEO):
            return True
        start += content + sum(page[27:content])
    return False


_LOOKS = (_is_mp4, _is_matroska, _is_asf, _is_ogg)


def _read(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size) or b""
