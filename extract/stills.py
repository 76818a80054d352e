"""One picture of a video, small, as the page shows it."""

import io
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
from PIL import Image

from vidret.data.errors import DecodeError
from vidret.extract.decoding.files import (
    FORMATS,
    MAX_PIXELS,
    PROTOCOLS,
    address,
    check_file,
    too_large,
    unreadable,
    without_video,
)

MOST_FRAMES = 1_500  # decoded from a key frame on until the second that is asked for
MOST_SECONDS = 8.0  # that one picture may take
QUALITY = 80  # of the JPEG


def draw_still(path: Path, second: float, *, width: int) -> bytes:
    """A JPEG of what is shown at a second; past the end it is the last picture.

    Raises:
        DecodeError: the file gives no picture there, or not in time.
    """
    check_file(path)
    try:
        image = _upright(_frame_at(path, second))
    except (av.FFmpegError, ValueError) as error:
        raise unreadable(path, getattr(error, "strerror", None) or str(error)) from error
    image.thumbnail((width, 2 * width), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _frame_at(path: Path, second: float) -> av.VideoFrame:
    with av.open(
        address(path),
        options={"format_whitelist": FORMATS, "protocol_whitelist": PROTOCOLS},
        metadata_errors="replace",
    ) as container:
        if not container.streams.video:
            raise without_video(path)
        stream = container.streams.video[0]
        if stream.width * stream.height > MAX_PIXELS:
            raise too_large(path, stream.width, stream.height)
        first = float((stream.start_time or 0) * (stream.time_base or 0))
        wanted, found = first + max(second, 0.0), None
        container.seek(round(wanted * av.time_base), backward=True)
        for frame in _in_time(path, container.decode(stream)):
            if found is not None and frame.time is not None and frame.time > wanted + 1e-3:
                break
            found = frame
        if found is None:  # the seek led past the last key frame that decodes
            container.seek(0)
            found = next(_in_time(path, container.decode(stream)), None)
        if found is None:
            raise unreadable(path, "it gave no picture")
        return found


def _in_time(path: Path, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The frames, as long as they do not take too long."""
    ends = time.monotonic() + MOST_SECONDS
    for frame in islice(frames, MOST_FRAMES):
        yield frame
        if time.monotonic() > ends:
            raise unreadable(path, f"no picture after {MOST_SECONDS:g} s")


def _upright(frame: av.VideoFrame) -> Image.Image:
    image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]  # PyAV leaves it untyped
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


__all__ = ["DecodeError", "draw_still"]
