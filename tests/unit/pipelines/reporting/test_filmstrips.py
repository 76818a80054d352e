import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from making.caches import AUDIO_DIM, DIM, a_fingerprint
from PIL import Image

from vidret.data.cache import FeatureCache
from vidret.data.manifest import Manifest, SplitCount, read_manifest, write_manifest
from vidret.data.pixels.writer import new_pixel_shard
from vidret.data.samples import AudioState, Video, VideoEmbeddings, VideoFacts
from vidret.data.shards import write_video_shard
from vidret.data.synth.dataset import MINI_FOLDER
from vidret.extract.decode import decode_video
from vidret.extract.planning.content import look_at_content
from vidret.pipelines.reporting.filmstrips import (
    HEIGHT,
    MOST_BYTES,
    SHOWN,
    WIDTH,
    draw_strips,
    join_pictures,
    shown_frames,
    shrink,
)

FRAMES = 6


@pytest.fixture(scope="module")
def clip():
    """A bundled clip, and what a decoder makes of it."""
    path = min((MINI_FOLDER / "videos").iterdir())
    return path, decode_video(path, frames=FRAMES)


@pytest.fixture
def filmed(tmp_path, clip):
    """A cache of two videos: `seen`, which is there, and `gone`, which never was."""
    path, decoded = clip
    root, folder = tmp_path / "videos", tmp_path / "cache"
    root.mkdir()
    folder.mkdir()
    shutil.copy(path, root / "seen.mp4")
    size, content = look_at_content(path)
    rows = [
        VideoEmbeddings(
            id=name,
            split="test",
            path=f"{name}.mp4",
            size=size if name == "seen" else size + 1,
            content_hash=content,
            duration=decoded.duration,
            frames=np.zeros((len(decoded.frames), DIM), np.float32),
            times=decoded.times,
            indices=decoded.indices,
            audio=np.zeros(AUDIO_DIM, np.float32),
            audio_state=AudioState.OK,
        )
        for name in ("seen", "gone")
    ]
    manifest = Manifest(
        fingerprint=a_fingerprint(frames=FRAMES),
        settings={"root": str(root), "decoder": "av"},
        splits={"test": SplitCount(videos=2, captions=0)},
        shards=(write_video_shard(folder / "videos-00000.h5", rows, [], "abc"),),
        complete=True,
    )
    write_manifest(folder, manifest)
    return folder


def strips(folder, *rows):
    cache = FeatureCache.open(folder)
    return draw_strips(cache, cache.load("test"), rows)


def as_picture(strip):
    return np.asarray(Image.open(io.BytesIO(strip.jpeg)).convert("RGB")).astype(float)


def store_pixels(folder, crops, clip):
    """List a pixel shard that holds the given crops of `seen`."""
    path, decoded = clip
    size, content = look_at_content(path)
    with new_pixel_shard(folder / "pixels-00000.h5", "pixels", crops[0].shape[-1]) as writer:
        writer.begin(Video(id="seen", path=path, split="test"))
        for crop in crops:
            writer.add_picture(crop)
        facts = VideoFacts(
            times=decoded.times,
            indices=decoded.indices,
            num_frames=decoded.num_frames,
            duration=decoded.duration,
            audio_state=AudioState.SILENT,
        )
        writer.finish(facts, path="seen.mp4", size=size, content_hash=content)
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, shards=(*manifest.shards, writer.entry)))


def plain_crops(*values, side=32):
    return [np.full((3, side, side), value, np.uint8) for value in values]


def thirds(picture, number):
    """The middle of each of the pictures that stand side by side."""
    width = picture.shape[1] / number
    return [
        picture[:, int((place + 0.3) * width) : int((place + 0.7) * width)].mean()
        for place in range(number)
    ]


@pytest.mark.parametrize(
    ("count", "shown"),
    [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3]), (6, [0, 2, 3, 5]), (12, [1, 4, 7, 10])],
)
def test_the_shown_frames_are_spread_evenly(count, shown):
    assert shown_frames(count) == shown


def test_frames_come_from_the_file_as_it_was_cached(filmed, clip):
    _, decoded = clip
    (strip,) = strips(filmed, 0)
    assert strip.absent == ""
    assert strip.times == pytest.approx([decoded.times[place] for place in shown_frames(FRAMES)])
    image = Image.open(io.BytesIO(strip.jpeg))
    assert image.format == "JPEG"
    assert image.size == (strip.width, strip.height)
    expected, _, _ = join_pictures([shrink(decoded.frames[at]) for at in shown_frames(FRAMES)])
    assert strip.jpeg == expected


def test_a_video_that_is_gone_says_so_and_stops_nothing(filmed):
    seen, gone = strips(filmed, 0, 1)
    assert seen.jpeg
    assert gone.jpeg == b""
    assert gone.absent == "The video file is no longer there."


def test_a_file_that_was_replaced_is_not_shown(filmed, tmp_path):
    others = sorted((MINI_FOLDER / "videos").iterdir())
    shutil.copy(others[1], tmp_path / "videos" / "seen.mp4")
    (strip,) = strips(filmed, 0)
    assert strip.jpeg == b""
    assert "replaced" in strip.absent


def test_a_folder_in_place_of_a_video_is_no_video(filmed, tmp_path):
    (tmp_path / "videos" / "gone.mp4").mkdir()
    (strip,) = strips(filmed, 1)
    assert "no longer there" in strip.absent


def test_stored_crops_are_taken_before_the_file(filmed, tmp_path, clip):
    Path(tmp_path / "videos" / "seen.mp4").unlink()
    store_pixels(filmed, plain_crops(0, 50, 100, 150, 200, 250), clip)
    (strip,) = strips(filmed, 0)
    assert thirds(as_picture(strip), SHOWN) == pytest.approx([0, 100, 150, 250], abs=6)


def test_colours_of_stored_crops_keep_their_order(filmed, clip):
    crop = np.zeros((3, 32, 32), np.uint8)
    crop[0] = 230  # red
    store_pixels(filmed, [crop] * FRAMES, clip)
    (strip,) = strips(filmed, 0)
    red, green, blue = np.median(as_picture(strip), axis=(0, 1))
    assert red > 200
    assert max(green, blue) < 60


def test_a_damaged_pixel_shard_leaves_the_file(filmed, clip):
    store_pixels(filmed, plain_crops(0, 50, 100, 150, 200, 250), clip)
    path = filmed / "pixels-00000.h5"
    path.write_bytes(b"\0" * path.stat().st_size)
    (strip,) = strips(filmed, 0)
    assert strip.jpeg
    assert strip.absent == ""


def test_a_picture_fits_its_place_and_keeps_its_shape():
    assert shrink(np.zeros((1080, 1920, 3), np.uint8)).size == (WIDTH, round(WIDTH * 9 / 16))
    upright = shrink(np.zeros((1920, 1080, 3), np.uint8)).size
    assert upright == (round(HEIGHT * 9 / 16), HEIGHT)
    assert shrink(np.zeros((32, 32, 3), np.uint8)).size == (32, 32), "none is made larger"


def test_a_strip_of_noise_stays_small():
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    jpeg, width, height = join_pictures([shrink(noise)] * SHOWN)
    assert len(jpeg) <= MOST_BYTES
    assert (width, height) == (SHOWN * WIDTH + (SHOWN - 1) * 2, HEIGHT)
