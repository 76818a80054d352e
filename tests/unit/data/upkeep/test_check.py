from making.caches import flip_a_bit, write_toy_cache

from vidret.data.upkeep.check import damaged_shards


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


def test_a_folder_without_a_manifest_names_nothing(tmp_path):
    assert not damaged_shards(tmp_path, ())
