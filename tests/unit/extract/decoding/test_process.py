import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from making.clips import draw_clip
from making.decoders import spoil_decoders

from vidret.extract.decode import decode_video
from vidret.extract.decoding.deadline import LONGEST, UNKNOWN, allowed_seconds
from vidret.extract.decoding.events import Ended, Opened, Picture, SoundPart
from vidret.extract.decoding.messages import Content, Looked, Refused
from vidret.extract.decoding.process import DecodingProcess, ProcessDiedError
from vidret.extract.decoding.sampling import Sampling
from vidret.extract.planning.content import look_at_content


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return draw_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", seconds=1.0)


@pytest.fixture
def process():
    process = DecodingProcess()
    yield process
    process.close()


def told_by(process, path, **given):
    return list(process.decode(path, sampling=Sampling(4), decoder="av", **given))


def named(clip, folder, name):
    return Path(shutil.copy(clip, folder / name))


def of_kind(kind, told):
    return [one for one in told if isinstance(one, kind)]


def test_it_tells_what_decoding_in_this_process_gives(process, clip):
    told, whole = told_by(process, clip), decode_video(clip, frames=4)
    assert [type(one) for one in (told[0], told[1], told[-1])] == [Content, Opened, Ended]
    assert (told[0].size, told[0].hash) == look_at_content(clip)
    pictures = of_kind(Picture, told)
    assert all(map(np.array_equal, [one.image for one in pictures], whole.frames))
    assert len(pictures) == len(whole.frames)
    heard = np.concatenate([one.samples for one in of_kind(SoundPart, told)])
    np.testing.assert_array_equal(heard, whole.waveform)
    np.testing.assert_array_equal(told[-1].facts.indices, whole.indices)


def test_one_process_takes_file_after_file(process, clip, tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("this is no video")
    first = told_by(process, clip)
    number = process._process.pid
    refused = told_by(process, text)
    again = told_by(process, clip)
    assert process._process.pid == number
    assert isinstance(refused[-1], Refused)
    assert "cannot be decoded" in refused[-1].reason
    assert len(again) == len(first)


def test_a_crash_says_how_the_process_ended_and_the_next_file_has_a_new_one(
    process, clip, tmp_path, monkeypatch
):
    spoil_decoders(monkeypatch, tmp_path)
    with pytest.raises(ProcessDiedError, match="SIGSEGV"):
        told_by(process, named(clip, tmp_path, "crash.mp4"))
    assert isinstance(told_by(process, clip)[-1], Ended)


def test_a_file_that_hangs_is_stopped_at_its_deadline(process, clip, tmp_path, monkeypatch):
    spoil_decoders(monkeypatch, tmp_path)
    began = time.monotonic()
    with pytest.raises(ProcessDiedError, match="no end after 1 s"):
        told_by(process, named(clip, tmp_path, "hang.mp4"), timeout=1.0)
    assert time.monotonic() - began < 10


def test_a_loop_without_end_is_ended_by_the_system_where_nobody_watches(
    process, clip, tmp_path, monkeypatch
):
    spoil_decoders(monkeypatch, tmp_path)
    monkeypatch.setattr("vidret.extract.decoding.process.allowed_seconds", lambda *_: 60.0)
    with pytest.raises(ProcessDiedError, match="all the time"):
        told_by(process, named(clip, tmp_path, "spin.mp4"), timeout=0.5)


def test_time_that_nobody_waits_for_it_does_not_count(process, clip):
    told = process.decode(clip, sampling=Sampling(4), decoder="av", timeout=1.0)
    first = next(told)
    time.sleep(2.2)  # more than the timeout and the second of the clip itself
    assert isinstance(first, Content)
    assert isinstance(list(told)[-1], Ended)


def test_a_file_that_wants_more_memory_than_it_may_is_refused(clip, tmp_path, monkeypatch):
    spoil_decoders(monkeypatch, tmp_path)
    process = DecodingProcess(memory=1 << 30)
    told = told_by(process, named(clip, tmp_path, "greedy.mp4"))
    process.close()
    assert "more memory than a decoder may take" in told[-1].reason


def test_a_bug_of_the_decoder_is_the_end_of_that_file_alone(process, clip, tmp_path, monkeypatch):
    spoil_decoders(monkeypatch, tmp_path)
    told = told_by(process, named(clip, tmp_path, "bug.mp4"))
    assert "unexpected ZeroDivisionError: a bug of the decoder" in told[-1].reason
    assert isinstance(told_by(process, clip)[-1], Ended)


def test_a_file_that_is_written_to_meanwhile_is_refused(process, clip, tmp_path, monkeypatch):
    spoil_decoders(monkeypatch, tmp_path)
    told = told_by(process, named(clip, tmp_path, "change.mp4"))
    assert "changed while it was read" in told[-1].reason


def test_a_reader_who_leaves_takes_the_process_with_him(process, clip):
    told = process.decode(clip, sampling=Sampling(4), decoder="av")
    next(told)
    number = process._process.pid
    told.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    assert isinstance(told_by(process, clip)[-1], Ended)


def test_a_decoder_that_is_not_there_is_not_the_files_fault(process, clip, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    told = list(process.decode(clip, sampling=Sampling(4), decoder="ffmpeg"))
    assert isinstance(told[-1], Refused)
    assert told[-1].missing


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [(None, 60.0), (10.0, 70.0), (0.0, 60.0 + UNKNOWN), (1e9, 60.0 + LONGEST)],
)
def test_a_long_file_may_take_longer(duration, seconds):
    assert allowed_seconds(60.0, duration) == seconds


def test_the_headers_of_a_file_tell_its_length_and_whether_it_has_sound(process, clip, tmp_path):
    mute = draw_clip(tmp_path / "mute.mp4", seconds=0.4, levels=())
    assert process.look(clip) == Looked(pytest.approx(1.0, abs=0.1), has_sound=True)
    assert process.look(mute) == Looked(pytest.approx(0.4, abs=0.1), has_sound=False)


def test_what_is_no_video_is_refused_by_its_headers_and_the_process_goes_on(
    process, clip, tmp_path
):
    (tmp_path / "text.mp4").write_text("this is no video")
    (tmp_path / "empty.mp4").touch()
    for name in ("text.mp4", "empty.mp4", "none.mp4"):
        answer = process.look(tmp_path / name)
        assert isinstance(answer, Refused)
        assert name in answer.reason
    assert isinstance(process.look(clip), Looked)
    assert isinstance(told_by(process, clip)[-1], Ended)
