"""Small real clips: PyAV draws the plain ones, the ffmpeg binary makes the odd ones out of them."""

import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vidret.extract.decode import ffmpeg_binary

TONE = 440.0  # hertz
BLOCK = 1024  # samples that an AAC packet takes


def draw_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: int = 25,
    size: tuple[int, int] = (96, 64),
    levels: Sequence[float] = (0.5, 0.5),
    rate: int = 44_100,
    sound_seconds: float | None = None,
    gop: int = 12,
    b_frames: int = 2,
    codec: str = "libx264",
) -> Path:
    """Draw moving pictures and a tone; no two frames are the same.

    Args:
        path: its ending names the container.
        seconds: how long the pictures last.
        fps: frames a second.
        size: width and height.
        levels: how loud the tone is on each channel; zeros are silence, none at all is no sound.
        rate: samples a second.
        sound_seconds: how long the tone lasts, if not as long as the pictures.
        gop: frames from one key frame to the next.
        b_frames: frames in a row that are built from both sides.
        codec: FFmpeg's name of the encoder.
    """
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=fps)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.thread_count = 1
        video.codec_context.gop_size = gop
        video.codec_context.max_b_frames = b_frames
        if codec == "libx264":
            video.options = {"preset": "veryfast", "x264-params": "scenecut=0"}
        audio = _add_sound(container, levels, rate)
        for number in range(round(seconds * fps)):
            picture = av.VideoFrame.from_ndarray(draw_picture(number, size), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, fps)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if audio is not None:
            tone = draw_tone(seconds if sound_seconds is None else sound_seconds, rate, levels)
            _write_sound(container, audio, tone, rate)
    return path


def draw_long_clip(path: Path, minutes: int) -> Path:
    """Draw a minute of tiny pictures and a tone, and play it over and over."""
    minute = path.with_name(f"minute-{path.name}")
    pictures = "testsrc=size=64x48:rate=25:duration=60"
    tone = f"sine=frequency={TONE}:sample_rate=16000:duration=60"
    sources = ["-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", tone]
    run_ffmpeg(*sources, "-c:v", "libx264", "-preset", "veryfast", "-c:a", "aac", minute)
    run_ffmpeg("-stream_loop", str(minutes - 1), "-i", minute, "-c", "copy", path)
    return path


def draw_picture(number: int, size: tuple[int, int]) -> np.ndarray:
    """Picture `number` of a clip: a drifting pattern, with edges for the decoder to get wrong."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    red = 255 * ((x + 3 * number) // 8 % 2)
    green = (4 * y + 7 * number) % 256
    blue = 255 * (np.hypot(x - (5 * number) % width, y - height / 2) < height / 4)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def draw_tone(seconds: float, rate: int, levels: Sequence[float]) -> np.ndarray:
    """The tone of a clip, `(channel, sample)`."""
    time = np.arange(round(seconds * rate)) / rate
    return np.outer(levels, np.sin(2 * np.pi * TONE * time)).astype(np.float32)


def run_ffmpeg(*arguments: str | Path) -> bytes:
    """Run the binary, and give what it wrote to standard output."""
    command = [ffmpeg_binary(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments]
    return subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout


def cut_clip(source: Path, path: Path, start: float) -> Path:
    """Copy packets from the key frame before `start` on; in MP4 an edit list hides the rest."""
    run_ffmpeg("-ss", str(start), "-i", source, "-c", "copy", path)
    return path


def turn_clip(source: Path, path: Path, degrees: int, *, mirrored: bool = False) -> Path:
    """Copy a clip and say in its header that it is to be shown turned."""
    mirror = ["-display_hflip"] if mirrored else []
    run_ffmpeg("-display_rotation", str(degrees), *mirror, "-i", source, "-c", "copy", path)
    return path


def thin_clip(source: Path, path: Path) -> Path:
    """Drop frames irregularly, so that the frame rate varies."""
    keep = "select=lt(n\\,9)+not(mod(n\\,3))+not(mod(n\\,7))"
    run_ffmpeg("-i", source, "-vf", keep, "-fps_mode", "vfr", "-c:v", "libx264", "-an", path)
    return path


def behead_stream(source: Path, path: Path) -> Path:
    """An MPEG-TS copy without its beginning: it starts within a group of pictures."""
    whole = run_ffmpeg("-i", source, "-c", "copy", "-f", "mpegts", "pipe:")
    packets = len(whole) // 188
    path.write_bytes(whole[188 * (packets // 6) :])
    return path


def blank_packet(source: Path, path: Path, seconds: float) -> Path:
    """A copy in which all bytes of the picture that is decoded at some second are zero."""
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        packet = next(one for one in packets if one.dts * one.time_base >= seconds)
        start, size = packet.pos, packet.size
    content = bytearray(source.read_bytes())
    content[start : start + size] = bytes(size)
    path.write_bytes(content)
    return path


def blank_sound(source: Path, path: Path, every: int) -> Path:
    """A copy in which all bytes of every n-th packet of the sound are zero."""
    with av.open(str(source)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        places = [(packet.pos, packet.size) for packet in packets[every // 2 :: every]]
    content = bytearray(source.read_bytes())
    for start, size in places:
        content[start : start + size] = bytes(size)
    path.write_bytes(content)
    return path


def convert_clip(source: Path, path: Path, *options: str) -> Path:
    """Any other copy of a clip."""
    run_ffmpeg("-i", source, *options, path)
    return path


def _add_sound(container, levels, rate):
    if not len(levels):
        return None
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(levels)]
    return container.add_stream("aac", rate=rate, layout=layout)


def _write_sound(container, stream, tone, rate) -> None:
    for start in range(0, tone.shape[1], BLOCK):
        block = np.ascontiguousarray(tone[:, start : start + BLOCK])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=stream.layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
