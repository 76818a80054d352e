"""One picture of a video, small, as the page shows it."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import av
from PIL import Image

from vidret.data.errors import DecodeError
from vidret.data.printable import printable
from vidret.extract.decoding.beginnings import (
    NothingThereError,
    begin_at,
    first_second,
    open_video,
    pictures_of,
)
from vidret.extract.decoding.files import check_file, unreadable

MOST_SECONDS = 8.0  # that one picture may take
PAST_END = 1.0  # seconds behind the last picture that are still taken for the end
QUALITY = 80  # of the JPEG


def draw_still(path: Path, second: float, *, width: int) -> bytes:
    """A JPEG of what is shown at a second; just past the end it is the last picture.

    Raises:
        NothingThereError: the video ends before.
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
    begin = begin_at(path, second)
    found = _frame_from(path, second, begin)
    if found is None and begin is not None:  # the seek led past the last key frame that decodes
        found = _frame_from(path, second, None)
    if found is None:
        raise unreadable(path, "it gave no picture")
    return found


def _frame_from(path: Path, second: float, begin: float | None) -> av.VideoFrame | None:
    """The picture of a second, decoded from where `begin` leads, or from the beginning."""
    with open_video(path) as container:
        stream = pictures_of(path, container)
        first, found = first_second(stream), None
        wanted = first + max(second, 0.0)
        if begin is not None:
            container.seek(round((first + begin) * av.time_base), backward=True)
        for frame in _in_time(path, container.decode(stream)):
            if found is not None and frame.time is not None and frame.time > wanted + 1e-3:
                return found
            found = frame
        if found is not None:
            _check_end(path, second, _end_of(container, stream, found) - first)
        return found


def _check_end(path: Path, second: float, end: float) -> None:
    """The last picture was reached; it is only shown to whoever asks for the end."""
    if second > end + PAST_END:
        raise NothingThereError(
            f"{printable(path)} shows nothing at {second:g} s, as it ends at {end:.1f} s: "
            "ask for a second before that"
        )


def _end_of(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    last: av.VideoFrame,
) -> float:
    """When the last picture goes; a file of one picture shows it for as long as it says."""
    begins = float(container.start_time or 0) / av.time_base
    told = begins + float(container.duration or 0) / av.time_base
    return max(told, last.time or 0.0, first_second(stream))


def _in_time(path: Path, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """The frames, as long as they do not take too long."""
    ends = time.monotonic() + MOST_SECONDS
    for frame in frames:
        yield frame
        if time.monotonic() > ends:
            raise unreadable(path, f"no picture after {MOST_SECONDS:g} s")


def _upright(frame: av.VideoFrame) -> Image.Image:
    image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]  # PyAV leaves it untyped
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


__all__ = ["DecodeError", "draw_still"]
