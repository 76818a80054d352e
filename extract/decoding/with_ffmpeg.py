"""ffmpeg-python: one process plays the sound, one lists the frames, one shows the chosen ones."""

import os
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from array import array
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import IO, Any

import ffmpeg
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from vidret.data.errors import MissingError
from vidret.data.samples import VideoFacts
from vidret.extract.decoding.events import Ended, Event, Opened, Picture, SoundPart
from vidret.extract.decoding.files import (
    FORMATS,
    MAX_PIXELS,
    PROTOCOLS,
    address,
    encrypted,
    too_large,
    unreadable,
    without_video,
)
from vidret.extract.decoding.headers import encrypted_tracks
from vidret.extract.decoding.sampling import Sampling, frame_times, shown_seconds
from vidret.extract.decoding.sound import ENCRYPTED, NO_STREAM, Listener, Sound

BYTES_AT_ONCE = 1 << 16
SAMPLES_AT_ONCE = 1 << 15
MOST_WORDS = 1 << 20  # bytes of complaints that are read; a broken file can bring endless ones
MOST_CHOSEN = 1500  # frames that one process selects: a command has a longest length
OLDEST = (5, 1)  # the first with -fps_mode, which replaces the -vsync that version 9 dropped
PICTURES = "V:0"  # a capital V: the first video stream that is not a cover picture
INPUT = "file:video"  # stands for the real name, which ffmpeg-python would hash as UTF-8
AU_HEADER = struct.Struct(">4s5I")

START_SECONDS, SECONDS_PER_SECOND = 30.0, 0.2
LONGEST = 6 * 3600.0  # where a file does not say how long it is, or claims more

VERSION = re.compile(r"^ffmpeg version (\S+)")
DURATION = re.compile(r"^\[info\]   Duration: (\d+):(\d+):([\d.]+)", re.MULTILINE)
CODEC = re.compile(r"\w+")
CONTAINER = re.compile(r"^\[info\] Input #0, (\S+), from ", re.MULTILINE)
STREAM = re.compile(r"^\[info\]   Stream #0:(\d+).*?: (Video|Audio): (.*)$", re.MULTILINE)
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
    """What a process left behind beside its output."""

    code: int
    complaints: list[str]

    @property
    def words(self) -> str:
        """The last thing that it said went wrong."""
        return self.complaints[-1].strip().rstrip(".") if self.complaints else "no reason given"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """What the header of a file says.

    Args:
        sound: number of the stream that is heard.
        seconds: 0 where it does not say how long it is.
        locked: the streams that are encrypted.
    """

    container: str
    codec: str
    sound: int | None
    seconds: float
    locked: frozenset[int] = frozenset()

    @property
    def limit(self) -> float:
        """Seconds for which a process may keep us waiting."""
        return START_SECONDS + SECONDS_PER_SECOND * min(self.seconds or LONGEST, LONGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """All frames of a file in the order of showing; `sizes` holds height and width of each."""

    pts: NDArray[np.int64]
    sizes: NDArray[np.int32]
    time_base: Fraction
    rate: Fraction | None


def events_of_ffmpeg(path: Path, sampling: Sampling) -> Iterator[Event]:
    """Tell of a file with the ffmpeg binary, found by `ffmpeg_binary`."""
    probe = _probe(path)
    yield Opened(probe.seconds)
    listing = _list_frames(path, probe.limit)
    sound = yield from _sound(path, probe)
    times = frame_times(listing.pts, listing.time_base, listing.rate)
    indices = sampling.indices(times)
    damaged = False
    for first in range(0, len(indices), MOST_CHOSEN):
        part = indices[first : first + MOST_CHOSEN]
        damaged |= yield from _show_frames(path, listing, part, probe.limit)
    height, width = listing.sizes[indices[0]].tolist()
    yield Ended(
        VideoFacts(
            times=times[indices],
            indices=indices,
            num_frames=len(times),
            duration=max(shown_seconds(times), sound.seconds),
            audio_state=sound.state,
            width=width,
            height=height,
            codec=probe.codec,
            partial=damaged or sound.damaged,
            container=probe.container,
        )
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
    with _started(path, nothing, START_SECONDS, level="info") as process:
        text = process.read(MOST_WORDS).decode("utf-8", "replace")
        finished = process.end(said=text)
    header = text.partition("\n[info] Output #0")[0]
    size = TOO_LARGE.search(header)
    if size is not None:
        raise too_large(path, int(size[1]), int(size[2]))
    container = CONTAINER.search(header)
    if container is None:
        raise unreadable(path, finished.words)
    streams = [(int(number), kind, text) for number, kind, text in STREAM.findall(header)]
    videos = [one for one in streams if one[1] == "Video" and "(attached pic)" not in one[2]]
    if not videos:
        raise without_video(path)
    video, _, text = videos[0]
    locked = encrypted_tracks(path) if container[1].startswith("mov") else frozenset[int]()
    if video in locked:
        raise encrypted(path)
    return _Probe(
        container=container[1],
        codec=CODEC.findall(text)[0],
        sound=next((number for number, kind, _ in streams if kind == "Audio"), None),
        seconds=_seconds(header),
        locked=locked,
    )


def _seconds(header: str) -> float:
    found = DURATION.search(header)
    if found is None:
        return 0.0
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])


def _list_frames(path: Path, limit: float) -> _Listing:
    """Decode everything once, for the number of frames, their times and their sizes."""
    shown = _input()[PICTURES].filter("showinfo", checksum=0)
    nothing = shown.output("pipe:", format="null", fps_mode="passthrough")
    clock, pts, sizes, last, said = None, array("q"), array("i"), -1, ""
    with _started(path, nothing, limit, level="info") as process:
        for text in process.lines():
            said = text if COMPLAINT.search(text) else said
            clock = clock or CLOCK.search(text)
            for number, stamp, width, height in FRAME.findall(text):
                if int(number) not in (last + 1, 0):  # 0: the size has changed
                    raise unreadable(path, "ffmpeg's list of its frames has gaps")
                last = int(number)
                pts.append(int(stamp))
                sizes.extend((int(height), int(width)))
        finished = process.end(said=said)
    if finished.code < 0 or not pts or clock is None:
        raise unreadable(path, finished.words)
    ticks, per_second, frames, seconds = map(int, clock.groups())
    return _Listing(
        pts=np.array(pts, np.int64),
        sizes=np.array(sizes, np.int32).reshape(-1, 2),
        time_base=Fraction(ticks, per_second),
        rate=Fraction(frames, seconds) if frames and seconds else None,
    )


def _show_frames(
    path: Path, listing: _Listing, indices: NDArray[np.int64], limit: float
) -> Generator[Picture, None, bool]:
    """Show the chosen frames; return whether anything in the file could not be decoded.

    It goes on behind the last chosen frame: only then are the complaints those of the whole file.
    """
    wanted = np.unique(listing.pts[indices])
    # A pts that two frames share brings both, and the other one is dropped.
    coming = np.flatnonzero(np.isin(listing.pts, wanted))
    chosen = _input()[PICTURES].filter("select", _is_among(wanted.tolist()))
    raw = chosen.output(
        "pipe:",
        format="rawvideo",
        pix_fmt="rgb24",
        fps_mode="passthrough",
        noautoscale=None,  # a flag: where the size changes midway, each frame keeps its own
    )
    taken = frozenset(indices.tolist())
    with _started(path, raw, limit, level="error") as process:
        for position in coming.tolist():
            height, width = listing.sizes[position].tolist()
            shown = process.read(height * width * 3)
            if len(shown) < height * width * 3:
                raise unreadable(path, process.end().words)
            if position in taken:
                yield Picture(np.frombuffer(shown, np.uint8).reshape(height, width, 3))
        surplus = process.read(1)
        finished = process.end()
    if finished.code < 0 or surplus:
        raise unreadable(path, finished.words)
    return finished.code > 0 or bool(finished.complaints)


def _is_among(pts: Sequence[int]) -> str:
    """FFmpeg's expression for a frame that bears one of some rising stamps, halved at each step."""
    if len(pts) == 1:
        return f"eq(pts,{pts[0]})"
    half = len(pts) // 2
    return f"if(lt(pts,{pts[half]}),{_is_among(pts[:half])},{_is_among(pts[half:])})"


def _sound(path: Path, probe: _Probe) -> Generator[SoundPart, None, Sound]:
    if probe.sound is None:
        return NO_STREAM
    if probe.sound in probe.locked:
        listener = Listener(path)
        listener.complaint = ENCRYPTED
        return listener.verdict()
    return (yield from _play(path, probe.limit))


def _play(path: Path, limit: float) -> Generator[SoundPart, None, Sound]:
    """The first sound stream at its own rate and with all its channels, as a .au file."""
    samples = _input()["a:0"].output("pipe:", format="au", acodec="pcm_f32be")
    listener = Listener(path)
    with _started(path, samples, limit, level="error") as process:
        header = process.read(AU_HEADER.size)
        if len(header) == AU_HEADER.size:
            _, start, _, _, rate, channels = AU_HEADER.unpack(header)
            process.read(start - AU_HEADER.size)
            while block := process.read(4 * channels * SAMPLES_AT_ONCE):
                count = len(block) // (4 * channels) * channels
                waves = np.frombuffer(block, ">f4", count).reshape(-1, channels)
                yield from listener.hear(list(waves.T), rate)
        finished = process.end()
    yield from listener.rest()
    if finished.code or finished.complaints:
        listener.complaint = finished.words
    return listener.verdict(lost=finished.code < 0 or len(header) < AU_HEADER.size)


def _input() -> Any:  # noqa: ANN401 - ffmpeg-python has no types
    return ffmpeg.input(
        INPUT,
        format_whitelist=FORMATS,
        protocol_whitelist=PROTOCOLS,
        max_pixels=MAX_PIXELS,
        threads=1,
    )


class _Process:
    """A running ffmpeg, read as it writes, and killed at its deadline.

    Only the time in which it keeps us waiting counts: whoever takes the events may be slow too.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", said: IO[bytes] | None, limit: float
    ) -> None:
        output = process.stderr if said is None else process.stdout
        assert output is not None
        self._process, self._output, self._said = process, output, said
        self._limit = self._left = limit
        self._late = False
        self._poll = select.poll()
        self._poll.register(output, select.POLLIN)

    def read(self, size: int) -> bytearray:
        """That many bytes; fewer at the end, or where the deadline has passed."""
        block, filled = bytearray(size), 0
        view = memoryview(block)
        while filled < size and self._is_ready():
            count = os.readv(self._output.fileno(), [view[filled:]])
            if count == 0:
                break
            filled += count
        view.release()
        del block[filled:]
        return block

    def lines(self) -> Iterator[str]:
        """All that it says, some whole lines at a time."""
        rest = b""
        while block := self.read(BYTES_AT_ONCE):
            whole, end, rest = (rest + block).rpartition(b"\n")
            yield (whole + end).decode("utf-8", "replace")
        yield rest.decode("utf-8", "replace")

    def end(self, *, said: str | None = None) -> _Finished:
        """Wait until it has ended; `said` is its talk where that was its output."""
        started = time.monotonic()
        try:
            code = self._process.wait(max(self._left, 0))
        except subprocess.TimeoutExpired:
            self._late, code = True, -signal.SIGKILL
        self._left -= time.monotonic() - started
        if self._late:
            return _Finished(
                -signal.SIGKILL, [f"no end after {self._limit:g} s, so it was stopped"]
            )
        if self._said is not None:
            self._said.seek(0)
            said = self._said.read(MOST_WORDS).decode("utf-8", "replace")
        return _Finished(code, _complaints(said or ""))

    def _is_ready(self) -> bool:
        started = time.monotonic()
        ready = bool(self._poll.poll(max(self._left, 0) * 1000))
        self._left -= time.monotonic() - started
        self._late |= not ready
        return ready


@contextmanager
def _started(
    path: Path,
    output: Any,  # noqa: ANN401 - ffmpeg-python has no types
    limit: float,
    level: str,
) -> Iterator[_Process]:
    """Run one process, and leave nothing of it behind.

    ffmpeg-python's own `run` has no deadline, and hands our standard input to the process. With
    the level "info" its talk is what is read, else what it writes to standard output.
    """
    flags = ["-hide_banner", "-nostdin", "-nostats", "-filter_complex_threads", "1"]
    command = output.compile(cmd=[str(ffmpeg_binary()), *flags, "-loglevel", f"level+{level}"])
    command[command.index(INPUT)] = address(path)
    talks = level == "info"
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if talks else subprocess.PIPE,
            stderr=subprocess.PIPE if talks else said,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield _Process(process, None if talks else said, limit)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _complaints(text: str) -> list[str]:
    """What it said went wrong, without its closing phrases."""
    return [words for words in COMPLAINT.findall(text) if not words.startswith(CLOSING)]
