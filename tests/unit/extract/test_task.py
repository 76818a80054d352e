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
from vidret.extract import embedding
from vidret.extract.decode import decode_video
from vidret.extract.encoders import EncoderSpec, load_encoders
from vidret.extract.plan import CaptionShard, VideoShard
from vidret.extract.planning.pixel_plan import look_up
from vidret.extract.task import TaskSettings, extract_captions, extract_videos, store_pixels

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


def encode(shard, settings, *pixels):
    return extract_videos(shard, settings, pixels).entry


def read(shard, settings):
    return extract_captions(shard, settings).entry


def in_batches_of(monkeypatch, **sizes):
    monkeypatch.setattr(embedding, "ON_CPU", replace(embedding.ON_CPU, **sizes))


def stored(path, name):
    with h5py.File(path) as shard:
        return shard[name][...]


def test_bad_files_become_failures_and_the_others_are_there(clips, settings):
    names = ("text", "loud", "empty", "mute", "absent", "silent")
    entry = encode(shard_of(clips, *names), settings)
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
    entry = encode(shard_of(clips, "mute", "loud"), settings)
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
    entry = encode(shard_of(clips, *names), replace(settings, frames=20))
    table = read_video_table(settings.folder / entry.file)
    assert table.frame_mask.sum(1).tolist() == [10, 20]


def test_a_second_run_writes_the_same_bytes(clips, settings):
    shard = shard_of(clips, "loud", "text", "mute")
    first = encode(shard, settings)
    content = (settings.folder / first.file).read_bytes()
    assert encode(shard, settings) == first
    assert (settings.folder / first.file).read_bytes() == content


def test_frames_do_not_depend_on_the_videos_that_share_their_batch(clips, settings, monkeypatch):
    shard = shard_of(clips, "loud", "mute", "silent")
    together = stored(settings.folder / encode(shard, settings).file, "frames")
    in_batches_of(monkeypatch, pictures=3)
    alone = stored(settings.folder / encode(shard, settings).file, "frames")
    np.testing.assert_allclose(together, alone, rtol=2e-3, atol=2e-3)


def test_the_same_content_has_the_same_hash_under_another_name(clips, settings, tmp_path):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes((clips / "loud.mp4").read_bytes())
    videos = (*shard_of(clips, "loud", "mute").videos, Video(id="copy", path=copy, split="test"))
    entry = encode(VideoShard(file="videos-00000.h5", videos=videos), settings)
    table = read_video_table(settings.folder / entry.file)
    assert table.content_hash[0] == table.content_hash[2] != table.content_hash[1]
    assert table.path[2] == str(copy)  # it lies outside the root


def test_frames_that_are_no_numbers_fail_their_video_alone(clips, settings, monkeypatch):
    encoders = load_encoders(SPEC)
    whole = encoders.clip.encode_frames

    def spoil_first(pictures, *, hidden):
        frames = whole(pictures, hidden=hidden).clone()
        frames[0] = torch.nan
        return frames

    monkeypatch.setattr(encoders.clip, "encode_frames", spoil_first)
    entry = encode(shard_of(clips, "loud", "mute"), settings)
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
    monkeypatch.setattr(
        encoders.sound, "encode_windows", lambda windows: torch.full((len(windows), 128), value)
    )
    with caplog.at_level(logging.WARNING, "vidret"):
        entry = encode(shard_of(clips, "loud", "mute"), settings)
    table = read_video_table(settings.folder / entry.file)
    assert table.ids == ["loud", "mute"]
    assert table.audio_state == ["failed", "no-stream"]
    assert "loud.mp4: its audio embedding" in caplog.text


def test_states_of_sound_are_kept_where_sound_is_left_out(clips, settings):
    spec = replace(SPEC, audio="none")
    entry = encode(shard_of(clips, "loud", "mute"), replace(settings, encoders=spec))
    path = settings.folder / entry.file
    assert read_video_table(path).audio_state == ["ok", "no-stream"]
    assert stored(path, "audio").shape == (2, 0)


def test_a_shard_of_failures_alone_is_a_shard(clips, settings):
    entry = encode(shard_of(clips, "text", "empty"), settings)
    assert (entry.items, entry.failed) == (0, 2)
    assert all(isinstance(f, Failure) for f in read_failures(settings.folder / entry.file))


def captions_of(*texts):
    return tuple(
        Caption(id=f"v#{number}", video_id="v", text=text, kind="sound")
        for number, text in enumerate(texts)
    )


def test_captions_are_stored_ragged_with_their_tokens(settings, monkeypatch):
    in_batches_of(monkeypatch, texts=2)
    texts = ("a bell rings", "", "bell " * 200)
    entry = read(CaptionShard(file="captions-00000.h5", captions=captions_of(*texts)), settings)
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
    first = read(shard, settings)
    content = (settings.folder / first.file).read_bytes()
    assert read(shard, settings) == first
    assert (settings.folder / first.file).read_bytes() == content


def test_a_caption_that_no_file_can_hold_is_named(settings):
    shard = CaptionShard(file="captions-00000.h5", captions=captions_of("fine", "a \0 byte"))
    with pytest.raises(EncodeError, match="v#1: text is"):
        read(shard, settings)
    assert not list(Path(settings.folder).iterdir())


def pixels_of(shard, settings):
    settings = replace(settings, pixels_digest="fedcba987654")
    planned = replace(shard, file=shard.file.replace("videos", "pixels"))
    return settings, store_pixels(planned, settings).entry


def test_features_from_stored_pixels_are_those_from_the_files_to_the_byte(
    clips, settings, monkeypatch
):
    in_batches_of(monkeypatch, pictures=3, windows=1)
    shard = shard_of(clips, "loud", "text", "mute", "silent")
    directly = (settings.folder / encode(shard, settings).file).read_bytes()
    settings, pixels = pixels_of(shard, settings)
    assert (pixels.kind, pixels.items, pixels.failed) == ("pixel", 3, 1)
    from_pixels = replace(settings, decoder="none such")  # so nothing can be decoded
    entry = encode(shard, from_pixels, settings.folder / pixels.file)
    assert (settings.folder / entry.file).read_bytes() == directly


def test_a_file_that_was_replaced_since_is_not_taken_from_stored_pixels(clips, settings, tmp_path):
    (tmp_path / "own.mp4").write_bytes((clips / "loud.mp4").read_bytes())
    shard = shard_of(tmp_path, "own")
    _, pixels = pixels_of(shard, settings)
    path = settings.folder / pixels.file
    assert list(look_up(shard.videos, [path]).places) == ["own"]
    (tmp_path / "own.mp4").write_bytes((clips / "mute.mp4").read_bytes())
    assert not look_up(shard.videos, [path]).places


def test_stored_pixels_with_a_flipped_bit_are_not_taken(clips, settings, caplog):
    shard = shard_of(clips, "loud", "mute")
    directly = (settings.folder / encode(shard, settings).file).read_bytes()
    settings, pixels = pixels_of(shard, settings)
    path = settings.folder / pixels.file
    with h5py.File(path, "r+") as file:
        file["pixels/values"][3, 1, 5, 5] ^= 1
    entry = encode(shard, settings, path)
    assert (settings.folder / entry.file).read_bytes() == directly
    assert "does not hold what was written" in caplog.text


def test_a_moved_file_is_found_in_stored_pixels_by_its_content(clips, settings, tmp_path):
    (tmp_path / "before.mp4").write_bytes((clips / "loud.mp4").read_bytes())
    _, pixels = pixels_of(shard_of(tmp_path, "before"), settings)
    (tmp_path / "before.mp4").rename(tmp_path / "after.mp4")
    moved = shard_of(tmp_path, "after").videos
    assert look_up(moved, [settings.folder / pixels.file]).places["after"].row == 0


def test_dense_frames_lie_beside_those_that_stand_for_the_video(clips, settings):
    entry = encode(shard_of(clips, "loud", "mute"), replace(settings, frame_policy="fps:10"))
    table = read_video_table(settings.folder / entry.file)
    counts = np.diff(table.dense.offsets).tolist()
    assert counts == [10, 4]
    bounds = np.linspace(0, 10, 5).astype(int)
    middles = (bounds[:-1] + bounds[1:] - 1) // 2
    frames, dense = stored(settings.folder / entry.file, "frames"), table.dense
    values = stored(settings.folder / entry.file, "dense/values")
    np.testing.assert_array_equal(frames[0], values[:10][middles])
    np.testing.assert_array_equal(table.indices[0], dense.indices[:10][middles])
    # ten a second out of twenty-five: the frame on screen at 0.05 s, 0.15 s, ...
    on_screen = [int((number + 0.5) / 10 * 25) for number in range(10)]
    assert dense.indices[:10].tolist() == on_screen


def test_hidden_states_times_the_projection_are_the_embeddings(clips, settings):
    shard = shard_of(clips, "loud", "mute")
    projected = stored(settings.folder / encode(shard, settings).file, "frames")
    path = settings.folder / encode(shard, replace(settings, features="hidden")).file
    projection = load_encoders(SPEC).clip.projections()["visual.weight"].numpy()
    hidden = stored(path, "frames").astype(np.float32)
    np.testing.assert_allclose(hidden @ projection, projected, rtol=5e-3, atol=5e-3)


def test_a_long_sound_is_the_mean_of_its_windows(settings, tmp_path):
    """25 s: two windows of ten seconds and one of five; the encoder takes two at once."""
    draw_clip(tmp_path / "long.mp4", seconds=0.4, sound_seconds=25.0)
    entry = encode(shard_of(tmp_path, "long"), settings)
    wave = decode_video(tmp_path / "long.mp4", frames=4).waveform
    sound, windows = load_encoders(SPEC).sound, np.split(wave, [320_000, 640_000])
    with torch.inference_mode():
        expected = torch.stack([sound.encode(torch.from_numpy(one)) for one in windows]).mean(0)
    audio = stored(settings.folder / entry.file, "audio")[0]
    np.testing.assert_allclose(audio, expected.numpy(), rtol=2e-3, atol=2e-3)


def test_what_a_shard_took_is_told(clips, settings):
    result = extract_videos(shard_of(clips, "loud", "mute"), settings)
    assert result.encoded == 2
    assert result.busy > 0
    assert result.waited > 0
