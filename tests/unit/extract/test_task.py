import logging
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from making.clips import draw_clip

from vidret.data.errors import EncodeError
from vidret.data.samples import Caption, Failure, Video
from vidret.data.shards import read_caption_table, read_failures, read_video_table
from vidret.extract import task
from vidret.extract.decode import decode_video
from vidret.extract.encoders import EncoderSpec, load_encoders
from vidret.extract.plan import CaptionShard, VideoShard
from vidret.extract.task import TaskSettings, extract_captions, extract_videos

SPEC = EncoderSpec(backbone="tiny", audio="tiny", device="cpu", offline=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Good clips with each state of sound, and bad files between them."""
    root = tmp_path_factory.mktemp("clips")
    draw_clip(root / "loud.mp4", seconds=1.0)
    draw_clip(root / "mute.mp4", seconds=0.4, levels=())
    draw_clip(root / "silent.mp4", seconds=0.6, levels=(0.0, 0.0))
    (root / "text.mp4").write_text("this is no video")
    (root / "empty.mp4").write_bytes(b"")
    return root


@pytest.fixture
def settings(tmp_path, clips):
    return TaskSettings(
        folder=tmp_path,
        root=clips,
        frames=4,
        decoder="av",
        encoders=SPEC,
        features_digest="0123456789ab",
    )


def shard_of(root, *names):
    videos = tuple(Video(id=name, path=root / f"{name}.mp4", split="test") for name in names)
    return VideoShard(file="videos-00000.h5", videos=videos)


def stored(path, name):
    with h5py.File(path) as shard:
        return shard[name][...]


def test_bad_files_become_failures_and_the_others_are_there(clips, settings):
    names = ("text", "loud", "empty", "mute", "absent", "silent")
    entry = extract_videos(shard_of(clips, *names), settings)
    path = settings.folder / entry.file
    assert (entry.items, entry.failed) == (3, 3)
    table = read_video_table(path)
    assert table.ids == ["loud", "mute", "silent"]
    assert table.audio_state == ["ok", "no-stream", "silent"]
    failures = read_failures(path)
    assert [(f.id, f.path, f.stage) for f in failures] == [
        (name, f"{name}.mp4", "decode") for name in ("text", "empty", "absent")
    ]
    assert "cannot be decoded" in failures[0].reason
    assert "is empty" in failures[1].reason
    assert "No such file" in failures[2].reason


def test_the_shard_holds_what_the_encoders_give_for_what_the_decoder_gives(clips, settings):
    entry = extract_videos(shard_of(clips, "mute", "loud"), settings)
    path = settings.folder / entry.file
    decoded, encoders = decode_video(clips / "loud.mp4", frames=4), load_encoders(SPEC)
    with torch.inference_mode():
        pictures = torch.stack([encoders.clip.prepare(frame) for frame in decoded.frames])
        frames = encoders.clip.encode_frames(pictures).numpy()
        audio = encoders.sound.encode(torch.from_numpy(decoded.waveform)).numpy()
    np.testing.assert_allclose(stored(path, "frames")[1], frames, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(stored(path, "audio")[1], audio, rtol=2e-3, atol=2e-3)
    assert not stored(path, "audio")[0].any()
    table = read_video_table(path)
    np.testing.assert_array_equal(table.times[1], decoded.times)
    np.testing.assert_array_equal(table.indices[1], decoded.indices)
    assert table.path == ["mute.mp4", "loud.mp4"]
    assert table.size[1] == (clips / "loud.mp4").stat().st_size
    assert table.duration[1] == decoded.duration
    assert table.split == ["test", "test"]


def test_a_short_video_has_fewer_frames_and_a_mask(clips, settings):
    names = ("mute", "loud")
    entry = extract_videos(shard_of(clips, *names), replace(settings, frames=20))
    table = read_video_table(settings.folder / entry.file)
    assert table.frame_mask.sum(1).tolist() == [10, 20]


def test_a_second_run_writes_the_same_bytes(clips, settings):
    shard = shard_of(clips, "loud", "text", "mute")
    first = extract_videos(shard, settings)
    content = (settings.folder / first.file).read_bytes()
    assert extract_videos(shard, settings) == first
    assert (settings.folder / first.file).read_bytes() == content


def test_frames_do_not_depend_on_the_videos_that_share_their_batch(clips, settings, monkeypatch):
    shard = shard_of(clips, "loud", "mute", "silent")
    together = stored(settings.folder / extract_videos(shard, settings).file, "frames")
    monkeypatch.setattr(task, "FRAMES_PER_BATCH", 3)
    alone = stored(settings.folder / extract_videos(shard, settings).file, "frames")
    np.testing.assert_allclose(together, alone, rtol=2e-3, atol=2e-3)


def test_the_same_content_has_the_same_hash_under_another_name(clips, settings, tmp_path):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes((clips / "loud.mp4").read_bytes())
    videos = (*shard_of(clips, "loud", "mute").videos, Video(id="copy", path=copy, split="test"))
    entry = extract_videos(VideoShard(file="videos-00000.h5", videos=videos), settings)
    table = read_video_table(settings.folder / entry.file)
    assert table.content_hash[0] == table.content_hash[2] != table.content_hash[1]
    assert table.path[2] == str(copy)  # it lies outside the root


def test_a_file_that_is_gone_once_it_was_decoded_is_a_failure(clips, settings, monkeypatch):
    def decode_and_remove(path, **options):
        decoded = decode_video(path, **options)
        if path.stem == "fleeting":
            path.unlink()
        return decoded

    (clips / "fleeting.mp4").write_bytes((clips / "loud.mp4").read_bytes())
    monkeypatch.setattr(task, "decode_video", decode_and_remove)
    entry = extract_videos(shard_of(clips, "fleeting", "loud"), settings)
    (failure,) = read_failures(settings.folder / entry.file)
    assert (failure.id, failure.stage) == ("fleeting", "decode")
    assert "cannot be read to its end (No such file" in failure.reason
    assert read_video_table(settings.folder / entry.file).ids == ["loud"]


def test_frames_that_are_no_numbers_fail_their_video_alone(clips, settings, monkeypatch):
    encoders = load_encoders(SPEC)
    encode = encoders.clip.encode_frames

    def spoil_first(pictures):
        frames = encode(pictures).clone()
        frames[0] = torch.nan
        return frames

    monkeypatch.setattr(encoders.clip, "encode_frames", spoil_first)
    entry = extract_videos(shard_of(clips, "loud", "mute"), settings)
    path = settings.folder / entry.file
    assert read_video_table(path).ids == ["mute"]
    (failure,) = read_failures(path)
    assert (failure.id, failure.stage) == ("loud", "encode")
    assert "NaN or infinity" in failure.reason


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_a_sound_that_cannot_be_stored_is_failed_and_its_frames_are_kept(
    clips, settings, monkeypatch, caplog, value
):
    encoders = load_encoders(SPEC)
    monkeypatch.setattr(encoders.sound, "encode", lambda _: torch.full((128,), value))
    with caplog.at_level(logging.WARNING, "vidret"):
        entry = extract_videos(shard_of(clips, "loud", "mute"), settings)
    table = read_video_table(settings.folder / entry.file)
    assert table.ids == ["loud", "mute"]
    assert table.audio_state == ["failed", "no-stream"]
    assert "loud.mp4: its audio embedding" in caplog.text


def test_states_of_sound_are_kept_where_sound_is_left_out(clips, settings):
    spec = replace(SPEC, audio="none")
    entry = extract_videos(shard_of(clips, "loud", "mute"), replace(settings, encoders=spec))
    path = settings.folder / entry.file
    assert read_video_table(path).audio_state == ["ok", "no-stream"]
    assert stored(path, "audio").shape == (2, 0)


def test_a_shard_of_failures_alone_is_a_shard(clips, settings):
    entry = extract_videos(shard_of(clips, "text", "empty"), settings)
    assert (entry.items, entry.failed) == (0, 2)
    assert all(isinstance(f, Failure) for f in read_failures(settings.folder / entry.file))


def captions_of(*texts):
    return tuple(
        Caption(id=f"v#{number}", video_id="v", text=text, kind="sound")
        for number, text in enumerate(texts)
    )


def test_captions_are_stored_ragged_with_their_tokens(settings, monkeypatch):
    monkeypatch.setattr(task, "TEXTS_PER_BATCH", 2)
    texts = ("a bell rings", "", "bell " * 200)
    entry = extract_captions(
        CaptionShard(file="captions-00000.h5", captions=captions_of(*texts)), settings
    )
    path = settings.folder / entry.file
    table, clip = read_caption_table(path), load_encoders(SPEC).clip
    with torch.inference_mode():
        expected = [clip.encode_texts([text], "cpu")[0] for text in texts]
    assert (entry.kind, entry.items) == ("caption", 3)
    assert table.text == list(texts)
    assert table.kind == ["sound"] * 3
    assert table.truncated.tolist() == [False, False, True]
    assert np.diff(table.word_offsets).tolist() == [3, 0, clip.tokenizer.context_length - 2]
    assert table.tokens.tolist() == [token for text in expected for token in text.tokens]
    words = np.concatenate([text.words for text in expected])
    np.testing.assert_allclose(stored(path, "words/values"), words, rtol=2e-3, atol=2e-3)
    sentences = np.stack([text.sentence for text in expected])
    np.testing.assert_allclose(stored(path, "sentence"), sentences, rtol=2e-3, atol=2e-3)


def test_captions_written_twice_are_the_same_bytes(settings):
    shard = CaptionShard(file="captions-00000.h5", captions=captions_of("a bell", "a drum"))
    first = extract_captions(shard, settings)
    content = (settings.folder / first.file).read_bytes()
    assert extract_captions(shard, settings) == first
    assert (settings.folder / first.file).read_bytes() == content


def test_a_caption_that_no_file_can_hold_is_named(settings):
    shard = CaptionShard(file="captions-00000.h5", captions=captions_of("fine", "a \0 byte"))
    with pytest.raises(EncodeError, match="v#1: text is"):
        extract_captions(shard, settings)
    assert not list(Path(settings.folder).iterdir())
