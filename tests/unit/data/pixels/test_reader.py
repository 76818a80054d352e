import fcntl
import multiprocessing
import os
import pickle
from dataclasses import asdict

import h5py
import numpy as np
import pytest
from making.caches import a_caption, a_video
from making.pixels import SIDE, a_crop, a_file, a_sound, named, some_facts, write_pixels

from vidret.data.errors import DamagedError, MismatchError
from vidret.data.pixels.reader import PixelReader, read_pixel_table
from vidret.data.pixels.writer import new_pixel_shard
from vidret.data.samples import AudioState
from vidret.data.shards import write_caption_shard, write_video_shard


@pytest.fixture
def path(tmp_path):
    write_pixels(tmp_path / "pixels.h5", 3, 5)
    return tmp_path / "pixels.h5"


@pytest.fixture
def long_path(tmp_path):
    """One video with 7 pictures and 10 samples, behind another."""
    with new_pixel_shard(tmp_path / "long.h5", "abc", SIDE) as writer:
        for number, pictures in enumerate((2, 7)):
            writer.begin(a_file(number))
            writer.add_sound(a_sound(number, 10))
            for value in range(pictures):
                writer.add_picture(a_crop(10 * number + value))
            writer.finish(some_facts(pictures), **named(number))
    return tmp_path / "long.h5"


def change(path, name, values):
    with h5py.File(path, "a") as shard:
        del shard[name]
        shard[name] = values


def test_the_table_says_all_but_the_arrays(tmp_path):
    path = tmp_path / "pixels.h5"
    facts = some_facts(1, AudioState.SILENT, partial=True, codec="vp9", width=64, num_frames=9)
    with new_pixel_shard(path, "abc", SIDE) as writer:
        writer.begin(a_file(3, split="val"))
        writer.add_picture(a_crop(3))
        writer.finish(facts, **named(3))
    table = read_pixel_table(path)
    assert (table.side, table.ids, table.split) == (SIDE, ["v3"], ["val"])
    assert (table.path, table.content_hash) == (["clips/v3.mp4"], ["hash3"])
    assert (table.size.tolist(), table.samples.tolist(), table.failures) == ([1003], [0], [])
    assert asdict(table.facts[0]) == asdict(facts)


def test_each_video_has_its_own_times_and_indices(long_path):
    facts = read_pixel_table(long_path).facts
    assert [len(one.times) for one in facts] == [2, 7]
    assert facts[1].indices.tolist() == [0, 7, 14, 21, 28, 35, 42]


def test_pictures_are_read_whole_in_part_and_piece_by_piece(long_path):
    expected = np.stack([a_crop(10 + value) for value in range(7)])
    with PixelReader(long_path) as reader:
        assert (reader.num_pictures(0), reader.num_pictures(1)) == (2, 7)
        np.testing.assert_array_equal(reader.pictures(1), expected)
        np.testing.assert_array_equal(reader.pictures(1, 2, 4), expected[2:4])
        np.testing.assert_array_equal(reader.pictures(1, 5), expected[5:])
        assert reader.pictures(0, 2).shape == (0, 3, SIDE, SIDE)  # not those of the next video
        parts = list(reader.iter_pictures(1, at_once=3))
    assert [len(part) for part in parts] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_sound_is_read_whole_and_piece_by_piece(long_path):
    with PixelReader(long_path) as reader:
        assert reader.sound(1).dtype == np.float32
        np.testing.assert_array_equal(reader.sound(1), a_sound(1, 10))
        parts = list(reader.iter_sound(1, at_once=4))
    assert [len(part) for part in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(parts), a_sound(1, 10))


def test_a_reader_opens_again_after_it_was_closed(path):
    reader = PixelReader(path)
    for _ in range(2):
        np.testing.assert_array_equal(reader.pictures(1, 0, 1), [a_crop(5)])
        reader.close()


def test_a_reader_travels_without_its_open_file(path):
    with PixelReader(path) as reader:
        reader.pictures(0)
        sent = pickle.dumps(reader)
    assert len(sent) < 500
    with pickle.loads(sent) as received:
        np.testing.assert_array_equal(received.pictures(1, 0, 1), [a_crop(5)])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # torch has threads; Python 3.12
def test_a_fork_opens_a_file_of_its_own(path):
    def look():
        before = reader._opened.process
        right = np.array_equal(reader.pictures(1), [a_crop(5), a_crop(105)])
        os._exit(0 if right and before != reader._opened.process == os.getpid() else 1)

    with PixelReader(path) as reader:
        reader.pictures(0)
        child = multiprocessing.get_context("fork").Process(target=look)
        child.start()
        child.join()
        assert child.exitcode == 0
        np.testing.assert_array_equal(reader.pictures(0, 0, 1), [a_crop(3)])


def test_a_shard_can_be_read_while_someone_holds_a_lock_on_it(path):
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as HDF5 itself would while writing
        assert read_pixel_table(path).ids == ["v3", "v5"]
        with PixelReader(path) as reader:
            assert len(reader.pictures(0)) == 2


def test_a_shard_that_was_cut_off_is_damage_and_the_error_says_how_to_repair(path):
    path.write_bytes(path.read_bytes()[:-100])
    for read in (read_pixel_table, PixelReader(path).num_pictures, PixelReader(path).sound):
        with pytest.raises(DamagedError, match=r"pixels\.h5 cannot be read.*vidret cache repair"):
            read(path) if read is read_pixel_table else read(0)


def test_pictures_whose_place_in_the_file_is_lost_are_damage(path):
    path.write_bytes(path.read_bytes().replace(b"TREE\x01", b"LOST\x01"))  # where the chunks lie
    with PixelReader(path) as reader:
        assert reader.num_pictures(0) == 2
        with pytest.raises(DamagedError, match=r"pixels\.h5 cannot be read.*vidret cache repair"):
            reader.pictures(0)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("pixels/stop", [2, 5]),
        ("pixels/start", [-1, 2]),
        ("waveform/start", [4, 3]),
        ("waveform/stop", [3, 7]),
        ("times", [0.0]),
        ("pixels/stop", [2, 4, 4]),
        ("audio_state", ["ok", "loud"]),
        ("source/width", [1]),
    ],
)
def test_a_table_that_does_not_fit_its_arrays_is_damage(path, name, values):
    change(path, name, values)
    with pytest.raises(DamagedError, match=r"pixels\.h5 cannot be read"):
        read_pixel_table(path)


def test_rows_beyond_the_array_are_damage_to_the_reader_too(path):
    change(path, "pixels/stop", [2, 5])
    with pytest.raises(DamagedError, match="rows of pixels"):
        PixelReader(path).pictures(0)


def test_another_kind_of_shard_is_no_pixel_shard(tmp_path):
    write_video_shard(tmp_path / "videos.h5", [a_video(0)], [], "abc")
    write_caption_shard(tmp_path / "captions.h5", [a_caption(0, 0)], "abc")
    with pytest.raises(DamagedError, match="video shard, where pixels should be"):
        read_pixel_table(tmp_path / "videos.h5")
    with pytest.raises(DamagedError, match="caption shard, where pixels should be"):
        PixelReader(tmp_path / "captions.h5").pictures(0)


def test_a_shard_of_a_newer_format_is_refused_as_such(path):
    with h5py.File(path, "a") as shard:
        shard.attrs["format"] = 99
    with pytest.raises(MismatchError, match="has format 99"):
        PixelReader(path).pictures(0)
