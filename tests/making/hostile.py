"""A folder of what people keep among their videos, good and bad, and what is true of each of it.

What is true follows from how a file is made: how many pictures were drawn, what was cut off, what
was overwritten. It says nothing of what a decoder makes of the file.
"""

import gzip
import os
import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import av
import numpy as np
from making.clips import (
    behead_stream,
    convert_clip,
    cut_clip,
    draw_clip,
    run_ffmpeg,
    thin_clip,
    turn_clip,
)

from vidret.data.samples import AudioState

Make = Callable[[Path, Path], object]
"""From the folder of the plain clips and the path to make; links may point to its neighbours."""

FPS = 25
FRAMES, SECONDS, SIZE = 50, 2.0, (96, 64)
KEPT = [n for n in range(FRAMES) if n < 9 or n % 3 == 0 or n % 7 == 0]  # by `thin_clip`
GOP = 12
NEAR = 0.12  # of a file's length
OK, SILENT, NO_STREAM = AudioState.OK, AudioState.SILENT, AudioState.NO_STREAM

X264 = ("-c:v", "libx264", "-preset", "veryfast", "-threads", "1")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")
COPY = ("-c", "copy")


class State(StrEnum):
    """What must become of a file."""

    OK = "ok"
    PARTIAL = "partial"  # in the cache, and marked: something of it is lost
    FAILED = "failed"
    IGNORED = "ignored"  # no video, and nobody said that it is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is true of a file.

    Args:
        state: what must become of it.
        least: frames of a full decode, at the least; `most` is the same unless damage leaves room.
        sound: of a file that is not refused.
        seconds: how long it shows or sounds, whichever is longer; None where it does not matter.
        size: width and height as shown; None where it changes.
        reason: words that the refusal must contain.
    """

    state: State
    least: int = 0
    most: int = 0
    sound: AudioState = NO_STREAM
    seconds: float | None = None
    size: tuple[int, int] | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Hostile:
    """One kind; `path` is where it lies below the folder, `kind.mp4` if that is empty."""

    kind: str
    make: Make
    expected: Expected
    path: str = ""

    @property
    def place(self) -> str:
        """Its path below the folder."""
        return self.path or f"{self.kind}.mp4"


def make_hostile_folder(folder: Path, clips: Path) -> Path:
    """Make one file of every kind below `folder`; `clips` gets what they are made from."""
    clips.mkdir(parents=True)
    draw_clip(clips / "base.mp4")
    draw_clip(clips / "five.mp4", seconds=0.2)
    draw_clip(clips / "wide.mp4", seconds=1.0, size=(128, 64))
    convert_clip(clips / "base.mp4", clips / "cover.png", "-frames:v", "1")
    for one in HOSTILE:
        (folder / one.place).parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # each mostly waits for its own ffmpeg
        for _ in threads.map(lambda one: one.make(clips, folder / one.place), HOSTILE):
            pass
    return folder


# What is expected


def ok(
    frames: int = FRAMES,
    *,
    sound: AudioState = OK,
    seconds: float | None = SECONDS,
    size: tuple[int, int] | None = SIZE,
) -> Expected:
    """A whole file."""
    return Expected(
        state=State.OK, least=frames, most=frames, sound=sound, seconds=seconds, size=size
    )


def partial(least: int, most: int, *, sound: AudioState = OK) -> Expected:
    """A file of which something is lost; how much is lost depends on where the damage hits."""
    return Expected(state=State.PARTIAL, least=least, most=most, sound=sound, size=SIZE)


def failed(reason: str) -> Expected:
    """A file that cannot be used, and words of the reason."""
    return Expected(state=State.FAILED, reason=reason)


IGNORED = Expected(state=State.IGNORED)
NOT_DECODED = failed("cannot be decoded")


# How it is made


def drawn(**how) -> Make:
    """A clip drawn anew."""
    return lambda _clips, path: draw_clip(path, **how)


def converted(*options: str, source: str = "base.mp4") -> Make:
    """Another form of a plain clip."""
    return lambda clips, path: convert_clip(clips / source, path, *options)


def encoded(*options: str) -> Make:
    """The pictures of the base clip encoded anew with x264, its sound as it was."""
    return converted(*X264, *options, "-c:a", "copy")


def imagined(source: str, *options: str) -> Make:
    """Pictures that ffmpeg draws."""
    drawing = ("-f", "lavfi", "-i", source, *X264, "-preset", "ultrafast")
    return lambda _clips, path: run_ffmpeg(*drawing, *options, path)


def copied(source: str = "five.mp4") -> Make:
    """A plain clip under another name."""
    return lambda clips, path: shutil.copy(clips / source, path)


def text(words: str) -> Make:
    """A text file; `CLIPS` stands for the folder of the plain clips."""
    return lambda clips, path: path.write_text(words.replace("CLIPS", str(clips)) * 20)


def content(what: bytes) -> Make:
    """Any bytes."""
    return lambda _clips, path: path.write_bytes(what)


def altered(alter: Callable[[bytearray], bytes | bytearray], *options: str) -> Make:
    """The base clip in the form that the name asks for, and then its bytes changed."""

    def make(clips: Path, path: Path) -> None:
        convert_clip(clips / "base.mp4", path, *(options or COPY))
        path.write_bytes(alter(bytearray(path.read_bytes())))

    return make


def altered_packets(kind: str, alter: Callable[[bytes], bytes], every: int, *options: str) -> Make:
    """The base clip with the content of every n-th packet of its sound or pictures changed."""

    def make(clips: Path, path: Path) -> None:
        convert_clip(clips / "base.mp4", path, *options)
        whole = bytearray(path.read_bytes())
        with av.open(str(path)) as container:
            (stream,) = (one for one in container.streams if one.type == kind)
            found = [(one.pos, one.size) for one in container.demux(stream) if one.size]
        for pos, size in found[every // 2 :: every]:
            start = whole.index(whole[pos : pos + size], pos) if path.suffix == ".mp4" else pos
            whole[start : start + size] = alter(bytes(whole[start : start + size]))
        path.write_bytes(whole)

    return make


def cut_to(share: float, *options: str) -> Make:
    """The beginning of the base clip, as when a copy breaks off: amid the largest picture nearby.

    FFmpeg's AAC does not always come out the same, so a plain share of the bytes would at times
    lie between two pictures, where nothing is broken.
    """

    def make(clips: Path, path: Path) -> None:
        convert_clip(clips / "base.mp4", path, *(options or COPY))
        whole = path.read_bytes()
        with av.open(str(path)) as container:
            packets = [(one.size, one.pos) for one in container.demux(video=0) if one.size]
        size, pos = max(one for one in packets if abs(one[1] / len(whole) - share) < NEAR)
        path.write_bytes(whole[: pos + size // 2])

    return make


def noise(length: int) -> bytes:
    """Bytes without any sense, always the same."""
    return np.random.default_rng(1).bytes(length)


def with_noise_in_the_middle(whole: bytearray) -> bytearray:
    """A tenth of the file, and more than any picture in it takes, is overwritten."""
    start, length = len(whole) // 2, len(whole) // 10
    whole[start : start + length] = noise(length)
    return whole


def without_pictures(whole: bytearray) -> bytes:
    """The header of an MP4 that begins with it, and nothing of what it lists."""
    return bytes(whole[: whole.index(b"mdat") + 4])


def claiming(times: float) -> Callable[[bytearray], bytearray]:
    """The header of an MP4 says that film and pictures last so many times as long."""

    def alter(whole: bytearray) -> bytearray:
        for box in (b"mvhd", b"mdhd"):  # the first mdhd is that of the pictures
            place = whole.index(box) + 20  # version, created, changed, ticks a second
            ticks = int.from_bytes(whole[place : place + 4])
            whole[place : place + 4] = round(ticks * times).to_bytes(4)
        return whole

    return alter


def claiming_frames(frames: int) -> Callable[[bytearray], bytearray]:
    """Both headers of an AVI say how many frames there are."""

    def alter(whole: bytearray) -> bytearray:
        for place in (whole.index(b"avih") + 24, whole.index(b"vids") + 32):
            whole[place : place + 4] = frames.to_bytes(4, "little")
        return whole

    return alter


def claiming_a_canvas(width: int, height: int) -> Callable[[bytearray], bytearray]:
    """The header of a GIF says how large its pictures are."""

    def alter(whole: bytearray) -> bytearray:
        whole[6:10] = width.to_bytes(2, "little") + height.to_bytes(2, "little")
        return whole

    return alter


def renamed(old: bytes, new: bytes) -> Callable[[bytearray], bytearray]:
    """Every mention of a codec becomes that of another."""
    return lambda whole: whole.replace(old, new)


def two_streams_in_one(jump: str) -> Make:
    """Two transport streams of 20 frames each, one behind the other, the second from `jump` on."""

    def make(clips: Path, path: Path) -> None:
        parts = [
            run_ffmpeg(
                *("-i", clips / source, "-frames:v", "20", "-an", *COPY),
                *("-output_ts_offset", offset, "-mpegts_flags", "+initial_discontinuity"),
                *("-f", "mpegts", "pipe:"),
            )
            for source, offset in (("base.mp4", "10"), ("wide.mp4", jump))
        ]
        path.write_bytes(b"".join(parts))

    return make


def with_samples(*values: float) -> Make:
    """The base clip with two seconds of a tone in which some samples have these values."""

    def make(clips: Path, path: Path) -> None:
        tone = np.sin(np.arange(64_000) / 10).astype(np.float32) / 2
        for number, value in enumerate(values):
            tone[10_000 + 5_000 * number :][:500] = value
        raw = clips / f"{path.name}.f32"
        tone.tofile(raw)
        sound = ("-f", "f32le", "-ar", "32000", "-ac", "1", "-i", raw)
        run_ffmpeg(
            *("-i", clips / "base.mp4", *sound, "-map", "0:v", "-map", "1:a"),
            *("-c:v", "copy", "-c:a", "pcm_f32le", path),
        )

    return make


def late_pictures(clips: Path, path: Path) -> None:
    """The sound begins one second before the pictures."""
    base = clips / "base.mp4"
    run_ffmpeg(
        *("-itsoffset", "1", "-i", base, "-i", base, "-map", "0:v", "-map", "1:a", *COPY, path)
    )


def two_films(clips: Path, path: Path) -> None:
    """Two streams of pictures; the first is the one to show."""
    inputs = ("-i", clips / "base.mp4", "-i", clips / "wide.mp4")
    streams = ("-map", "0:v", "-map", "1:v", "-map", "0:a")
    default = ("-disposition:v:0", "default", "-disposition:v:1", "0")
    run_ffmpeg(*inputs, *streams, *COPY, *default, path)


def song_with_cover(clips: Path, path: Path) -> None:
    """Sound, and one picture to show beside it."""
    inputs = ("-i", clips / "base.mp4", "-i", clips / "cover.png")
    streams = ("-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic")
    run_ffmpeg(*inputs, *streams, path)


def only_subtitles(clips: Path, path: Path) -> None:
    """A film with neither pictures nor sound."""
    lines = clips / "lines.srt"
    lines.write_text("1\n00:00:00,000 --> 00:00:02,000\nNobody is there.\n")
    run_ffmpeg("-i", lines, "-c:s", "mov_text", path)


def a_folder_with_a_film(clips: Path, path: Path) -> None:
    """What lies in it is a film like any other."""
    path.parent.mkdir(exist_ok=True)
    shutil.copy(clips / "five.mp4", path)


def a_pipe(_clips: Path, path: Path) -> None:
    """Whoever opens it for reading waits for ever."""
    os.mkfifo(path)


def a_socket(_clips: Path, path: Path) -> None:
    """What a program that listens leaves in a folder."""
    os.mknod(path, stat.S_IFSOCK | 0o600)


def a_link(target: str) -> Make:
    """A symbolic link to a neighbour, there or not."""
    return lambda _clips, path: path.symlink_to(target)


def a_hard_link(clips: Path, path: Path) -> None:
    """A second name of one of the plain clips."""
    path.hardlink_to(clips / "five.mp4")


def locked(clips: Path, path: Path) -> None:
    """A film that its owner may not read; root may."""
    shutil.copy(clips / "five.mp4", path)
    path.chmod(0)


def packed(clips: Path, path: Path) -> None:
    """A film in an archive."""
    path.write_bytes(gzip.compress((clips / "base.mp4").read_bytes()))


# The kinds

FIVE = ok(5, seconds=0.2)

FORMS = (
    Hostile("base", drawn(), ok()),
    Hostile("open-gop", encoded("-x264-params", "open-gop=1:keyint=12:bframes=2"), ok()),
    Hostile("long-gop", drawn(gop=250), ok()),
    Hostile("all-key", drawn(gop=1, b_frames=0), ok()),
    Hostile("matroska", converted(*COPY), ok(), "matroska.mkv"),
    Hostile("matroska-in-disguise", converted(*COPY, "-f", "matroska"), ok()),
    Hostile("transport-stream", converted(*COPY), ok(), "transport-stream.ts"),
    Hostile("no-extension", copied("base.mp4"), ok(), "a film without extension"),
    Hostile("upper-case", copied("base.mp4"), ok(), "UPPER.MP4"),
    Hostile("raw-h264", converted("-an", *COPY), ok(sound=NO_STREAM), "raw.h264"),
    Hostile(
        "avi-b-frames",
        converted("-c:v", "mpeg4", "-bf", "2", "-g", "12", "-c:a", "mp3"),
        ok(),
        "b-frames.avi",
    ),
    Hostile("motion-jpeg", converted("-c:v", "mjpeg"), ok(), "motion-jpeg.avi"),
    Hostile("program-stream", converted("-c:v", "mpeg2video"), ok(), "program-stream.mpg"),
    Hostile("flash", converted(), ok(), "flash.flv"),
    Hostile("windows-media", converted(), ok(), "windows-media.wmv"),
    Hostile("prores", converted("-c:v", "prores_ks"), ok(), "prores.mov"),
    Hostile("ten-bit", encoded("-pix_fmt", "yuv420p10le"), ok()),
    Hostile(
        "hdr10",
        converted(
            *("-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le", "-x265-params"),
            "log-level=none:hdr10=1:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc",
        ),
        ok(),
    ),
    Hostile(
        "vp9",
        converted(*VP9),
        ok(),
        "vp9.webm",
    ),
    Hostile(
        "vp8-hidden-frames",
        converted("-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "9"),
        ok(),
        "vp8.webm",
    ),
    Hostile("av1", converted("-c:v", "libsvtav1", "-preset", "13"), ok()),
    Hostile("gif", converted("-f", "gif"), ok(sound=NO_STREAM)),
    Hostile("gray", encoded("-pix_fmt", "gray"), ok()),
    Hostile("full-range", encoded("-pix_fmt", "yuvj420p", "-colorspace", "bt709"), ok()),
    Hostile("interlaced", encoded("-flags", "+ildct+ilme"), ok()),
)

SHAPES = (
    Hostile(
        "turned-90",
        lambda clips, path: turn_clip(clips / "base.mp4", path, 90),
        ok(size=(64, 96)),
    ),
    Hostile("turned-180", lambda clips, path: turn_clip(clips / "base.mp4", path, 180), ok()),
    Hostile(
        "mirrored",
        lambda clips, path: turn_clip(clips / "base.mp4", path, 90, mirrored=True),
        ok(size=(64, 96)),
    ),
    Hostile("wide-pixels", encoded("-vf", "setsar=2"), ok()),
    Hostile("3x5", encoded("-vf", "scale=3:5", "-pix_fmt", "yuv444p"), ok(size=(3, 5))),
    Hostile("319x239", encoded("-vf", "scale=319:239", "-pix_fmt", "yuv444p"), ok(size=(319, 239))),
    Hostile("16x1024", encoded("-vf", "scale=16:1024"), ok(size=(16, 1024))),
    Hostile(
        "7680x7680",
        imagined("testsrc2=s=7680x7680:r=25", "-frames:v", "1"),
        ok(1, sound=NO_STREAM, seconds=None, size=(7680, 7680)),
    ),
    Hostile(
        "12000x12000",
        altered(claiming_a_canvas(12_000, 12_000), "-f", "gif"),
        failed("shows 12000 x 12000 pixels"),
    ),
    Hostile(
        "size-changes",
        two_streams_in_one("10.8"),
        ok(40, sound=NO_STREAM, seconds=1.6, size=None),
        "size-changes.ts",
    ),
)

TIMES = (
    Hostile(
        "rate-varies",
        lambda clips, path: thin_clip(clips / "base.mp4", path),
        ok(len(KEPT), sound=NO_STREAM),
    ),
    Hostile(
        "edit-list",
        lambda clips, path: cut_clip(clips / "base.mp4", path, 0.9),
        ok(FRAMES - 23, seconds=1.1),  # frame 23 is the first at 0.9 s or later
    ),
    Hostile("from-1000-s", converted(*COPY, "-output_ts_offset", "1000"), ok(), "from-1000-s.mkv"),
    Hostile(
        "from-before-zero",
        converted(*COPY, "-avoid_negative_ts", "disabled", "-output_ts_offset", "-0.5"),
        ok(),
        "from-before-zero.mkv",
    ),
    Hostile(
        "from-before-zero-in-mp4",  # whose edit list leaves out what comes before zero
        converted(*COPY, "-avoid_negative_ts", "disabled", "-output_ts_offset", "-0.5"),
        ok(FRAMES - 13, seconds=1.5),
    ),
    Hostile(
        "clock-jumps-back",
        two_streams_in_one("5"),
        ok(40, sound=NO_STREAM, seconds=1.6, size=None),
        "clock-jumps-back.ts",
    ),
    Hostile("five-frames", drawn(seconds=0.2), FIVE),
    Hostile("one-frame", drawn(seconds=0.04, levels=()), ok(1, sound=NO_STREAM, seconds=None)),
    Hostile("no-duration", converted(*COPY, "-live", "1"), ok(), "no-duration.mkv"),
    Hostile("fragmented", converted(*COPY, "-movflags", "frag_keyframe+empty_moov"), ok()),
    Hostile("claims-more", altered(claiming(300)), ok()),
    Hostile("claims-less", altered(claiming(0.2)), ok()),
    Hostile(
        "avi-claims-more",
        altered(claiming_frames(5000), "-c:v", "mpeg4"),
        ok(),
        "claims-more.avi",
    ),
    Hostile(
        "avi-claims-less",
        altered(claiming_frames(5), "-c:v", "mpeg4"),
        ok(),
        "claims-less.avi",
    ),
    Hostile(
        "one-hour",
        imagined("testsrc2=s=64x48:r=1:d=3600", "-g", "60"),
        ok(3600, sound=NO_STREAM, seconds=3600, size=(64, 48)),
    ),
)

SOUNDS = (
    Hostile("no-sound", drawn(levels=()), ok(sound=NO_STREAM)),
    Hostile("silence", drawn(levels=(0.0, 0.0)), ok(sound=SILENT)),
    Hostile("50-ms-of-sound", drawn(sound_seconds=0.05), ok()),
    Hostile("more-sound-than-pictures", drawn(seconds=0.4, sound_seconds=3), ok(10, seconds=3)),
    Hostile("late-pictures", late_pictures, ok(), "late-pictures.mkv"),
    Hostile("surround", drawn(levels=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)), ok()),
    Hostile("8-khz", drawn(levels=(0.5,), rate=8000), ok()),
    Hostile("two-films", two_films, ok()),
    Hostile("not-a-number", with_samples(np.nan), ok(sound=AudioState.FAILED), "nan.mkv"),
    Hostile("infinite", with_samples(np.inf, -np.inf), ok(sound=AudioState.FAILED), "infinite.mkv"),
    Hostile(
        "unknown-sound-codec",
        altered(renamed(b"A_AAC", b"A_QQQ")),
        ok(sound=AudioState.FAILED),
        "unknown-sound-codec.mkv",
    ),
    Hostile(
        "broken-sound",
        altered_packets("audio", lambda old: bytes(len(old)), 1, "-c:v", "copy", "-c:a", "mp3"),
        ok(sound=AudioState.FAILED),
        "broken-sound.avi",
    ),
    Hostile(
        "half-broken-sound",
        altered_packets("audio", lambda old: bytes(len(old)), 2, "-c:v", "copy", "-c:a", "mp3"),
        partial(FRAMES, FRAMES),
        "half-broken-sound.avi",
    ),
)

DAMAGE = (
    Hostile("zero-bytes", content(b""), failed("is empty")),
    Hostile("only-zeros", content(bytes(20_000)), NOT_DECODED),
    Hostile("noise", content(noise(20_000)), NOT_DECODED),
    Hostile("no-header", cut_to(0.8), NOT_DECODED),
    Hostile(
        "header-alone", altered(without_pictures, *COPY, "-movflags", "+faststart"), NOT_DECODED
    ),
    Hostile("breaks-off", cut_to(2 / 3, *COPY, "-movflags", "+faststart"), partial(20, 49)),
    Hostile("matroska-breaks-off", cut_to(2 / 3), partial(20, 49), "breaks-off.mkv"),
    Hostile("webm-breaks-off", cut_to(0.63, *VP9), partial(20, 49), "breaks-off.webm"),
    Hostile(
        "live-matroska-breaks-off",
        cut_to(2 / 3, *COPY, "-live", "1"),
        partial(20, 49),
        "live-breaks-off.mkv",
    ),
    Hostile("stream-breaks-off", cut_to(0.63), partial(20, 49), "breaks-off.ts"),
    Hostile("avi-breaks-off", cut_to(0.6, "-c:v", "mpeg4"), partial(20, 49), "breaks-off.avi"),
    Hostile("noise-in-the-middle", altered(with_noise_in_the_middle), partial(25, FRAMES)),
    Hostile(
        "starts-within-a-group",
        lambda clips, path: behead_stream(clips / "base.mp4", path),
        partial(FRAMES - GOP, FRAMES - 1),
        "starts-within-a-group.ts",
    ),
    Hostile("unknown-codec", altered(renamed(b"avc1", b"zzzz")), NOT_DECODED, "unknown-codec.mov"),
    Hostile(
        "unknown-codec-in-avi",
        altered(renamed(b"FMP4", b"ZZZZ"), "-c:v", "mpeg4"),
        NOT_DECODED,
        "unknown-codec.avi",
    ),
    Hostile(
        "encrypted",
        converted(
            *(*COPY, "-fflags", "+bitexact", "-encryption_scheme", "cenc-aes-ctr"),
            *("-encryption_key", "00000000000000000000000000000005"),
            *("-encryption_kid", "00000000000000000000000000000005"),
        ),
        NOT_DECODED,
    ),
)

DISGUISES = (
    Hostile("text", text("This is not a film.\n"), NOT_DECODED),
    Hostile(
        "web-page",
        text("<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>\n"),
        NOT_DECODED,
    ),
    Hostile(
        "playlist",
        text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nCLIPS/base.mp4\n#EXT-X-ENDLIST\n"),
        NOT_DECODED,
    ),
    Hostile("concat-script", text("ffconcat version 1.0\nfile 'CLIPS/base.mp4'\n"), NOT_DECODED),
    Hostile(
        "session-description",
        text("v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"),
        NOT_DECODED,
    ),
    Hostile("address", text("[Reference]\nRef1=rtsp://127.0.0.1:9/film\n"), NOT_DECODED),
    Hostile("picture", lambda clips, path: shutil.copy(clips / "cover.png", path), NOT_DECODED),
    Hostile("archive", packed, NOT_DECODED),
    Hostile("only-sound", converted("-vn", *COPY), failed("no video stream")),
    Hostile("only-a-cover", song_with_cover, failed("no video stream")),
    Hostile("only-subtitles", only_subtitles, failed("no video stream")),
)

NO_FILES = (
    Hostile("a-folder", a_folder_with_a_film, FIVE, "folder.mp4/film.mp4"),
    Hostile("a-pipe", a_pipe, failed("is not a regular file")),
    Hostile("a-socket", a_socket, failed("is not a regular file")),
    Hostile("a-link", a_link("five-frames.mp4"), FIVE),
    Hostile("a-dangling-link", a_link("gone.mp4"), failed("cannot be reached")),
    Hostile("a-circular-link", a_link("a-circular-link.mp4"), failed("cannot be reached")),
    Hostile("a-folder-in-itself", a_link("."), IGNORED, "itself"),
    Hostile("a-hard-link", a_hard_link, FIVE),
    Hostile("a-locked-file", locked, FIVE if os.geteuid() == 0 else failed("Permission denied")),
    Hostile("a-hidden-file", copied(), IGNORED, ".hidden.mp4"),
    Hostile("a-hidden-folder", a_folder_with_a_film, IGNORED, ".hidden/film.mp4"),
    Hostile("notes", text("Not everything here is a film.\n"), IGNORED, "notes.txt"),
)

NAMES = (
    Hostile("name-with-a-dash-first", copied(), FIVE, "-i.mp4"),
    Hostile("name-with-a-colon", copied(), FIVE, "a:b.mp4"),
    Hostile("name-like-an-address", copied(), FIVE, "http:x.mp4"),
    Hostile("name-with-blanks-at-both-ends", copied(), FIVE, "  two  words.mp4  "),
    Hostile("name-with-quotes", copied(), FIVE, 'it\'s "quoted" `twice`.mp4'),
    Hostile("name-of-a-sequence", copied(), FIVE, "%03d.mp4"),
    Hostile("name-with-wildcards", copied(), FIVE, "[a]*?.mp4"),
    Hostile("name-for-a-shell", copied(), FIVE, "$(exit 9);&|<> #!\\n.mp4"),
    Hostile("name-with-a-newline", copied(), FIVE, "two\nlines.mp4"),
    Hostile("name-with-colours", copied(), FIVE, "\x1b[31mred\x1b[0m\t.mp4"),
    Hostile("name-beyond-ascii", copied(), FIVE, "été 日本 🎬.mp4"),
    Hostile("name-composed-otherwise", copied(), FIVE, "e\u0301te\u0301 日本 🎬.mp4"),
    Hostile("name-not-in-utf-8", copied(), FIVE, os.fsdecode(b"latin \xe9t\xe9 \xff.mp4")),
    Hostile("name-of-200-letters", copied(), FIVE, f"{'n' * 196}.mp4"),
    Hostile("same-stem-here", copied("base.mp4"), ok(), "here/stem.mp4"),
    Hostile("same-stem-there", copied(), FIVE, "there/stem.mp4"),
    Hostile("same-stem-otherwise", converted(*COPY), ok(), "here/stem.mkv"),
    Hostile("bad-with-a-dash-first", text("bad\n"), NOT_DECODED, "-bad.mp4"),
    Hostile("bad-with-quotes", text("bad\n"), NOT_DECODED, 'it\'s "bad" `too`.mp4'),
    Hostile("bad-for-a-shell", text("bad\n"), NOT_DECODED, "$(exit 9) && {bad}; .mp4"),
    Hostile("bad-with-a-newline", text("bad\n"), NOT_DECODED, "bad\nlines.mp4"),
    Hostile("bad-with-colours", text("bad\n"), NOT_DECODED, "\x1b[31mbad\x1b[0m\t.mp4"),
    Hostile("bad-written-backwards", text("bad\n"), NOT_DECODED, "bad \u202e4pm.mp4"),
    Hostile("bad-not-in-utf-8", text("bad\n"), NOT_DECODED, os.fsdecode(b"bad ' \xff\xe9.mp4")),
)

HOSTILE = (*FORMS, *SHAPES, *TIMES, *SOUNDS, *DAMAGE, *DISGUISES, *NO_FILES, *NAMES)
