from dataclasses import replace

import av
import numpy as np
import pytest

from vidret.data.errors import MissingError
from vidret.data.samples import AudioState
from vidret.data.synth.film import FRAMES_PER_SECOND, draw_clip, frames_of, sound_of
from vidret.data.synth.paint import HEIGHT, WIDTH
from vidret.data.synth.script import AMBIENCE, SILENCE, write_script
from vidret.extract.decode import decode_video


@pytest.fixture(scope="module")
def script():
    return write_script(54, 0)


def a_clip(script, kind, **changes):
    return replace(next(clip for clip in script if clip.kind == kind), **changes)


@pytest.fixture(scope="module")
def event(script, tmp_path_factory):
    """A clip with sound and its file."""
    clip = a_clip(script, "event", sound="bell", rate=44_100, channels=2)
    path = tmp_path_factory.mktemp("film") / "a:b %d.mp4"
    draw_clip(clip, path)
    return clip, path


def test_a_drawn_clip_is_h264_and_aac_in_mp4(event):
    clip, path = event
    with av.open(f"file:{path}") as container:
        assert "mp4" in container.format.name
        (video,), (audio,) = container.streams.video, container.streams.audio
        assert (video.codec_context.name, video.width, video.height) == ("h264", WIDTH, HEIGHT)
        assert video.pix_fmt == "yuv420p"
        assert video.average_rate == FRAMES_PER_SECOND
        assert video.frames == round(clip.seconds * FRAMES_PER_SECOND)
        assert audio.codec_context.name == "aac"
        assert (audio.rate, audio.channels) == (44_100, 2)
        assert container.duration / av.time_base == pytest.approx(clip.seconds, abs=0.15)


def test_what_is_decoded_is_what_was_drawn(event):
    clip, path = event
    drawn = list(frames_of(clip))
    decoded = decode_video(path, frames=len(drawn))
    assert len(decoded.frames) == len(drawn)
    assert decoded.audio_state is AudioState.OK
    for picture, frame in zip(drawn, decoded.frames, strict=True):
        assert np.abs(picture.astype(float) - frame).mean() < 10
    assert np.abs(decoded.waveform).max() > 0.2


def test_the_same_clip_gives_the_same_bytes(event, tmp_path):
    clip, path = event
    again = tmp_path / "again.mp4"
    draw_clip(clip, again)
    assert again.read_bytes() == path.read_bytes()
    draw_clip(replace(clip, seed=clip.seed + 1), again)
    assert again.read_bytes() != path.read_bytes()


def test_a_clip_without_sound_has_no_sound_stream(script, tmp_path):
    path = tmp_path / "mute.mp4"
    clip = a_clip(script, "event", sound=None)
    draw_clip(clip, path)
    with av.open(str(path)) as container:
        assert not container.streams.audio
    assert sound_of(clip) is None
    assert decode_video(path, frames=4).audio_state is AudioState.NO_STREAM


@pytest.mark.parametrize("channels", [1, 2])
def test_a_silent_clip_is_digital_silence_also_after_its_encoding(script, tmp_path, channels):
    path = tmp_path / "silent.mp4"
    clip = a_clip(script, "event", sound=SILENCE, channels=channels)
    draw_clip(clip, path)
    with av.open(str(path)) as container:
        samples = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], 1)
    assert samples.shape[1] > 4 * clip.rate
    assert not samples.any()
    assert not sound_of(clip).any()
    assert decode_video(path, frames=4).audio_state is AudioState.SILENT


def test_a_room_in_which_nothing_happens_is_not_silent(script, tmp_path):
    path = tmp_path / "room.mp4"
    draw_clip(a_clip(script, "event", sound=AMBIENCE), path)
    assert decode_video(path, frames=4).audio_state is AudioState.OK


def test_the_small_thing_is_in_the_picture_for_a_quarter_of_the_clip(script):
    clip = a_clip(script, "detail")
    pairs = zip(frames_of(clip), frames_of(replace(clip, visit=None)), strict=True)
    seen = [bool((one != other).any()) for one, other in pairs]
    share = sum(seen) / len(seen)
    assert 0.25 - 2 / len(seen) < share < 0.25 + 2 / len(seen)
    first = seen.index(True)
    assert seen == [first <= number < first + sum(seen) for number in range(len(seen))]
    assert first / FRAMES_PER_SECOND == pytest.approx(clip.visit.start, abs=1 / FRAMES_PER_SECOND)


def test_every_turn_of_an_event_is_in_the_picture(script):
    clip = a_clip(script, "event")
    frames = list(frames_of(clip))
    for shot in clip.shots:
        lone = replace(clip, shots=(replace(shot, end=clip.seconds),))
        same = [(a == b).all() for a, b in zip(frames, frames_of(lone), strict=True)]
        assert sum(same) == pytest.approx((shot.end - shot.start) * FRAMES_PER_SECOND, abs=1)


def test_a_folder_that_is_not_there_is_named_and_nothing_is_left(script, tmp_path):
    with pytest.raises(MissingError, match=r"absent/x\.mp4"):
        draw_clip(a_clip(script, "event"), tmp_path / "absent" / "x.mp4")
    assert not list(tmp_path.iterdir())
