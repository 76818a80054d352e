"""Small pixel shards, made from numbers that a test can write down again."""

from pathlib import Path

import numpy as np

from vidret.data.pixels.writer import new_pixel_shard
from vidret.data.samples import AudioState, Failure, Video, VideoFacts

SIDE = 4


def a_file(number: int, *, split="train") -> Video:
    return Video(id=f"v{number}", path=Path(f"clips/v{number}.mp4"), split=split)


def a_crop(value: int, side=SIDE) -> np.ndarray:
    """A picture that is no other's: its pixels count up from `value`."""
    return (value + np.arange(3 * side * side)).astype(np.uint8).reshape(3, side, side)


def a_sound(start: int, length: int) -> np.ndarray:
    """Samples of which no two are equal, and which float16 could not hold."""
    return (np.arange(start, start + length) / 3).astype(np.float32)


def some_facts(num_pictures: int, state=AudioState.OK, **changes) -> VideoFacts:
    found = {"num_frames": 30, "duration": 2.5, "width": 320, "height": 240, "codec": "h264"}
    return VideoFacts(
        times=np.arange(num_pictures) / 3,
        indices=np.arange(num_pictures) * 7,
        audio_state=state,
        **found | changes,
    )


def named(number: int) -> dict:
    """What `finish` is told of the file of video `vN`."""
    return {
        "path": f"clips/v{number}.mp4",
        "size": 1000 + number,
        "content_hash": f"hash{number}",
    }


def write_pixels(path: Path, *numbers: int, digest="abc"):
    """A shard of videos with two pictures and three samples each; `vN` starts at N."""
    with new_pixel_shard(path, digest, SIDE) as writer:
        for number in numbers:
            writer.begin(a_file(number))
            writer.add_sound(a_sound(number, 3))
            for value in (number, number + 100):
                writer.add_picture(a_crop(value))
            writer.finish(some_facts(2), **named(number))
    return writer.entry


def a_failure_of(number: int) -> Failure:
    return Failure(id=f"v{number}", path=f"clips/v{number}.mp4", stage="decode", reason="no frame")
