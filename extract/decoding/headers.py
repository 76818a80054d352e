"""What the headers of a file say and FFmpeg does not pass on: encryption, and a missing end."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

ENCRYPTED = (b"encv", b"enca", b"encs")  # in place of a codec's name, for each kind of track
TO_SAMPLES = (b"mdia", b"minf", b"stbl", b"stsd")  # from a track to what it calls its codec
BOX_HEAD, LONG_BOX_HEAD = 8, 16
SEGMENT = b"\x18\x53\x80\x67"
LONGEST_HEAD = 12  # of a Matroska element: 4 bytes of id, 8 of size

Box = tuple[bytes, int, int]
"""Its kind, and where its content starts and ends."""


def encrypted_tracks(path: Path) -> frozenset[int]:
    """The numbers of the tracks of an MP4 that are encrypted, wholly or from some point on.

    FFmpeg shows the name of the codec within, and decodes noise.
    """
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        movies = (box for box in _boxes(file, 0, end) if box[0] == b"moov")
        tracks = [box for _, *movie in movies for box in _boxes(file, *movie) if box[0] == b"trak"]
        return frozenset(n for n, track in enumerate(tracks) if _is_encrypted(file, track))


def breaks_off(path: Path) -> bool:
    """Whether a Matroska file ends within one of its elements.

    Those of a known size are leapt over, those of an unknown one are gone through.
    """
    with path.open("rb") as file:
        end, place = file.seek(0, os.SEEK_END), 0
        while place < end:
            file.seek(place)
            head = file.read(LONGEST_HEAD)
            lengths = _element(head)
            if lengths is None:
                return True
            length, content = lengths
            place += length + (content or 0)
            if head.startswith(SEGMENT) and content is not None:
                break  # what lies behind it is not of this film
        return place > end


def _is_encrypted(file: BinaryIO, track: Box) -> bool:
    boxes = [track]
    for kind in TO_SAMPLES:
        boxes = [box for _, *parent in boxes for box in _boxes(file, *parent) if box[0] == kind]
    # A version and a number come before the first entry.
    entries = (box for _, start, end in boxes for box in _boxes(file, start + BOX_HEAD, end))
    return any(kind in ENCRYPTED for kind, *_ in entries)


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    """The boxes of an MP4 that lie next to each other between two places."""
    while start + BOX_HEAD <= end:
        file.seek(start)
        head = file.read(LONG_BOX_HEAD)
        size, kind, length = int.from_bytes(head[:4]), head[4:8], BOX_HEAD
        if size == 1:
            size, length = int.from_bytes(head[8:]), LONG_BOX_HEAD
        elif size == 0:  # up to the end
            size = end - start
        if size < length:
            return
        yield kind, start + length, min(start + size, end)
        start += size


def _element(head: bytes) -> tuple[int, int | None] | None:
    """Length of a Matroska element's head and of its content, None where that is left open.

    None alone stands for what is no head, or not all of one.
    """
    id_length = 9 - head[0].bit_length()
    if not id_length < min(5, len(head)):
        return None
    size_length = 9 - head[id_length].bit_length()
    length = id_length + size_length
    if size_length > 8 or length > len(head):
        return None
    most = (1 << 7 * size_length) - 1
    content = int.from_bytes(head[id_length:length]) & most
    return length, None if content == most else content
