import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from making.caches import a_caption, a_failure, a_video, write_toy_cache
from making.growing import Growing
from making.pixels import write_pixels

from vidret.data.cache import FeatureCache
from vidret.data.errors import DamagedError, MissingError
from vidret.data.manifest import MANIFEST, Removed, read_manifest, write_manifest
from vidret.data.pixels.reader import PixelReader, read_pixel_table
from vidret.data.shards import read_failures, read_sources, write_caption_shard, write_video_shard
from vidret.data.upkeep.check import verify_cache
from vidret.data.upkeep.sweep import find_garbage, remove_cache, remove_stray, sweep_cache

SWEEP_AND_DIE = """
import os, sys
from pathlib import Path
from vidret.data.upkeep import sweep
def die(*_):
    os.kill(os.getpid(), 9)
setattr(sweep, sys.argv[2], die)
sweep.sweep_cache(Path(sys.argv[1]))
"""

REMOVE_AND_DIE = """
import os, sys
from pathlib import Path
from vidret.data.upkeep import sweep
keep = sweep.remove_file
def remove_one(path):
    keep(path)
    os.kill(os.getpid(), 9)
sweep.remove_file = remove_one
sweep.remove_cache(Path(sys.argv[1]))
"""


@pytest.fixture
def growing(tmp_path):
    """Six videos in three shards, of which v5 fails; then three leave, and a caption."""
    made = Growing(tmp_path / "videos", tmp_path / "cache")
    made.put(v0="first", v1="second", v2="third", v3="fourth", v4="fifth", v5="bad")
    made.captions = {"c0": ("v0", "a dog"), "c1": ("v1", "a cat"), "c2": ("v4", "rain")}
    made.extract()
    for name in ("v0", "v2", "v3"):
        (made.root / name).unlink()
    made.extract()
    return made


def seen(folder):
    split = FeatureCache.open(folder).load("all")
    return (
        {id_: split.frames[row].tobytes() for row, id_ in enumerate(split.video_ids)},
        {id_: split.sentence[row].tobytes() for row, id_ in enumerate(split.caption_ids)},
        [failure.id for failure in FeatureCache.open(folder).failures()],
    )


def told(garbage):
    return [(one.path.name, one.what) for one in garbage]


def size(folder):
    return sum(path.stat().st_size for path in folder.glob("*.h5"))


def test_rows_that_left_the_dataset_go_and_the_others_stay_as_they_are(growing):
    before, room = seen(growing.cache), size(growing.cache)
    found = sweep_cache(growing.cache)
    assert told(found) == [
        ("captions-00000.h5", "1 of 3 items left the dataset"),
        ("videos-00000.h5", "1 of 2 items left the dataset"),
        ("videos-00001.h5", "2 of 2 items left the dataset"),
    ]
    assert sum(one.bytes for one in found) == room - size(growing.cache)
    assert seen(growing.cache) == before
    assert read_manifest(growing.cache).removed == Removed()
    assert verify_cache(growing.cache) == []
    assert growing.extract() == [], "nothing of the dataset was lost"


def test_a_second_sweep_finds_nothing(growing):
    sweep_cache(growing.cache)
    assert find_garbage(growing.cache) == sweep_cache(growing.cache) == []


def test_a_video_that_comes_back_after_a_sweep_is_encoded_again(growing):
    sweep_cache(growing.cache)
    growing.put(v0="first")
    assert growing.extract() == ["v0", "c0"]


def test_looking_for_garbage_changes_nothing(growing):
    (growing.cache / "videos-00009.h5.ab.part").write_bytes(b"half")
    before = {path: path.read_bytes() for path in growing.cache.iterdir()}
    found = find_garbage(growing.cache)
    assert {path: path.read_bytes() for path in growing.cache.iterdir()} == before
    assert told(found) == told(sweep_cache(growing.cache))


def test_half_written_and_unlisted_files_go(tmp_path):
    folder = write_toy_cache(tmp_path / "toy")
    (folder / "videos-00001.h5.ab.part").write_bytes(b"half")
    write_caption_shard(folder / "captions-00007.h5", [a_caption(9, 0)], "abc")
    (folder / "videos-00008.h5").write_bytes(b"no shard")
    (folder / "failures.md").write_text("stays")
    (folder / "mine.h5").write_text("stays")
    assert told(sweep_cache(folder)) == [
        ("videos-00001.h5.ab.part", "half-written"),
        ("captions-00007.h5", "not in the manifest"),
        ("videos-00008.h5", "not in the manifest"),
    ]
    assert [problem.file for problem in verify_cache(folder)] == ["mine.h5"]
    assert (folder / "failures.md").exists()


def test_what_a_run_that_has_not_finished_may_take_up_stays(tmp_path):
    folder = write_toy_cache(tmp_path / "toy", complete=False)
    digest = read_manifest(folder).fingerprint.features_digest
    write_video_shard(folder / "videos-00005.h5", [a_video(9)], [], digest)
    write_video_shard(folder / "videos-00006.h5", [a_video(10)], [], "other settings")
    assert told(remove_stray(folder)) == [("videos-00006.h5", "not in the manifest")]
    assert (folder / "videos-00005.h5").exists()


def test_a_failure_that_left_the_dataset_goes_too(tmp_path):
    folder = write_toy_cache(tmp_path / "toy")
    manifest = read_manifest(folder)
    write_manifest(folder, replace(manifest, removed=Removed(videos=("v5",))))
    sweep_cache(folder)
    shards = [entry.file for entry in read_manifest(folder).shards if entry.kind == "video"]
    assert [read_failures(folder / file) for file in shards] == [[], []]
    assert FeatureCache.open(folder).failures() == []
    assert a_failure(5).id not in FeatureCache.open(folder).load("train").video_ids


@pytest.mark.parametrize("moment", ["write_video_shard", "write_manifest", "remove_file"])
def test_a_sweep_killed_at_any_moment_loses_nothing_and_can_be_given_again(growing, moment):
    before = seen(growing.cache)
    killed = subprocess.run(
        [sys.executable, "-c", SWEEP_AND_DIE, growing.cache, moment], check=False
    )
    assert killed.returncode == -9
    assert seen(growing.cache) == before
    assert growing.extract() == []
    assert seen(growing.cache) == before
    sweep_cache(growing.cache)
    assert seen(growing.cache) == before
    assert verify_cache(growing.cache) == find_garbage(growing.cache) == []


def test_a_damaged_shard_is_not_swept_but_named(growing):
    (growing.cache / "videos-00000.h5").write_bytes(b"no shard")
    with pytest.raises(DamagedError, match=r"videos-00000.*vidret cache repair"):
        sweep_cache(growing.cache)
    assert (growing.cache / "videos-00001.h5").exists()


def test_a_folder_that_is_no_cache_stays_as_it_is(tmp_path):
    for what in (sweep_cache, find_garbage):
        with pytest.raises(MissingError, match="no cache"):
            what(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_a_whole_cache_can_be_removed(growing):
    (growing.cache / "below").mkdir()
    (growing.cache / "below" / "plot.svg").write_text("x")
    room = sum(path.stat().st_size for path in growing.cache.rglob("*") if path.is_file())
    assert remove_cache(growing.cache).bytes == room
    assert not growing.cache.exists()


def test_a_cache_is_no_cache_as_soon_as_its_removal_begins(growing):
    done = subprocess.run([sys.executable, "-c", REMOVE_AND_DIE, growing.cache], check=False)
    assert done.returncode == -9
    assert not (growing.cache / MANIFEST).exists()
    assert (growing.cache / "videos-00000.h5").exists()


def test_pixels_of_what_left_the_dataset_go_and_the_others_stay_to_the_bit(tmp_path):
    folder = write_toy_cache(tmp_path / "toy")
    entry = write_pixels(folder / "pixels-00000.h5", 0, 1, 2)
    manifest = read_manifest(folder)
    with PixelReader(folder / entry.file) as reader:
        before = {row: (reader.pictures(row), reader.sound(row)) for row in (0, 2)}
    gone = Removed(videos=("v1",))
    write_manifest(folder, replace(manifest, shards=(*manifest.shards, entry), removed=gone))
    assert told(sweep_cache(folder)) == [
        ("pixels-00000.h5", "1 of 3 items left the dataset"),
        ("videos-00000.h5", "1 of 2 items left the dataset"),
    ]
    (left,) = [one for one in read_manifest(folder).shards if one.kind == "pixel"]
    table = read_pixel_table(folder / left.file)
    assert (table.ids, table.content_hash) == (["v0", "v2"], ["hash0", "hash2"])
    with PixelReader(folder / left.file) as reader:
        for new, old in ((0, 0), (1, 2)):
            np.testing.assert_array_equal(reader.pictures(new), before[old][0])
            np.testing.assert_array_equal(reader.sound(new), before[old][1])
    assert verify_cache(folder) == []


@pytest.mark.parametrize(("held", "gone"), [((0, 2), "v1"), ((0, 1), "v0")])
def test_pixels_stay_beside_the_shard_that_was_encoded_from_them(tmp_path, held, gone):
    folder = write_toy_cache(tmp_path / "toy")
    entry = write_pixels(folder / "pixels-00000.h5", *held)
    shards = (*read_manifest(folder).shards, entry)
    removed = Removed(videos=(gone,))
    write_manifest(folder, replace(read_manifest(folder), shards=shards, removed=removed))
    sweep_cache(folder)
    files = [one.file for one in read_manifest(folder).shards if one.kind != "caption"]
    assert files == ["pixels-00002.h5", "videos-00001.h5", "videos-00002.h5"]
    (kept,) = {0, 1} - {int(gone[1])}
    assert read_sources(folder / "videos-00002.h5").ids == [f"v{kept}"]
    ids = [f"v{number}" for number in held if f"v{number}" != gone]
    assert read_pixel_table(folder / "pixels-00002.h5").ids == ids
    assert verify_cache(folder) == []
