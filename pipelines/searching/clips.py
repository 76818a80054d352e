"""Moments cut out of their videos, as files that play anywhere."""

import re
from dataclasses import dataclass
from pathlib import Path

from vidret.data.errors import MissingError
from vidret.data.printable import printable
from vidret.data.storage.publish import publish
from vidret.extract.playable import write_playable

INSTEAD = "choose another folder with --export-clips"
LONGEST_NAME = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A stretch of a video, in seconds."""

    source: Path
    start: float
    end: float


def export_clip(clip: Clip, folder: Path, *, rank: int) -> Path:
    """Write a stretch as MP4, whole or not at all; its name tells rank, video and time.

    Raises:
        MissingError: the video is gone, or the folder cannot be written to.
        DecodeError: the video cannot be read.
    """
    if not clip.source.is_file():
        raise MissingError(f"{printable(clip.source)} is not there any more")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingError(
            f"cannot write to {printable(folder)}: {error.strerror or error}; {INSTEAD}"
        ) from error
    path = folder / name_of(clip, rank=rank)
    with publish(path, INSTEAD) as part:
        write_playable(clip.source, part, start=clip.start, end=clip.end)
    return path


def name_of(clip: Clip, *, rank: int) -> str:
    """`01 IMG_0412 0m41.0s.mp4`: sorts by rank, and no sign in it means anything to a shell."""
    plain = re.sub(r"[^\w.-]+", "_", clip.source.stem, flags=re.UNICODE).strip("._")
    minutes, seconds = divmod(clip.start, 60)
    return f"{rank:02d}-{plain[:LONGEST_NAME] or 'clip'}-{int(minutes)}m{seconds:04.1f}s.mp4"
