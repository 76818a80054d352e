"""Which files are let near a decoder, and how large a picture may be: the same for all decoders."""

import stat
from pathlib import Path

from vidret.data.errors import DecodeError

# FFmpeg would also follow playlists, concat scripts and addresses that a file named .mp4 may hold.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,"
    "flv,asf,ogg,gif,rm,nut,mxf,dv,wtv,swf,wav,mp3,flac,aac"
)
PROTOCOLS = "file"
MAX_PIXELS = 100_000_000


def check_file(path: Path) -> None:
    """Refuse what is not a regular file with something in it.

    Raises:
        DecodeError: the file is missing, empty, or a folder, pipe or device.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        words = getattr(error, "strerror", None) or str(error)
        raise DecodeError(
            f"{path} cannot be found or reached ({words}): check the dataset's folder and its links"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(
            f"{path} is not a regular file: put a video there, not a folder, pipe or device"
        )
    if status.st_size == 0:
        raise DecodeError(f"{path} is empty: copy or download it again")


def address(path: Path) -> str:
    """The path as FFmpeg takes it: a colon is no protocol then, and a leading dash no option."""
    return f"file:{path}"


def unreadable(path: Path, words: str) -> DecodeError:
    """The error for a file that gave a tool nothing to show."""
    return DecodeError(
        f"{path} cannot be decoded ({words}): try to play it, then copy, download or convert it"
        " again"
    )


def without_video(path: Path) -> DecodeError:
    """The error for a file of sound, or of sound and a cover picture."""
    return DecodeError(f"{path} holds no video stream: leave it out, or put the right file there")


def too_large(path: Path, width: int, height: int) -> DecodeError:
    """The error for pictures that would take too much memory."""
    return DecodeError(
        f"{path} shows {width} x {height} pixels, more than {MAX_PIXELS:,}: convert it to a"
        " smaller size"
    )
