"""ffmpeg-python: one process lists the frames of a file, one shows the chosen, one plays it."""

import os
import re
import shutil
import signal
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from vidret.data.errors import MissingError
from vidret.data.samples import DecodedVideo
from vidret.extract.decoding.files import (
    FORMATS,
    MAX_PIXELS,
    PROTOCOLS,
    address,
    too_large,
    unreadable,
    without_video,
)
from vidret.extract.decoding.sampling import frame_times, shown_seconds, uniform_indices
from vidret.extract.decoding.sound import NO_STREAM, Sound, SoundBlock, failed_sound, mono, sound_of

SAMPLES_AT_ONCE = 1 << 20
OLDEST = (5, 1)  # the first with -fps_mode, which replaces the -vsync that version 9 dropped
PICTURES = "V:0"  # a capital V: the first video stream that is not a cover picture
INPUT = "file:video"  # stands for the real name, which ffmpeg-python would hash as UTF-8
AU_HEADER = struct.Struct(">4s5I")

START_SECONDS, SECONDS_PER_SECOND = 30.0, 0.2
LONGEST = 6 * 3600.0  # where a file does not say how long it is, or claims more

VERSION = re.compile(r"^ffmpeg version (\S+)")
DURATION = re.compile(r"^\[info\]   Duration: (\d+):(\d+):([\d.]+)", re.MULTILINE)
STREAM = re.compile(r"^\[info\]   Stream #0:\d+.*?: (Video|Audio): (.*)$", re.MULTILINE)
TOO_LARGE = re.compile(r"Picture size (\d+)x(\d+) exceeds")
COMPLAINT = re.compile(r"\[(?:error|fatal|panic)\] (.*)$", re.MULTILINE)
# Not bound to a line's start: the threads of ffmpeg write at the same time, but each part whole.
CLOCK = re.compile(r"config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)")
FRAME = re.compile(r"n: *(\d+) pts: *(-?\d+) +pts_time:.*? s:(\d+)x(\d+) i:")
CLOSING = (  # what it says after the reason
    "Conversion failed",
    "Could not open encoder",
    "Error binding filtergraph",
    "Error opening output",
    "Nothing was written",
    "Task finished",
    "Terminating thread",
)


@dataclass(frozen=True, slots=True)
class _Finished:
    """What a process left behind."""

    code: int
    output: bytes
    log: str

    @property
    def complaints(self) -> list[str]:
        """What it said went wrong, without its closing phrases."""
        return [text for text in COMPLAINT.findall(self.log) if not text.startswith(CLOSING)]

    @property
    def words(self) -> str:
        """The last thing that it said went wrong."""
        return self.complaints[-1].strip().rstrip(".") if self.complaints else "no reason given"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """What the header of a file says."""

    has_audio: bool
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """All frames of a file, in the order of showing."""

    pts: Sequence[int]
    sizes: Sequence[tuple[int, int]]
    time_base: Fraction
    rate: Fraction | None


def decode_with_ffmpeg(path: Path, frames: int) -> DecodedVideo:
    """Decode with the ffmpeg binary, found by `ffmpeg_binary`."""
    probe = _probe(path)
    listing = _list_frames(path, probe.limit)
    times = frame_times(listing.pts, listing.time_base, listing.rate)
    indices = uniform_indices(len(times), frames)
    images, damaged = _show_frames(path, listing, indices, probe.limit)
    sound = _play(path, probe.limit) if probe.has_audio else NO_STREAM
    return DecodedVideo(
        frames=images,
        times=times[indices],
        indices=indices,
        num_frames=len(times),
        duration=max(shown_seconds(times), sound.seconds),
        waveform=sound.waveform,
        audio_state=sound.state,
        partial=damaged,
    )


def ffmpeg_binary() -> Path:
    """The ffmpeg on PATH if it is new enough, else the one that imageio-ffmpeg carries.

    Raises:
        MissingError: neither is there.
    """
    on_path = shutil.which("ffmpeg")
    if on_path is not None and _is_new_enough(_version_of(on_path)):
        return Path(on_path)
    try:
        carried = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise MissingError(
            f"no ffmpeg {OLDEST[0]}.{OLDEST[1]} or newer on PATH, and none from imageio-ffmpeg:"
            " install one of the two, or use the decoder av, which needs neither"
        ) from error
    if not _version_of(carried):
        raise MissingError(
            f"{carried} does not run as ffmpeg: unset IMAGEIO_FFMPEG_EXE, install imageio-ffmpeg"
            " again, or use the decoder av, which needs no ffmpeg"
        )
    return Path(carried)


def ffmpeg_version() -> str:
    """The version of the binary that decodes."""
    return f"ffmpeg {_version_of(str(ffmpeg_binary()))}"


@cache
def _version_of(binary: str) -> str:
    """What a binary says of itself, empty where it is no ffmpeg that runs."""
    try:
        finished = subprocess.run(
            [binary, "-version"], capture_output=True, stdin=subprocess.DEVNULL, check=False
        )
    except OSError:
        return ""
    found = VERSION.match(finished.stdout.decode("utf-8", "replace"))
    return found[1] if found else ""


def _is_new_enough(version: str) -> bool:
    """Whether it is; a build between releases has no number and is taken for new."""
    numbers = re.match(r"n?(\d+)\.(\d+)", version)
    return bool(version) and (numbers is None or (int(numbers[1]), int(numbers[2])) >= OLDEST)


def _probe(path: Path) -> _Probe:
    """Read the header alone: a process that decodes needs to know how long it may take."""
    nothing = _input().output("pipe:", format="null", codec="copy", t=0)
    finished = _run(path, nothing, START_SECONDS, level="info")
    header = finished.log.partition("\n[info] Output #0")[0]
    size = TOO_LARGE.search(header)
    if size is not None:
        raise too_large(path, int(size[1]), int(size[2]))
    streams = STREAM.findall(header)
    if not streams:
        raise unreadable(path, finished.words)
    videos = [text for kind, text in streams if kind == "Video" and "(attached pic)" not in text]
    if not videos:
        raise without_video(path)
    return _Probe(has_audio="Audio" in dict(streams), limit=_limit(header))


def _limit(header: str) -> float:
    """Seconds that a process may take."""
    found = DURATION.search(header)
    if found is None:
        return START_SECONDS + SECONDS_PER_SECOND * LONGEST
    seconds = 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])
    return START_SECONDS + SECONDS_PER_SECOND * min(seconds, LONGEST)


def _list_frames(path: Path, limit: float) -> _Listing:
    """Decode everything once, for the number of frames, their times and their sizes."""
    shown = _input()[PICTURES].filter("showinfo", checksum=0)
    nothing = shown.output("pipe:", format="null", fps_mode="passthrough")
    finished = _run(path, nothing, limit, level="info")
    found = [tuple(map(int, groups)) for groups in FRAME.findall(finished.log)]
    clock = CLOCK.search(finished.log)
    if finished.code < 0 or not found or clock is None:
        raise unreadable(path, finished.words)
    numbers = [number for number, *_ in found]
    steps = zip([-1, *numbers[:-1]], numbers, strict=True)
    if any(number not in (last + 1, 0) for last, number in steps):  # 0: the size has changed
        raise unreadable(path, "ffmpeg's list of its frames has gaps")
    ticks, per_second, frames, seconds = map(int, clock.groups())
    return _Listing(
        pts=[pts for _, pts, _, _ in found],
        sizes=[(height, width) for _, _, width, height in found],
        time_base=Fraction(ticks, per_second),
        rate=Fraction(frames, seconds) if frames and seconds else None,
    )


def _show_frames(
    path: Path, listing: _Listing, indices: NDArray[np.int64], limit: float
) -> tuple[tuple[NDArray[np.uint8], ...], bool]:
    """The chosen frames, and whether anything in the file could not be decoded.

    It goes on behind the last chosen frame: only then are the complaints those of the whole file.
    """
    wanted = {listing.pts[index] for index in indices}
    # A pts that two frames share brings both, and the other one is dropped.
    coming = [index for index, pts in enumerate(listing.pts) if pts in wanted]
    chosen = _input()[PICTURES].filter(
        "select", "+".join(f"eq(pts,{pts})" for pts in sorted(wanted))
    )
    raw = chosen.output(
        "pipe:",
        format="rawvideo",
        pix_fmt="rgb24",
        fps_mode="passthrough",
        noautoscale=None,  # a flag: where the size changes midway, each frame keeps its own
    )
    finished = _run(path, raw, limit, level="error")
    ends = np.cumsum([3 * np.prod(listing.sizes[index]) for index in coming])
    if finished.code < 0 or len(finished.output) != ends[-1]:
        raise unreadable(path, finished.words)
    parts = np.split(np.frombuffer(finished.output, np.uint8), ends[:-1])
    shown = dict(zip(coming, parts, strict=True))
    frames = tuple(shown[index].reshape(*listing.sizes[index], 3) for index in indices)
    return frames, finished.code > 0 or bool(finished.complaints)


def _play(path: Path, limit: float) -> Sound:
    """The first sound stream at its own rate and with all its channels, as a .au file."""
    samples = _input()["a:0"].output("pipe:", format="au", acodec="pcm_f32be")
    finished = _run(path, samples, limit, level="error")
    complaint = finished.words if finished.code or finished.complaints else ""
    if finished.code < 0 or len(finished.output) < AU_HEADER.size:
        return failed_sound(path, finished.words)
    _, start, _, _, rate, channels = AU_HEADER.unpack_from(finished.output)
    count = (len(finished.output) - start) // (4 * channels) * channels
    waves = np.frombuffer(finished.output, ">f4", count, start).reshape(-1, channels)
    blocks = [
        SoundBlock(rate, mono(waves[first : first + SAMPLES_AT_ONCE].T))
        for first in range(0, len(waves), SAMPLES_AT_ONCE)
    ]
    return sound_of(path, blocks, complaint=complaint)


def _input() -> Any:  # noqa: ANN401 - ffmpeg-python has no types
    return ffmpeg.input(
        INPUT,
        format_whitelist=FORMATS,
        protocol_whitelist=PROTOCOLS,
        max_pixels=MAX_PIXELS,
        threads=1,
    )


def _run(
    path: Path,
    output: Any,  # noqa: ANN401 - ffmpeg-python has no types
    limit: float,
    level: str,
) -> _Finished:
    """Run one process to its end or to its deadline, and leave nothing of it behind.

    ffmpeg-python's own `run` has no deadline, and hands our standard input to the process.
    """
    flags = ["-hide_banner", "-nostdin", "-nostats", "-filter_complex_threads", "1"]
    command = output.compile(cmd=[str(ffmpeg_binary()), *flags, "-loglevel", f"level+{level}"])
    command[command.index(INPUT)] = address(path)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            shown, said = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return _Finished(
                -signal.SIGKILL, b"", f"[error] no end after {limit:g} s, so it was stopped"
            )
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return _Finished(process.returncode, shown, said.decode("utf-8", "replace"))
