"""Where decoding has to begin so that a second of a file is seen.

A seek is meant to lead to the key frame before a second. In containers without an index, such as
MPEG-TS and MPEG-PS, it leads close to the second, and then the next key frame may lie far behind.
"""

from pathlib import Path

import av

from vidret.data.errors import DecodeError
from vidret.extract.decoding.files import (
    FORMATS,
    MAX_PIXELS,
    PROTOCOLS,
    address,
    too_large,
    without_video,
)

FIRST_STEP = 2.0  # seconds before the one that is wanted; then twice as many each time


class NothingThereError(DecodeError):
    """A stretch or a moment of a video that is readable, where it shows nothing."""


def open_video(path: Path) -> av.container.InputContainer:
    """A file as FFmpeg reads it, with the formats and protocols that are let near a decoder."""
    return av.open(
        address(path),
        options={"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS},
        metadata_errors="replace",
    )


def pictures_of(path: Path, container: av.container.InputContainer) -> av.video.stream.VideoStream:
    """The pictures of a file.

    Raises:
        DecodeError: it has none, or they are too large.
    """
    if not container.streams.video:
        raise without_video(path)
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        raise too_large(path, stream.width, stream.height)
    return stream


def begin_at(path: Path, second: float) -> float | None:
    """A second to seek to, from where the first key frame is no later than the one wanted.

    None where no seek leads there: then the file is to be read from its beginning.
    """
    with open_video(path) as container:
        stream = pictures_of(path, container)
        first = first_second(stream)
        begin, step = second, FIRST_STEP
        while begin > 0:
            container.seek(round((first + begin) * av.time_base), backward=True)
            if _next_key(container, stream, first + second):
                return begin
            begin, step = second - step, 2 * step
    return None


def first_second(stream: av.video.stream.VideoStream) -> float:
    """When the clock of a stream begins."""
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _next_key(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, wanted: float
) -> bool:
    """Whether a key frame comes before what is wanted."""
    for packet in container.demux(stream):
        stamp = packet.dts if packet.pts is None else packet.pts  # AVI has the one alone
        if stamp is None:
            continue
        late = float(stamp * (stream.time_base or 0)) > wanted + 1e-3
        if packet.is_keyframe or late:
            return not late
    return False


__all__ = [
    "DecodeError",
    "NothingThereError",
    "begin_at",
    "first_second",
    "open_video",
    "pictures_of",
]
