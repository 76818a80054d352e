import av
import pytest
from making.clips import draw_clip, run_ffmpeg
from making.coloured import FPS, draw_seconds, second_of

from vidret.data.errors import DecodeError
from vidret.extract.decoding.beginnings import NothingThereError
from vidret.extract.playable import browsers_play, write_playable

H264 = ("-c:v", "libx264", "-c:a", "aac")
FORMS = {
    "h264.mp4": ((*H264, "-pix_fmt", "yuv420p"), True),
    "vp8.webm": (("-c:v", "libvpx", "-c:a", "libvorbis"), True),
    "mute.mp4": (("-c:v", "libx264", "-an"), True),
    "ten-bits.mp4": ((*H264, "-pix_fmt", "yuv420p10le"), False),
    "hevc.mp4": (("-c:v", "libx265", "-tag:v", "hvc1", "-x265-params", "log-level=none"), False),
    "mpeg4.avi": (("-c:v", "mpeg4", "-c:a", "libmp3lame"), False),
    "h264.mkv": (H264, False),
    "h264.mov": (H264, False),
    "ac3.mp4": (("-c:v", "libx264", "-c:a", "ac3"), False),
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return draw_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", seconds=2.0, fps=10)


@pytest.mark.parametrize("name", FORMS)
def test_only_what_every_browser_plays_counts(clip, tmp_path, name):
    options, plays = FORMS[name]
    run_ffmpeg("-i", clip, *options, tmp_path / name)
    assert browsers_play(tmp_path / name) is plays


def streams_of(path):
    with av.open(str(path)) as container:
        seconds = container.duration / av.time_base
        names = [stream.codec_context.name for stream in container.streams]
        return names, seconds, container.streams.video[0].height


def test_what_is_written_is_what_browsers_play(clip, tmp_path):
    told, out = [], tmp_path / "out.mp4"
    run_ffmpeg("-i", clip, "-c:v", "mpeg4", "-c:a", "libmp3lame", tmp_path / "old.avi")
    write_playable(tmp_path / "old.avi", out, most_height=48, on_second=told.append)
    assert browsers_play(out)
    names, seconds, height = streams_of(out)
    assert (names, height) == (["h264", "aac"], 48)
    assert seconds == pytest.approx(2.0, abs=0.15)
    assert told[-1] == pytest.approx(2.0, abs=0.2)


def test_a_small_picture_is_not_made_larger(clip, tmp_path):
    write_playable(clip, tmp_path / "out.mp4", most_height=480)
    assert streams_of(tmp_path / "out.mp4")[2] == 64


def test_a_stretch_is_as_long_as_it_says(clip, tmp_path):
    write_playable(clip, tmp_path / "out.mp4", start=0.5, end=1.3)
    assert streams_of(tmp_path / "out.mp4")[1] == pytest.approx(0.8, abs=0.12)


def shown(path):
    """The second that each picture is of, and how many seconds the sound lasts."""
    with av.open(str(path)) as container:
        seconds = [
            second_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)
        ]
    with av.open(str(path)) as container:
        sound = container.streams.audio[0]
        return seconds, float(sound.duration * sound.time_base)


@pytest.mark.parametrize("ending", [".ts", ".mpg"])
def test_without_an_index_a_stretch_begins_at_its_second_too(tmp_path, ending):
    long, out = draw_seconds(tmp_path / f"long{ending}", seconds=24), tmp_path / "out.mp4"
    for start in (2, 12, 21):  # key frames are at 0, 10 and 20
        write_playable(long, out, start=start, end=start + 2)
        seconds, sound = shown(out)
        assert set(seconds[1:-1]) == {start, start + 1}
        assert len(seconds) == pytest.approx(2 * FPS, abs=2)
        assert sound == pytest.approx(2, abs=0.1)


def test_a_file_with_one_key_frame_alone_is_cut_too(tmp_path):
    once, out = draw_seconds(tmp_path / "once.ts", seconds=6, gop=1000), tmp_path / "out.mp4"
    write_playable(once, out, start=2, end=4)
    assert set(shown(out)[0][1:-1]) == {2, 3}


def test_a_stretch_that_shows_nothing_is_an_error(clip, tmp_path):
    with pytest.raises(NothingThereError, match="nothing new from 100 to 110 s"):
        write_playable(clip, tmp_path / "out.mp4", start=100, end=110)


def test_a_name_like_an_option_is_a_name(clip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "-i concat:x 'ß.mp4"
    odd.write_bytes(clip.read_bytes())
    write_playable(odd, tmp_path / "-y.mp4")
    assert browsers_play(tmp_path / "-y.mp4")


def test_what_takes_too_long_is_stopped(clip, tmp_path):
    with pytest.raises(DecodeError, match=r"not converted after 0\.001 s"):
        write_playable(clip, tmp_path / "out.mp4", timeout=0.001)


def test_what_is_no_video_is_refused_by_its_name(tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video" * 100)
    with pytest.raises(DecodeError, match=r"bad\.mp4 cannot be decoded"):
        browsers_play(bad)
    with pytest.raises(DecodeError, match=r"bad\.mp4 cannot be decoded"):
        write_playable(bad, tmp_path / "out.mp4")


def test_a_list_of_other_files_is_not_followed(clip, tmp_path):
    """FFmpeg would open what a concat script names, wherever it lies."""
    script = tmp_path / "script.mp4"
    script.write_text(f"ffconcat version 1.0\nfile {clip}\n")
    with pytest.raises(DecodeError):
        write_playable(script, tmp_path / "out.mp4")
