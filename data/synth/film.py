"""From a clip's script to a real mp4 file: H.264 pictures and AAC sound, written with PyAV."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vidret.data.storage.publish import publish
from vidret.data.synth.paint import HEIGHT, WIDTH, Pose, paint
from vidret.data.synth.script import AMBIENCE, SILENCE, Clip, Visit
from vidret.data.synth.sounds import make_ambience, make_sound

FRAMES_PER_SECOND = 8


def draw_clip(clip: Clip, path: Path) -> None:
    """Draw one clip; `path` appears whole or not at all."""
    with publish(path) as part, av.open(f"file:{part}", "w", format="mp4") as container:
        _write(container, clip)


def frames_of(clip: Clip) -> Iterator[NDArray[np.uint8]]:
    """The pictures of a clip, one after the other."""
    noise = np.random.default_rng(clip.seed)
    for number in range(round(clip.seconds * FRAMES_PER_SECOND)):
        moment = number / FRAMES_PER_SECOND
        shot = next((shot for shot in clip.shots if moment < shot.end), clip.shots[-1])
        prop = _visitor(clip.visit, moment)
        yield paint(shot.scene, shot.motion.at(moment), moment, noise, prop=prop)


def sound_of(clip: Clip) -> NDArray[np.float32] | None:
    """The sound of a clip `(channel, sample)`, or None where it has no sound stream."""
    if clip.sound is None:
        return None
    rng = np.random.default_rng([clip.seed, 1])
    if clip.sound == SILENCE:
        wave = np.zeros(round(clip.seconds * clip.rate))
    elif clip.sound == AMBIENCE:
        wave = make_ambience(clip.seconds, clip.rate, rng)
    else:
        wave = make_sound(clip.sound, clip.seconds, clip.rate, rng)
    return np.tile(wave.clip(-1, 1).astype(np.float32), (clip.channels, 1))


def _write(container: av.container.OutputContainer, clip: Clip) -> None:
    video = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    # One thread and no version string: the same script gives the same bytes.
    video.options = {"preset": "veryfast", "crf": "26", "threads": "1"}
    sound = sound_of(clip)
    audio = None
    if sound is not None:
        layout = "mono" if clip.channels == 1 else "stereo"
        audio = container.add_stream("aac", rate=clip.rate, layout=layout, bit_rate=48_000)
        audio.options = {"aac_coder": "fast"}
    for picture in frames_of(clip):
        container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(video.encode(None))
    if audio is not None and sound is not None:
        frame = av.AudioFrame.from_ndarray(sound, format="fltp", layout=audio.layout.name)
        frame.rate, frame.pts, frame.time_base = clip.rate, 0, Fraction(1, clip.rate)
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def _visitor(visit: Visit | None, moment: float) -> tuple[str, Pose] | None:
    if visit is None or not visit.start <= moment < visit.end:
        return None
    return visit.prop, visit.motion.at(moment)
