import fcntl
import hashlib
import os
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest
from making.caches import a_caption, a_dense_video, a_failure, a_video

from vidret.data.errors import DamagedError, EncodeError, MismatchError, MissingError
from vidret.data.fingerprint import FORMAT
from vidret.data.samples import AudioState, Failure
from vidret.data.shards import (
    read_caption_table,
    read_failures,
    read_video_table,
    write_caption_shard,
    write_video_shard,
)
from vidret.data.storage.hdf5 import read_shard_entry


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def two_videos():
    return [a_video(0), a_video(1, num_frames=1, state=AudioState.SILENT)]


def test_a_video_shard_holds_what_was_given(tmp_path):
    path = tmp_path / "videos.h5"
    write_video_shard(path, two_videos(), [a_failure(7)], "abc")
    with h5py.File(path) as shard:
        assert shard["frames"].dtype == np.float16
        np.testing.assert_array_equal(shard["frames"][0], two_videos()[0].frames)
        np.testing.assert_array_equal(shard["frames"][1, :1], two_videos()[1].frames)
        np.testing.assert_array_equal(shard["frames"][1, 1:], 0)
        np.testing.assert_array_equal(shard["frame_mask"], [[1, 1, 1], [1, 0, 0]])
        np.testing.assert_array_equal(shard["times"], [[0, 0.25, 0.5], [0, 0, 0]])
        np.testing.assert_array_equal(shard["indices"], [[0, 6, 12], [0, 0, 0]])
        np.testing.assert_array_equal(shard["audio"], [[0, -1 / 64, -2 / 64], [0, 0, 0]])
    table = read_video_table(path)
    assert table.ids == ["v0", "v1"]
    assert table.path == ["clips/v0.mp4", "clips/v1.mp4"]
    assert table.content_hash == ["hash0", "hash1"]
    assert table.audio_state == [AudioState.OK, AudioState.SILENT]
    assert table.size.tolist() == [1000, 1001]
    assert table.duration.tolist() == [2.5, 3.5]
    assert read_failures(path) == [a_failure(7)]


def test_what_is_known_of_the_file_is_kept(tmp_path):
    path = tmp_path / "videos.h5"
    write_video_shard(path, [a_dense_video(0), a_dense_video(1)], [], "abc")
    table = read_video_table(path)
    assert table.num_frames.tolist() == [125, 125]
    assert (table.width.tolist(), table.height.tolist()) == ([320, 320], [240, 240])
    assert (table.codec, table.partial.tolist()) == (["h264", "h264"], [False, True])


def test_frames_at_a_fixed_rate_are_ragged(tmp_path):
    path = tmp_path / "videos.h5"
    videos = [a_dense_video(0, num_dense=2), a_video(1), a_dense_video(2, num_dense=3)]
    write_video_shard(path, videos, [], "abc")
    dense = read_video_table(path).dense
    assert dense.offsets.tolist() == [0, 2, 2, 5]
    assert dense.times.tolist() == [0.5, 1.5, 0.5, 1.5, 2.5]
    assert dense.indices.tolist() == [0, 25, 0, 25, 50]
    assert (dense.values.shape, dense.values.dtype) == ((5, 4), np.float16)
    with h5py.File(path) as shard:
        np.testing.assert_array_equal(shard["dense/values"][2:], videos[2].dense.frames)
        np.testing.assert_array_equal(shard["frames"][2], videos[2].frames)


def test_without_a_fixed_rate_there_are_no_dense_frames(tmp_path):
    path = tmp_path / "videos.h5"
    write_video_shard(path, two_videos(), [], "abc")
    assert read_video_table(path).dense is None
    with h5py.File(path) as shard:
        assert "dense" not in shard


def test_dense_frames_that_are_not_finite_are_refused_by_name(tmp_path):
    video = a_dense_video(3)
    video.dense.frames[4, 0] = np.inf
    with pytest.raises(EncodeError, match="v3: its frames embedding holds NaN"):
        write_video_shard(tmp_path / "videos.h5", [video], [], "abc")


def test_captions_are_never_padded_on_disk(tmp_path):
    captions = [a_caption(0, 5, num_words=3), a_caption(1, 6, num_words=0), a_caption(2, 5)]
    path = tmp_path / "captions.h5"
    write_caption_shard(path, captions, "abc")
    with h5py.File(path) as shard:
        assert shard["words/values"].shape == (5, 4)
        assert shard["words/offsets"][...].tolist() == [0, 3, 3, 5]
        assert shard["tokens/values"][...].tolist() == [0, 1, 2, 20, 21]
        np.testing.assert_array_equal(shard["words/values"][3:], captions[2].words)
    table = read_caption_table(path)
    assert table.video_ids == ["v5", "v6", "v5"]
    assert table.text[0] == "caption 0 of ünit 5"
    assert table.kind == ["", "sound", ""]


def test_numeric_arrays_are_contiguous_and_have_a_place_in_the_file(tmp_path):
    path = tmp_path / "videos.h5"
    write_video_shard(path, two_videos(), [], "abc")
    table, content = read_video_table(path), path.read_bytes()
    place = table.frames
    assert place.offset % 64 == 0
    mapped = np.frombuffer(content, place.dtype, np.prod(place.shape), place.offset)
    np.testing.assert_array_equal(mapped.reshape(place.shape)[0], two_videos()[0].frames)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    first, second = tmp_path / "first.h5", tmp_path / "second.h5"
    write_video_shard(first, two_videos(), [a_failure(7)], "abc")
    time.sleep(1.1)  # HDF5 keeps times by the second, where it is let
    write_video_shard(second, two_videos(), [a_failure(7)], "abc")
    assert sha256(first) == sha256(second)


def test_the_same_captions_give_the_same_bytes(tmp_path):
    paths = [tmp_path / f"{number}.h5" for number in range(20)]
    for path in paths:
        write_caption_shard(path, [a_caption(n, n, num_words=n) for n in range(9)], "abc")
    assert len({sha256(path) for path in paths}) == 1


def test_the_file_alone_gives_the_entry_that_the_writer_returned(tmp_path):
    path = tmp_path / "videos.h5"
    entry = write_video_shard(path, two_videos(), [a_failure(7)], "abc")
    assert (entry.file, entry.kind, entry.items, entry.failed) == ("videos.h5", "video", 2, 1)
    assert entry.bytes == path.stat().st_size
    assert entry.fingerprint == "abc"
    assert read_shard_entry(path) == entry


def test_a_shard_whose_videos_all_failed_is_a_shard(tmp_path):
    path = tmp_path / "videos.h5"
    entry = write_video_shard(path, [], [a_failure(7), a_failure(8)], "abc")
    assert (entry.items, entry.failed) == (0, 2)
    assert read_video_table(path).ids == []


def test_a_shard_without_captions_is_a_shard(tmp_path):
    path = tmp_path / "captions.h5"
    assert write_caption_shard(path, [], "abc").items == 0
    assert read_caption_table(path).word_offsets.tolist() == [0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused_by_name_and_leave_nothing(tmp_path, bad):
    video = a_video(3)
    video.frames[1, 2] = bad
    with pytest.raises(EncodeError, match="v3: its frames embedding holds NaN or infinity"):
        write_video_shard(tmp_path / "videos.h5", [a_video(0), video], [], "abc")
    assert list(tmp_path.iterdir()) == []


def test_numbers_beyond_float16_are_refused_by_name(tmp_path):
    caption = a_caption(3, 1)
    caption.words[0, 0] = 70_000
    with pytest.raises(EncodeError, match="c3: its words embedding reaches 70000"):
        write_caption_shard(tmp_path / "captions.h5", [caption], "abc")


def test_sound_that_is_not_finite_is_refused_by_name(tmp_path):
    video = replace(a_video(3), audio=np.array([0, np.nan, 0], np.float32))
    with pytest.raises(EncodeError, match="v3: its audio"):
        write_video_shard(tmp_path / "videos.h5", [video], [], "abc")


def test_a_video_without_frames_is_refused_by_name(tmp_path):
    with pytest.raises(EncodeError, match="v3: no frame"):
        write_video_shard(tmp_path / "videos.h5", [a_video(3, num_frames=0)], [], "abc")


@pytest.mark.parametrize("text", ["a\0b", "half a character \ud800"])
def test_text_that_hdf5_would_not_give_back_is_refused_by_name(tmp_path, text):
    captions = [a_caption(0, 1), replace(a_caption(1, 1), text=text)]
    with pytest.raises(EncodeError, match="c1: text is"):
        write_caption_shard(tmp_path / "captions.h5", captions, "abc")


def test_a_file_name_that_is_not_utf8_comes_back(tmp_path):
    name = os.fsdecode(b"clips/\xff\xe9t\xe9.mp4")
    path = tmp_path / "videos.h5"
    write_video_shard(path, [replace(a_video(0), path=name)], [], "abc")
    assert read_video_table(path).path == [name]


def test_any_reason_of_a_failure_can_be_kept(tmp_path):
    failure = Failure(id="v1", path="a.mp4", stage="decode", reason="moov\0 \udcff atom")
    path = tmp_path / "videos.h5"
    write_video_shard(path, [], [failure], "abc")
    assert read_failures(path)[0].reason == r"moov\0 \udcff atom"


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(MissingError, match=r"cannot write to .*absent.*--work"):
        write_video_shard(tmp_path / "absent" / "videos.h5", two_videos(), [], "abc")
    taken = tmp_path / "taken.h5"
    taken.mkdir()
    with pytest.raises(MissingError, match=r"cannot write to .*taken"):
        write_video_shard(taken, two_videos(), [], "abc")
    assert list(tmp_path.iterdir()) == [taken]


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", None])
def test_what_is_no_shard_is_damage_and_the_error_says_how_to_repair(tmp_path, content):
    path = tmp_path / "videos.h5"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedError, match=f"vidret cache repair --cache {tmp_path}"):
        read_shard_entry(path)


def test_a_shard_that_was_cut_off_is_damage(tmp_path):
    path = tmp_path / "videos.h5"
    write_video_shard(path, two_videos(), [], "abc")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedError, match=r"videos\.h5 cannot be read"):
        read_video_table(path)


def test_a_shard_of_a_newer_format_is_refused_as_such(tmp_path):
    path = tmp_path / "videos.h5"
    write_video_shard(path, two_videos(), [], "abc")
    with h5py.File(path, "a") as shard:
        shard.attrs["format"] = FORMAT + 1
    with pytest.raises(MismatchError, match=f"has format {FORMAT + 1}"):
        read_video_table(path)


def test_a_shard_can_be_read_while_someone_holds_a_lock_on_it(tmp_path):
    path = tmp_path / "videos.h5"
    write_video_shard(path, two_videos(), [], "abc")
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as HDF5 itself would while writing
        assert read_video_table(path).ids == ["v0", "v1"]
