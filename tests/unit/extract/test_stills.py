import io

import numpy as np
import pytest
from making.clips import draw_clip, draw_picture, run_ffmpeg
from making.coloured import draw_seconds, second_of
from PIL import Image

from vidret.data.errors import DecodeError
from vidret.extract.decoding.beginnings import NothingThereError, begin_at
from vidret.extract.stills import draw_still

SIZE = (96, 64)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return draw_clip(path, seconds=4.0, fps=10, size=SIZE, gop=40)


def pixels(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), dtype=np.float64)


def nearest_picture(jpeg):
    """The number of the drawn picture that a still is most like."""
    shown = pixels(jpeg)
    return min(range(40), key=lambda number: np.abs(draw_picture(number, SIZE) - shown).mean())


@pytest.mark.parametrize(
    ("second", "number"), [(0, 0), (1.0, 10), (2.55, 25), (3.9, 39), (4.5, 39)]
)
def test_a_still_is_what_is_shown_at_its_second(clip, second, number):
    assert nearest_picture(draw_still(clip, second, width=96)) == number


@pytest.mark.parametrize("ending", [".ts", ".mpg"])
def test_without_an_index_a_still_is_of_its_second_too(tmp_path, ending):
    long = draw_seconds(tmp_path / f"long{ending}", seconds=24)
    for second in (3, 12, 19, 21):  # key frames are at 0, 10 and 20
        assert second_of(pixels(draw_still(long, second + 0.5, width=64))) == second


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi"])
def test_with_an_index_one_seek_is_enough(tmp_path, ending):
    """The whole of a long file would be read for one picture otherwise."""
    long = draw_seconds(tmp_path / f"long{ending}", seconds=24)
    assert [begin_at(long, second) for second in (5.5, 12.5, 21.0)] == [5.5, 12.5, 21.0]
    assert second_of(pixels(draw_still(long, 12.5, width=64))) == 12


def test_behind_the_end_there_is_no_still(clip):
    with pytest.raises(NothingThereError, match=r"nothing at 99 s, as it ends at 4\.0 s"):
        draw_still(clip, 99, width=96)


def test_a_still_is_as_wide_as_asked_and_never_wider_than_the_video(clip):
    assert pixels(draw_still(clip, 1, width=48)).shape == (32, 48, 3)
    assert pixels(draw_still(clip, 1, width=640)).shape == (64, 96, 3)


@pytest.mark.parametrize("degrees", [90, 270])
def test_a_clip_that_was_filmed_upright_stands_upright(clip, tmp_path, degrees):
    turned = tmp_path / "turned.mp4"
    run_ffmpeg("-display_rotation", str(degrees), "-i", clip, "-c", "copy", turned)
    shown = pixels(draw_still(turned, 0, width=640))
    wanted = np.rot90(draw_picture(0, SIZE), degrees // 90)
    assert shown.shape == wanted.shape
    assert np.abs(shown - wanted).mean() < 25


def test_what_shows_nothing_is_refused(tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing" * 99)
    with pytest.raises(DecodeError, match="cannot be decoded"):
        draw_still(bad, 0, width=96)
    sound = tmp_path / "sound.m4a"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", sound)
    with pytest.raises(DecodeError, match="no video stream"):
        draw_still(sound, 0, width=96)
