import logging
import pickle

import numpy as np
import pytest
from making.caches import a_video
from making.pixels import a_crop, write_pixels

from vidret.data.errors import DamagedError
from vidret.data.pixels.index import PixelIndex, PixelPlace, find_pixels
from vidret.data.pixels.reader import PixelReader
from vidret.data.shards import write_video_shard


@pytest.fixture
def caches(tmp_path):
    """Two cache folders without a manifest: `find_pixels` asks for none."""
    for name in ("first", "second"):
        (tmp_path / "cache" / name).mkdir(parents=True)
    return tmp_path / "cache"


def test_every_file_is_found_by_its_content_in_any_cache_folder(tmp_path, caches):
    write_pixels(caches / "first" / "pixels-00000.h5", 1, 2)
    write_pixels(caches / "first" / "pixels-00001.h5", 3)
    write_pixels(caches / "second" / "pixels-00000.h5", 4)
    index = find_pixels(tmp_path, "abc")
    assert len(index) == 4
    for number in (1, 2, 3, 4):
        place = index.find(f"hash{number}", 1000 + number)
        with PixelReader(place.path) as reader:
            np.testing.assert_array_equal(reader.pictures(place.row)[0], a_crop(number))


def test_a_file_of_another_size_or_content_is_not_found(tmp_path, caches):
    write_pixels(caches / "first" / "pixels-00000.h5", 1)
    index = find_pixels(tmp_path, "abc")
    assert index.find("hash1", 1001) is not None
    assert index.find("hash1", 1002) is None
    assert index.find("hash2", 1001) is None


def test_pixels_of_another_digest_are_none_of_ours(tmp_path, caches):
    write_pixels(caches / "first" / "pixels-00000.h5", 1)
    write_pixels(caches / "second" / "pixels-00000.h5", 2, digest="other")
    assert find_pixels(tmp_path, "other").find("hash1", 1001) is None
    assert find_pixels(tmp_path, "other").find("hash2", 1002) is not None


def test_of_two_places_the_first_counts(tmp_path, caches):
    write_pixels(caches / "first" / "pixels-00000.h5", 1, 2)
    write_pixels(caches / "second" / "pixels-00000.h5", 2)
    place = find_pixels(tmp_path, "abc").find("hash2", 1002)
    assert place == PixelPlace(caches / "first" / "pixels-00000.h5", 1)


def test_a_damaged_shard_is_left_out_with_a_warning(tmp_path, caches, caplog):
    write_pixels(caches / "first" / "pixels-00000.h5", 1)
    damaged = caches / "second" / "pixels-00000.h5"
    write_pixels(damaged, 2)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        index = find_pixels(tmp_path, "abc")
    assert (index.find("hash1", 1001) is not None, index.find("hash2", 1002)) == (True, None)
    assert str(damaged) in caplog.text


def test_half_written_shards_and_other_kinds_are_not_looked_at(tmp_path, caches, caplog):
    write_video_shard(caches / "first" / "videos-00000.h5", [a_video(0)], [], "abc")
    (caches / "first" / "pixels-00000.h5.abc.part").write_bytes(b"begun")
    assert len(find_pixels(tmp_path, "abc")) == 0
    assert caplog.text == ""


def test_a_work_folder_without_a_cache_has_no_pixels(tmp_path):
    assert len(find_pixels(tmp_path / "absent", "abc")) == 0


def test_a_shard_of_another_kind_is_refused(tmp_path):
    write_video_shard(tmp_path / "videos.h5", [a_video(0)], [], "abc")
    with pytest.raises(DamagedError, match="video shard, where pixels should be"):
        PixelIndex().add(tmp_path / "videos.h5", "abc")


def test_a_place_is_small_to_send(tmp_path, caches):
    write_pixels(caches / "first" / "pixels-00000.h5", *range(50))
    place = find_pixels(tmp_path, "abc").find("hash7", 1007)
    assert len(pickle.dumps(place)) < 500
