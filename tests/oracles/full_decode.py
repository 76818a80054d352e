"""What a file shows and plays, all of it, as the ffmpeg command line says in one go."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np


def all_frames(path: Path, height: int, width: int) -> np.ndarray:
    """Every frame, upright, `(frame, height, width, 3)`."""
    raw = _run(path, "-map", "0:v:0", "-fps_mode", "passthrough", "-pix_fmt", "rgb24", "rawvideo")
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def all_samples(path: Path, channels: int) -> np.ndarray:
    """Every sample of the sound as the file has it, `(sample, channel)`."""
    raw = _run(path, "-map", "0:a:0", "f32le")
    return np.frombuffer(raw, np.float32).reshape(-1, channels)


def _run(path: Path, *options: str) -> bytes:
    *options, container = options
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "quiet", "-nostdin", "-i", f"file:{path}"]
    command += [*options, "-f", container, "pipe:"]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).stdout
