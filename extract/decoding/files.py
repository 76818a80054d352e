"""Which files are let near a decoder, and what is said of the others: the same for all decoders."""

import stat
from pathlib import Path

from vidret.data.errors import DecodeError
from vidret.data.printable import printable

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
        reason = f"cannot be reached ({words}): check its path, and links on the way"
        raise _refusal(path, reason) from error
    if not stat.S_ISREG(status.st_mode):
        raise _refusal(path, "is not a regular file: put a video there, no folder, pipe or device")
    if status.st_size == 0:
        raise _refusal(path, "is empty: copy or download it again")


def address(path: Path) -> str:
    """The path as FFmpeg takes it: a colon is no protocol then, and a leading dash no option."""
    return f"file:{path}"


def unreadable(path: Path, words: str) -> DecodeError:
    """The error for a file of which a tool, in its own words, could show nothing."""
    advice = "see whether it plays elsewhere, then copy, download or convert it again"
    return _refusal(path, f"cannot be decoded ({words}): {advice}")


def without_video(path: Path) -> DecodeError:
    """The error for a file of sound, with or without a cover picture."""
    return _refusal(path, "holds no video stream: leave it out, or put the right file there")


def encrypted(path: Path) -> DecodeError:
    """The error for a file whose pictures only a key would show."""
    reason = "cannot be decoded, since it is encrypted: put a copy without protection there"
    return _refusal(path, reason)


def too_large(path: Path, width: int, height: int) -> DecodeError:
    """The error for pictures that would take too much memory."""
    size = f"{width} x {height} pixels, more than {MAX_PIXELS:,} in all"
    return _refusal(path, f"shows {size}: convert it to a smaller size")


def _refusal(path: Path, reason: str) -> DecodeError:
    return DecodeError(f"{printable(path)} {reason}")
