"""Clips whose colour tells the second, and what a picture of one says."""

from pathlib import Path

import numpy as np
from making.clips import run_ffmpeg

STEPS = (40, 125, 210)  # of red, green and blue: 27 seconds can be told apart
FPS = 25
CODECS = {".mpg": ("mpeg2video", "mp2"), ".avi": ("mpeg4", "libmp3lame")}


def draw_seconds(path: Path, *, seconds: int, gop: int = 250) -> Path:
    """A tone, and pictures of one colour a second; a key frame comes every `gop` pictures alone."""
    colours = ":".join(
        f"{name}='{STEPS[0]}+{STEPS[1] - STEPS[0]}*mod(floor(T/{size}),3)'"
        for name, size in (("r", 1), ("g", 3), ("b", 9))
    )
    pictures = f"nullsrc=size=64x48:rate={FPS}:duration={seconds},format=gbrp,geq={colours}"
    tone = f"sine=duration={seconds}:sample_rate=44100"
    video, audio = CODECS.get(path.suffix, ("libx264", "aac"))
    sources = ("-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", tone)
    coded = ("-c:v", video, "-pix_fmt", "yuv420p", "-q:v", "2", "-bf", "2", "-c:a", audio)
    run_ffmpeg(*sources, *coded, "-g", str(gop), "-sc_threshold", "1000000000", path)
    return path


def second_of(picture: np.ndarray) -> int:
    """The second that an RGB picture is of."""
    colour = picture.reshape(-1, 3).mean(0)
    levels = [int(np.abs(np.array(STEPS) - value).argmin()) for value in colour]
    return levels[0] + 3 * levels[1] + 9 * levels[2]
