import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest
from making.caches import (
    a_caption,
    a_dense_video,
    a_failure,
    a_video,
    flip_a_bit,
    write_toy_cache,
)
from making.pixels import write_pixels
from making.planted import write_planted_cache

from vidret.data.cache import Coverage, FeatureCache, find_caches, newest_cache
from vidret.data.errors import ConfigError, DamagedError, MissingError
from vidret.data.features import held_out
from vidret.data.manifest import MANIFEST, Removed, read_manifest, write_manifest
from vidret.data.samples import AudioState
from vidret.data.shards import write_caption_shard, write_video_shard
from vidret.data.storage.hdf5 import open_shard
from vidret.data.upkeep.check import repair_cache, verify_cache

VIEWS = ["ram", "mapped", "lazy"]
RELEASED = Path(__file__).parents[2] / "data" / "cache-format-1"


@pytest.fixture
def folder(tmp_path):
    return write_toy_cache(tmp_path / "toy")


def listed(folder, **changes):
    """The same cache with another manifest."""
    write_manifest(folder, replace(read_manifest(folder), **changes))


def files(problems):
    return [problem.file for problem in problems]


@pytest.mark.parametrize("view", VIEWS)
def test_a_split_holds_its_own_videos(folder, view):
    train = FeatureCache.open(folder).load("train", view=view)
    assert train.video_ids == ["v0", "v1", "v2"]
    assert train.paths == ["clips/v0.mp4", "clips/v1.mp4", "clips/v2.mp4"]
    assert train.durations.tolist() == [2.5, 3.5, 4.5]
    assert train.audio_state == [AudioState.OK, AudioState.SILENT, AudioState.NO_STREAM]
    assert train.frame_mask.tolist() == [[True] * 3, [True, False, False], [True, True, False]]
    assert train.times[2].tolist() == [0, 0.25, 0]
    assert train.indices[2].tolist() == [0, 6, 0]
    frames = np.asarray(train.frames)
    for row, length in enumerate([3, 1, 2]):
        np.testing.assert_array_equal(frames[row, :length], a_video(row).frames[:length])
        np.testing.assert_array_equal(frames[row, length:], 0)
    np.testing.assert_array_equal(train.audio, [[0, -1 / 64, -2 / 64], [0] * 3, [0] * 3])


@pytest.mark.parametrize("view", VIEWS)
def test_a_split_holds_the_captions_of_its_videos(folder, view):
    train = FeatureCache.open(folder).load("train", view=view)
    assert train.caption_ids == ["c0", "c3", "c4", "c5"]
    assert train.owners.tolist() == [0, 1, 0, 2]
    assert train.text[1] == "caption 3 of ünit 1"
    assert train.kind == ["", "sound", "", "sound"]
    assert train.word_offsets.tolist() == [0, 2, 3, 3, 5]
    assert train.token_offsets.tolist() == [0, 2, 3, 3, 5]
    assert train.tokens.tolist() == [0, 1, 30, 50, 51]
    expected = [a_caption(0, 0), a_caption(3, 1, num_words=1), a_caption(5, 2)]
    np.testing.assert_array_equal(train.words, np.concatenate([c.words for c in expected]))
    np.testing.assert_array_equal(train.sentence, np.outer([0, 3 / 8, 4 / 8, 5 / 8], np.ones(4)))


@pytest.mark.parametrize("view", VIEWS)
def test_the_videos_of_all_splits_come_without_captions(folder, view):
    cache = FeatureCache.open(folder)
    videos = cache.load_videos(view=view)
    splits = [cache.load(split) for split in cache.splits]
    assert sorted(videos.video_ids) == sorted(name for one in splits for name in one.video_ids)
    assert videos.caption_ids == []
    for one in splits:
        rows = [videos.video_ids.index(name) for name in one.video_ids]
        assert np.array_equal(np.asarray(videos.frames)[rows], one.frames)
        assert np.array_equal(videos.times[rows], one.times)


def test_a_part_that_is_held_out_and_the_rest_are_the_whole(folder):
    cache = FeatureCache.open(folder)
    whole, held, rest = (cache.load("train", part=part) for part in ("all", "held-out", "rest"))
    assert len(held.video_ids) == 1
    assert sorted(held.video_ids + rest.video_ids) == sorted(whole.video_ids)
    assert sorted(held.caption_ids + rest.caption_ids) == sorted(whole.caption_ids)
    for part in (held, rest):
        named = [part.video_ids[owner] for owner in part.owners]
        owners = [whole.video_ids[owner] for owner in whole.owners]
        before = dict(zip(whole.caption_ids, owners, strict=True))
        assert named == [before[id_] for id_ in part.caption_ids]


def test_which_videos_are_held_out_depends_on_their_ids_alone():
    ids = [f"v{number}" for number in range(200)]
    assert held_out(ids) == held_out(ids[::-1])
    assert len(held_out(ids)) == 10
    assert len(held_out([f"v{number}" for number in range(100_000)])) == 1_000
    assert held_out(["one"]) == {"one"}
    assert len(held_out([*ids, "new"]) - held_out(ids)) <= 1, "a dataset that grows keeps most"


def test_captions_of_failed_videos_are_dropped_and_counted(folder):
    cache = FeatureCache.open(folder)
    assert "c2" not in cache.load("train").caption_ids
    assert cache.load("train").dropped_captions == 1
    assert cache.load("test").dropped_captions == 0


@pytest.mark.parametrize("view", ["mapped", "lazy"])
@pytest.mark.parametrize(
    "key", [0, -1, slice(1, None), slice(None, None, -1), [2, 0, 2], np.array([True, False, True])]
)
def test_every_way_of_indexing_gives_the_same_in_every_view(folder, view, key):
    cache = FeatureCache.open(folder)
    ram, other = cache.load("train"), cache.load("train", view=view)
    for name in ("frames", "audio", "sentence", "words"):
        stored, read = getattr(ram, name), getattr(other, name)
        key_here = key if len(stored) == 3 or not isinstance(key, np.ndarray) else [1]
        assert read.shape == stored.shape
        assert read.dtype == stored.dtype
        assert len(read) == len(stored)
        np.testing.assert_array_equal(read[key_here], stored[key_here])


@pytest.mark.parametrize("view", VIEWS)
def test_a_row_beyond_the_end_is_an_index_error(folder, view):
    frames = FeatureCache.open(folder).load("train", view=view).frames
    with pytest.raises(IndexError):
        frames[3]


@pytest.mark.parametrize("view", VIEWS)
def test_another_process_reads_the_same_bytes(folder, view):
    features = FeatureCache.open(folder).load("train", view=view)
    whole = np.asarray(features.frames)  # maps the file here first
    for start in ("fork", "spawn"):
        if start == "fork" and sys.version_info >= (3, 12):
            continue  # Python itself warns against forks beside threads there
        with get_context(start).Pool(1) as pool:
            np.testing.assert_array_equal(pool.apply(np.asarray, (features.frames,)), whole)


@pytest.mark.parametrize("view", ["mapped", "lazy"])
def test_rows_that_are_held_are_those_of_the_files(view, tmp_path):
    frames = (
        FeatureCache.open(write_planted_cache(tmp_path / "planted")).load_videos(view=view).frames
    )
    keys = [3, slice(5, 2, -1), slice(None), np.array([9, 0, 9, 4, 5]), np.array([], np.int64)]
    before = [frames[key] for key in keys]
    assert frames.nbytes == frames[:].nbytes
    frames.hold()
    for path in tmp_path.rglob("*.h5"):
        path.unlink()
    for key, values in zip(keys, before, strict=True):
        assert np.array_equal(frames[key], values)


def test_a_mapped_view_is_pickled_without_its_bytes(tmp_path):
    long = replace(a_video(0, num_frames=3), frames=np.ones((20_000, 4), np.float32))
    long = replace(long, times=np.zeros(20_000), indices=np.zeros(20_000, np.int64))
    folder = write_toy_cache(tmp_path)
    entry = write_video_shard(folder / "videos-00000.h5", [long], [], "abc")
    others = [e for e in read_manifest(folder).shards if e.file != entry.file]
    listed(folder, shards=(entry, *others))
    frames = FeatureCache.open(folder).load("train", view="mapped").frames
    assert (frames[0] == 1).all()
    assert len(pickle.dumps(frames)) < 10_000


def test_a_mapped_view_reads_chunked_arrays_by_slices(folder):
    path = folder / "videos-00000.h5"
    with h5py.File(path, "r+") as shard:
        frames = shard["frames"][...]
        del shard["frames"]
        shard.create_dataset("frames", data=frames, chunks=(1, 3, 4), compression="gzip")
    entries = [
        replace(e, bytes=(folder / e.file).stat().st_size) for e in read_manifest(folder).shards
    ]
    listed(folder, shards=tuple(entries))
    cache = FeatureCache.open(folder)
    read = cache.load("train", view="mapped").frames
    np.testing.assert_array_equal(read, cache.load("train").frames)
    np.testing.assert_array_equal(read[0], a_video(0).frames)


def test_a_split_without_videos_is_empty_and_whole(tmp_path):
    folder = write_toy_cache(tmp_path)
    manifest = read_manifest(folder)
    listed(folder, splits=manifest.splits | {"val": manifest.splits["test"]})
    for view in VIEWS:
        val = FeatureCache.open(folder).load("val", view=view)
        assert val.video_ids == val.caption_ids == []
        assert np.asarray(val.words).shape == (0, 4)
        assert val.videos_tensors().frames.shape == (0, 3, 4)
        assert val.texts_tensors().words.shape == (0, 1, 4)


def test_tensors_are_float32_padded_and_masked(folder):
    train = FeatureCache.open(folder).load("train")
    videos, texts = train.videos_tensors(), train.texts_tensors()
    assert str(videos.frames.dtype) == str(texts.words.dtype) == "torch.float32"
    assert videos.audio_mask.tolist() == [True, False, False]
    assert videos.frame_mask.sum(1).tolist() == [3, 1, 2]
    np.testing.assert_array_equal(videos.frames[0], a_video(0).frames)
    assert texts.word_mask.tolist() == [[True, True], [True, False], [False] * 2, [True, True]]
    np.testing.assert_array_equal(texts.words[3], a_caption(5, 2).words)
    np.testing.assert_array_equal(texts.words[1, 0], a_caption(3, 1).words[0])
    np.testing.assert_array_equal(texts.sentence[3], a_caption(5, 2).sentence)


@pytest.mark.parametrize("view", VIEWS)
def test_some_captions_are_padded_to_the_longest_of_them(folder, view):
    train = FeatureCache.open(folder).load("train", view=view)
    texts = train.texts_tensors(np.array([2, 1]))
    assert texts.words.shape == (2, 1, 4)
    assert texts.word_mask.tolist() == [[False], [True]]
    np.testing.assert_array_equal(texts.sentence[:, 0], [4 / 8, 3 / 8])


def test_without_a_sound_encoder_no_video_has_sound_to_score_but_its_state_stays(tmp_path):
    folder = write_toy_cache(tmp_path)
    deaf = [replace(a_video(number), audio=None) for number in range(2)]
    entry = write_video_shard(folder / "videos-00000.h5", deaf, [], "abc")
    fingerprint = replace(read_manifest(folder).fingerprint, audio_dim=0)
    listed(folder, shards=(entry,), fingerprint=fingerprint)
    for view in VIEWS:
        train = FeatureCache.open(folder).load("train", view=view)
        assert train.audio_state == [AudioState.OK] * 2
        videos = train.videos_tensors()
        assert videos.audio.shape == (2, 0)
        assert videos.audio_mask.tolist() == [False, False]


def set_to_nan(path, name, *, row):
    """Damage as a bad disk or another program would do it, behind the writer's back."""
    with h5py.File(path, "r+") as shard:
        shard[name][row] = np.nan


def test_features_that_are_not_finite_are_refused_by_name_when_they_are_read(folder):
    set_to_nan(folder / "videos-00001.h5", "frames", row=0)
    set_to_nan(folder / "captions-00001.h5", "words/values", row=2)
    train = FeatureCache.open(folder).load("train")
    with pytest.raises(DamagedError, match=r"features of v2 are not finite.*vidret cache repair"):
        train.videos_tensors()
    with pytest.raises(DamagedError, match="features of c5 are not finite"):
        train.texts_tensors()


def test_coverage_counts_what_is_there_what_failed_and_what_sounds(folder):
    cache = FeatureCache.open(folder)
    sound = dict.fromkeys(AudioState, 0)
    assert cache.coverage("train") == Coverage(
        expected=4,
        found=3,
        failed=1,
        sound=sound | {AudioState.OK: 1, AudioState.SILENT: 1, AudioState.NO_STREAM: 1},
    )
    assert cache.coverage("test") == Coverage(
        expected=2, found=2, failed=0, sound=sound | {AudioState.OK: 1, AudioState.FAILED: 1}
    )


def test_what_left_the_dataset_is_neither_loaded_nor_counted(folder):
    removed = Removed(videos=("v0", "v4", "v5"), captions=("c3",))
    listed(folder, removed=removed)
    cache = FeatureCache.open(folder)
    train = cache.load("train")
    assert (train.video_ids, train.caption_ids) == (["v1", "v2"], ["c5"])
    np.testing.assert_array_equal(train.words, a_caption(5, 2).words)
    assert cache.load("test").video_ids == ["v3"]
    assert (cache.coverage("train").found, cache.coverage("test").found) == (2, 1)
    assert cache.failures() == []


def test_videos_of_which_something_was_left_out_are_counted(tmp_path):
    folder = write_toy_cache(tmp_path)
    partly = [a_dense_video(number) for number in range(3)]  # the odd one is partial
    entry = write_video_shard(folder / "videos-00000.h5", partly, [], "abc")
    listed(folder, shards=(entry,))
    assert FeatureCache.open(folder).coverage("train").partial == 1
    listed(folder, shards=(entry,), removed=Removed(videos=("v1",)))
    assert FeatureCache.open(folder).coverage("train").partial == 0


@pytest.mark.parametrize("view", VIEWS)
def test_dense_frames_of_a_split_are_ragged(tmp_path, view):
    folder = write_toy_cache(tmp_path)
    shards = [
        [a_dense_video(0, num_dense=2), a_dense_video(1, split="test")],
        [a_video(2)],
        [a_dense_video(3, num_dense=4)],
    ]
    entries = [
        write_video_shard(folder / f"videos-{number:05d}.h5", shard, [], "abc")
        for number, shard in enumerate(shards)
    ]
    listed(folder, shards=tuple(entries))
    train = FeatureCache.open(folder).load("train", view=view)
    assert train.dense.offsets.tolist() == [0, 2, 2, 6]
    expected = [shards[0][0].dense.frames, shards[2][0].dense.frames]
    np.testing.assert_array_equal(train.dense.values, np.concatenate(expected))
    assert train.dense.times.tolist() == [0.5, 1.5, 0.5, 1.5, 2.5, 3.5]
    assert train.dense.indices.tolist() == [0, 25, 0, 25, 50, 75]
    assert FeatureCache.open(folder).load("test").dense.offsets.tolist() == [0, 5]


def test_without_a_fixed_rate_a_split_has_no_dense_frames(folder):
    assert FeatureCache.open(folder).load("train").dense is None


def test_failures_are_read_from_the_shards(folder):
    assert FeatureCache.open(folder).failures() == [a_failure(5)]


def test_an_unknown_split_is_refused_with_the_known_ones(folder):
    cache = FeatureCache.open(folder)
    for ask in (cache.load, cache.coverage):
        with pytest.raises(ConfigError, match="no split 'dev': choose one of test, train"):
            ask("dev")


def test_an_unfinished_cache_is_opened_only_when_that_is_asked_for(tmp_path):
    folder = write_toy_cache(tmp_path, complete=False)
    with pytest.raises(MissingError, match="has not finished"):
        FeatureCache.open(folder)
    assert FeatureCache.open(folder, partial=True).load("test").video_ids == ["v3", "v4"]


def test_a_video_in_two_shards_is_refused_by_name(folder):
    entry = write_video_shard(folder / "videos-00002.h5", [a_video(1)], [], "abc")
    listed(folder, shards=(*read_manifest(folder).shards, entry))
    with pytest.raises(DamagedError, match="holds v1 twice"):
        FeatureCache.open(folder).load("train")


def test_a_shard_that_is_gone_or_shorter_is_found_at_opening(folder):
    path = folder / "captions-00000.h5"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError, match=rf"captions-00000.*bytes, not.*repair --cache {folder}"):
        FeatureCache.open(folder)
    path.unlink()
    with pytest.raises(DamagedError, match=r"captions-00000\.h5 is not there"):
        FeatureCache.open(folder)


def test_a_whole_cache_has_no_problems(folder):
    assert verify_cache(folder) == []
    assert repair_cache(folder) == []
    assert read_manifest(folder).complete


def test_a_flipped_bit_anywhere_is_found(folder):
    path = folder / "videos-00001.h5"
    content = path.read_bytes()
    for place in np.linspace(0, len(content) - 1, 50).astype(int):
        flip_a_bit(path, place)
        assert files(verify_cache(folder)) == [path.name], place
        path.write_bytes(content)


def test_a_flipped_bit_is_repaired_by_taking_the_shard_out(folder):
    path = folder / "videos-00001.h5"
    with open_shard(path) as shard:
        place = shard["frames"].id.get_offset()
    flip_a_bit(path, place)
    FeatureCache.open(folder).load("train")  # HDF5 notices nothing
    assert files(repair_cache(folder)) == [path.name]
    assert not path.exists()
    manifest = read_manifest(folder)
    assert path.name not in [entry.file for entry in manifest.shards]
    assert len(manifest.shards) == 3
    assert not manifest.complete
    assert verify_cache(folder) == []


def test_missing_and_half_written_and_damaged_files_are_found_and_repaired(folder):
    (folder / "captions-00000.h5").unlink()
    (folder / "videos-00007.h5").write_bytes(b"no shard")
    (folder / "videos-00001.h5.ab.part").write_bytes(b"half")
    (folder / "failures.md").write_text("not a part of the contract")
    assert files(verify_cache(folder)) == [
        "captions-00000.h5",
        "videos-00007.h5",
        "videos-00001.h5.ab.part",
    ]
    repair_cache(folder)
    assert verify_cache(folder) == []
    assert (folder / "failures.md").exists()
    assert not list(folder.glob("*.part"))


def test_a_whole_shard_that_the_manifest_forgot_is_kept_for_the_next_run(folder):
    path = folder / "captions-00002.h5"
    write_caption_shard(path, [a_caption(9, 0)], "abc")
    assert files(verify_cache(folder)) == [path.name]
    repair_cache(folder)
    assert path.exists()
    assert not read_manifest(folder).complete
    assert verify_cache(folder) == []


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_damaged_pixels_are_found_and_repaired_as_any_shard(folder, damage):
    entry = write_pixels(folder / "pixels-00000.h5", 0, 1)
    listed(folder, shards=(*read_manifest(folder).shards, entry))
    assert verify_cache(folder) == []
    path = folder / entry.file
    if damage == "flipped":
        flip_a_bit(path, entry.bytes // 2)
    else:
        path.write_bytes(path.read_bytes()[:-1])
    assert files(verify_cache(folder)) == [path.name]
    repair_cache(folder)
    assert not path.exists()
    assert [one.kind for one in read_manifest(folder).shards].count("pixel") == 0
    assert verify_cache(folder) == []


def test_a_damaged_manifest_is_removed_and_the_shards_stay(folder):
    (folder / MANIFEST).write_text("{")
    assert files(verify_cache(folder)) == [MANIFEST]
    repair_cache(folder)
    assert not (folder / MANIFEST).exists()
    assert len(list(folder.glob("*.h5"))) == 4


def test_repair_makes_no_folder(tmp_path):
    with pytest.raises(MissingError, match="no folder"):
        repair_cache(tmp_path / "absent")
    with pytest.raises(MissingError, match="no cache"):
        repair_cache(tmp_path)
    assert not (tmp_path / "absent").exists()


def test_the_newest_cache_is_the_one_written_last(tmp_path):
    for name, seconds in [("a", 100), ("b", 300), ("c", 200)]:
        folder = write_toy_cache(tmp_path / "cache" / name)
        os.utime(folder / MANIFEST, (seconds, seconds))
    (tmp_path / "cache" / "no-manifest").mkdir()
    assert [path.name for path in find_caches(tmp_path)] == ["b", "c", "a"]
    assert newest_cache(tmp_path).name == "b"


def test_no_cache_at_all_is_an_error_that_names_the_command(tmp_path):
    assert find_caches(tmp_path) == []
    with pytest.raises(MissingError, match="vidret extract --dataset"):
        newest_cache(tmp_path)


def test_reading_a_cache_imports_no_torch(folder):
    code = (
        "import sys; from pathlib import Path; from vidret.data.cache import FeatureCache; "
        "import vidret.data.catalog; "
        "FeatureCache.open(Path(sys.argv[1])).load('train'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, folder], check=True)


def test_the_cache_of_format_1_is_read_as_it_was_released():
    expected = json.loads((RELEASED / "expected.json").read_text())
    assert verify_cache(RELEASED) == []
    cache = FeatureCache.open(RELEASED)
    assert cache.fingerprint.to_json() == expected["fingerprint"]
    assert cache.failures()[0].id == expected["failed"]
    for split, values in expected["splits"].items():
        for view in VIEWS:
            features = cache.load(split, view=view)
            found = {name: getattr(features, name) for name in values}
            plain = {
                k: v if isinstance(v, list) else np.asarray(v).tolist() for k, v in found.items()
            }
            assert plain == values
