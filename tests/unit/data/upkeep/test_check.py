from dataclasses import replace

from making.caches import flip_a_bit, write_toy_cache

from vidret.data.manifest import MANIFEST, read_manifest, write_manifest
from vidret.data.upkeep.check import damaged_shards, repair_cache, verify_cache


def test_shards_that_are_not_as_they_were_written_are_named(tmp_path):
    folder = write_toy_cache(tmp_path / "cache")
    flip_a_bit(folder / "videos-00001.h5", 3000)
    (folder / "captions-00000.h5").unlink()
    found = {problem.file: problem.what for problem in damaged_shards(folder, ())}
    assert found == {
        "videos-00001.h5": "has other bytes than were written",
        "captions-00000.h5": "is not there",
    }


def test_shards_that_were_looked_at_are_not_looked_at_again(tmp_path):
    folder = write_toy_cache(tmp_path / "cache")
    flip_a_bit(folder / "videos-00001.h5", 3000)
    assert not damaged_shards(folder, ["videos-00001.h5"])


def test_an_empty_folder_has_nothing_damaged(tmp_path):
    assert not damaged_shards(tmp_path, ())


def test_without_a_manifest_shards_are_held_against_their_own_seal(tmp_path):
    folder = write_toy_cache(tmp_path / "cache")
    (folder / MANIFEST).unlink()
    assert not damaged_shards(folder, ())
    path = folder / "captions-00000.h5"
    flip_a_bit(path, path.read_bytes().index(b"c0"))
    [problem] = damaged_shards(folder, ())
    assert (problem.file, problem.what) == (path.name, "has other bytes than were written")


def test_a_damaged_shard_that_no_manifest_names_is_found_and_removed(tmp_path):
    folder = write_toy_cache(tmp_path / "cache")
    manifest = read_manifest(folder)
    kept = tuple(entry for entry in manifest.shards if entry.kind == "video")
    write_manifest(folder, replace(manifest, shards=kept, complete=False))
    assert verify_cache(folder) == []
    path = folder / "captions-00000.h5"
    flip_a_bit(path, path.read_bytes().index(b"c0"))
    assert [problem.file for problem in verify_cache(folder)] == [path.name]
    repair_cache(folder)
    assert not path.exists()
