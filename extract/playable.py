"""What a browser plays, and the same video again in a form that every browser plays."""

import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import av

from vidret.data.errors import DecodeError
from vidret.data.printable import printable
from vidret.extract.decode import ffmpeg_binary
from vidret.extract.decoding.beginnings import NothingThereError, begin_at, open_video
from vidret.extract.decoding.files import FORMATS, PROTOCOLS, address, check_file, unreadable

PICTURES = {"h264", "vp8", "vp9", "av1"}
SOUNDS = {"aac", "mp3", "opus", "vorbis", "flac"}
COLOURS = {"yuv420p", "yuvj420p"}  # what decoders in browsers take, whatever their system
QUICKTIME = "qt"  # the brand of a .mov, which only some browsers take
PRESET, QUALITY, SOUND_RATE = "veryfast", "24", "128k"
MOST_WORDS = 1 << 16  # bytes of complaints that are read
TIME = re.compile(rb"^out_time_us=(\d+)$", re.MULTILINE)
PICTURE = re.compile(rb"^frame=\s*([1-9]\d*)$", re.MULTILINE)


def browsers_play(path: Path) -> bool:
    """Whether every common browser shows the pictures of a file and plays its sound.

    Raises:
        DecodeError: the file cannot be opened.
    """
    check_file(path)
    try:
        with open_video(path) as container:
            return _is_web_container(container) and _has_web_streams(container)
    except (av.FFmpegError, ValueError) as error:
        raise unreadable(path, getattr(error, "strerror", None) or str(error)) from error


def write_playable(
    source: Path,
    out: Path,
    *,
    start: float = 0.0,
    end: float | None = None,
    most_height: int | None = None,
    timeout: float = 600.0,
    on_second: Callable[[float], None] = lambda _: None,
) -> None:
    """Write H.264 and AAC in MP4 that starts to play before all of it has come.

    Args:
        source: any video that FFmpeg reads.
        out: the file to write, whole or not at all being the caller's affair; replaced if there.
        start: second of the source to begin with.
        end: second to stop at; None goes to the end.
        most_height: pixels that the picture may be high; None keeps its size.
        timeout: seconds after which it is stopped.
        on_second: told how many seconds are written.

    Raises:
        NothingThereError: the source shows nothing in that stretch.
        DecodeError: nothing came, or not in time.
    """
    check_file(source)
    command = _command(source, out, start, end, most_height)
    shows = False
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        ) as process,
    ):
        late = threading.Event()
        deadline = threading.Timer(timeout, _stop, [process, late])
        deadline.daemon = True
        deadline.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                shows = shows or PICTURE.match(line) is not None
                if found := TIME.match(line):
                    on_second(int(found[1]) / 1e6)
            code = process.wait()
        finally:
            deadline.cancel()
            _stop(process, threading.Event())
        if late.is_set():
            raise unreadable(source, f"not converted after {timeout:g} s, so it was stopped")
        if code != 0 or not out.exists() or out.stat().st_size == 0:
            said.seek(0)
            raise unreadable(source, _reason(said.read(MOST_WORDS)))
        if not shows:
            raise _nothing(source, start, end)


def _command(
    source: Path, out: Path, start: float, end: float | None, most_height: int | None
) -> list[str]:
    height = "ih" if most_height is None else f"min(ih,{most_height})"
    size = f"scale=w='max(2,trunc(iw*({height})/ih/2)*2)':h='max(2,trunc(({height})/2)*2)'"
    return [
        *(str(ffmpeg_binary()), "-hide_banner", "-nostdin", "-nostats", "-loglevel", "error"),
        *("-y", "-format_whitelist", FORMATS, "-protocol_whitelist", PROTOCOLS),
        *_stretch(source, start, end),
        *("-map", "0:V:0", "-map", "0:a:0?", "-sn", "-dn"),
        *("-map_metadata", "-1", "-map_chapters", "-1", "-vf", f"{size},format=yuv420p"),
        *("-c:v", "libx264", "-preset", PRESET, "-crf", QUALITY),
        *("-c:a", "aac", "-b:a", SOUND_RATE, "-ac", "2"),
        *("-movflags", "+faststart", "-progress", "pipe:1", "-f", "mp4", address(out)),
    ]


def _stretch(source: Path, start: float, end: float | None) -> tuple[str, ...]:
    """The file from one second to another, decoded from a key frame that lies before.

    FFmpeg seeks by itself to what stands in front of a file, and drops what comes before what
    stands behind it.
    """
    length = () if end is None else ("-t", f"{max(end - start, 0.04):.3f}")
    try:
        begin = begin_at(source, start)
    except (av.FFmpegError, ValueError) as error:
        raise unreadable(source, getattr(error, "strerror", None) or str(error)) from error
    file = ("-i", address(source))
    if begin is None:
        return (*file, *_from(start), *length)
    return (*_from(begin), *file, *_from(start - begin), *length)


def _from(second: float) -> tuple[str, ...]:
    return ("-ss", f"{second:.3f}") if second > 0 else ()


def _is_web_container(container: av.container.InputContainer) -> bool:
    names = set(container.format.name.split(","))
    if "mp4" in names:
        return not container.metadata.get("major_brand", "").startswith(QUICKTIME)
    if "webm" not in names:
        return False
    with open(container.name.removeprefix("file:"), "rb") as file:  # noqa: PTH123 - a name, not a path
        return b"webm" in file.read(64)  # Matroska says there which of the two it is


def _has_web_streams(container: av.container.InputContainer) -> bool:
    pictures, sounds = container.streams.video, container.streams.audio
    return (
        bool(pictures)
        and pictures[0].codec_context.name in PICTURES | {"libvpx", "libvpx-vp9", "libdav1d"}
        and pictures[0].codec_context.pix_fmt in COLOURS
        and (not sounds or sounds[0].codec_context.name.removesuffix("float") in SOUNDS)
    )


def _nothing(source: Path, start: float, end: float | None) -> NothingThereError:
    stretch = f"from {start:g} s on" if end is None else f"from {start:g} to {end:g} s"
    return NothingThereError(
        f"{printable(source)} shows nothing new {stretch}: "
        "choose a longer stretch, or one before its end"
    )


def _stop(process: "subprocess.Popen[bytes]", late: threading.Event) -> None:
    if process.poll() is None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)


def _reason(said: bytes) -> str:
    """The first of its complaints; the others follow from it."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[0] if lines else "it gave no pictures"


__all__ = ["DecodeError", "browsers_play", "write_playable"]
