import hashlib
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import h5py
import numpy as np
import pytest
from making.pixels import (
    SIDE,
    a_crop,
    a_failure_of,
    a_file,
    a_sound,
    named,
    some_facts,
    write_pixels,
)

from vidret.data.errors import EncodeError, MissingError
from vidret.data.pixels.reader import PixelReader, read_pixel_table
from vidret.data.pixels.writer import new_pixel_shard
from vidret.data.samples import AudioState, Failure
from vidret.data.storage.hdf5 import checksum, read_shard_entry

# Each limit in turn is where a disk is full: among the pictures, and in what closing writes.
FILL_DISKS = """
import os, resource, sys
from pathlib import Path
import numpy as np
from making.pixels import a_file, a_sound, named, some_facts
from vidret.data.errors import MissingError
from vidret.data.pixels.writer import new_pixel_shard

def write():
    with new_pixel_shard(Path(sys.argv[1]) / "pixels.h5", "abc", 224) as writer:
        for number in range(2):
            writer.begin(a_file(number))
            writer.add_sound(a_sound(number, 70_000))
            for value in range(3):
                writer.add_picture(np.full((3, 224, 224), value, np.uint8))
            writer.finish(some_facts(3), **named(number))
    return writer.entry.bytes

most = write()
os.unlink(Path(sys.argv[1]) / "pixels.h5")
for limit in [*range(1, 20_000, 997), *range(20_000, most, 100_000), most - 5000, most - 1]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write()
    except MissingError as error:
        assert "no room for" in str(error), error
    else:
        raise AssertionError(limit)
open_files = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
print(*(name for name in open_files if "pixels" in name), *os.listdir(sys.argv[1]), "end")
"""


def write_one(path, video, facts):
    with new_pixel_shard(path, "abc", SIDE) as writer:
        writer.begin(video)
        writer.add_picture(a_crop(1))
        writer.finish(facts, **named(1))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def disk_full_at(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_pixel_shard_holds_what_was_given(tmp_path):
    path = tmp_path / "pixels.h5"
    write_pixels(path, 3, 5)
    with h5py.File(path) as shard:
        said = {name: value for name, value in shard.attrs.items() if name != "content"}
        assert said == {"format": 2, "kind": "pixel", "fingerprint": "abc"}
        assert shard["pixels/values"].dtype == np.uint8
        np.testing.assert_array_equal(
            shard["pixels/values"], [a_crop(3), a_crop(103), a_crop(5), a_crop(105)]
        )
        assert shard["pixels/start"][...].tolist() == [0, 2]
        assert shard["pixels/stop"][...].tolist() == [2, 4]
        assert shard["waveform/values"].dtype == np.float32
        expected = np.array([3, 4, 5, 5, 6, 7]) / 3
        np.testing.assert_array_equal(shard["waveform/values"], expected.astype(np.float32))
        assert shard["waveform/start"][...].tolist() == [0, 3]
        assert shard["waveform/stop"][...].tolist() == [3, 6]
        assert shard["indices"][...].tolist() == [0, 7, 0, 7]
        np.testing.assert_array_equal(shard["times"], [0, 1 / 3, 0, 1 / 3])


def test_the_entry_is_what_the_file_alone_says(tmp_path):
    path = tmp_path / "pixels-00003.h5"
    with new_pixel_shard(path, "abc", SIDE) as writer:
        writer.fail(a_failure_of(7))
        writer.begin(a_file(1))
        writer.add_picture(a_crop(1))
        writer.finish(some_facts(1, AudioState.NO_STREAM), **named(1))
    entry = writer.entry
    assert (entry.file, entry.kind, entry.items, entry.failed) == (path.name, "pixel", 1, 1)
    assert (entry.bytes, entry.checksum) == (path.stat().st_size, checksum(path))
    assert entry.fingerprint == "abc"
    assert read_shard_entry(path) == entry


def test_a_restart_takes_back_the_pictures_and_keeps_the_sound(tmp_path):
    path = tmp_path / "pixels.h5"
    with new_pixel_shard(path, "abc", 224) as writer:  # of this size each picture is a chunk
        writer.begin(a_file(1))
        writer.add_sound(a_sound(0, 70_000))
        for value in range(3):
            writer.add_picture(a_crop(value, 224))
        writer.restart()
        writer.add_picture(a_crop(9, 224))
        writer.finish(some_facts(1), **named(1))
    with h5py.File(path) as shard:  # and nothing of the others is left
        np.testing.assert_array_equal(shard["pixels/values"], [a_crop(9, 224)])
        np.testing.assert_array_equal(shard["waveform/values"], a_sound(0, 70_000))


def test_sound_that_turns_out_to_be_worth_nothing_is_not_kept(tmp_path):
    path = tmp_path / "pixels.h5"
    with new_pixel_shard(path, "abc", SIDE) as writer:
        for number, state in enumerate([AudioState.SILENT, AudioState.OK, AudioState.FAILED]):
            writer.begin(a_file(number))
            writer.add_sound(a_sound(number, 70_000))
            writer.add_picture(a_crop(number))
            writer.finish(some_facts(1, state), **named(number))
    assert read_pixel_table(path).samples.tolist() == [0, 70_000, 0]
    with h5py.File(path) as shard:
        np.testing.assert_array_equal(shard["waveform/values"], a_sound(1, 70_000))


def test_a_video_that_fails_midway_leaves_only_its_failure(tmp_path):
    path = tmp_path / "pixels.h5"
    with new_pixel_shard(path, "abc", SIDE) as writer:
        writer.begin(a_file(1))
        writer.add_sound(a_sound(0, 70_000))
        writer.add_picture(a_crop(1))
        writer.fail(a_failure_of(1))
        writer.begin(a_file(2))
        writer.add_picture(a_crop(2))
        writer.finish(some_facts(1), **named(2))
    table = read_pixel_table(path)
    assert (table.ids, table.failures) == (["v2"], [a_failure_of(1)])
    with PixelReader(path) as reader:
        np.testing.assert_array_equal(reader.pictures(0), [a_crop(2)])
        assert reader.num_samples(0) == 0


def test_the_same_videos_give_the_same_bytes(tmp_path):
    first, second = tmp_path / "first.h5", tmp_path / "second.h5"
    write_pixels(first, 1, 2, 3)
    time.sleep(1.1)  # HDF5 keeps times by the second, where it is let
    write_pixels(second, 1, 2, 3)
    assert sha256(first) == sha256(second)


def test_a_shard_whose_videos_all_failed_is_a_shard(tmp_path):
    path = tmp_path / "pixels.h5"
    with new_pixel_shard(path, "abc", SIDE) as writer:
        writer.fail(a_failure_of(1))
    assert (writer.entry.items, writer.entry.failed) == (0, 1)
    table = read_pixel_table(path)
    assert (table.ids, table.facts, table.side) == ([], [], SIDE)


def test_memory_does_not_grow_with_the_sound(tmp_path):
    """Eight minutes of sound are 61 MB; a process that kept them would show it."""
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from making.pixels import a_crop, a_file, named, some_facts
from vidret.data.pixels.writer import new_pixel_shard

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

with new_pixel_shard(Path(sys.argv[1]), "abc", 224) as writer:
    writer.begin(a_file(1))
    for number in range(2000):
        if number == 200:
            before = most()
        writer.add_sound(np.full(7680, number, np.float32))
        if number % 10 == 0:
            writer.add_picture(a_crop(number, 224))
    writer.finish(some_facts(200), **named(1))
print(most() - before)
"""
    grown = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "pixels.h5"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "tests"},
    )
    assert (tmp_path / "pixels.h5").stat().st_size > 90e6
    assert int(grown.stdout) < 24 * 1024  # kilobytes


def test_what_the_block_raises_leaves_nothing_and_stays_as_it_is(tmp_path):
    def write():
        with new_pixel_shard(tmp_path / "pixels.h5", "abc", SIDE) as writer:
            writer.begin(a_file(1))
            writer.add_picture(a_crop(1))
            raise RuntimeError("of the encoder")

    with pytest.raises(RuntimeError, match="of the encoder"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"cannot write to .*absent.*--work"):
        write_pixels(tmp_path / "absent" / "pixels.h5", 1)


def test_a_full_disk_ends_the_shard_at_the_picture_that_found_no_room(tmp_path):
    added = []

    def write():
        with new_pixel_shard(tmp_path / "pixels.h5", "abc", 224) as writer:
            writer.begin(a_file(1))
            for value in range(100):
                writer.add_picture(a_crop(value, 224))
                added.append(value)

    with disk_full_at(1_000_000), pytest.raises(MissingError, match=r"no room for .*pixels\.h5"):
        write()
    assert len(added) == 6  # of 150,528 bytes each
    assert list(tmp_path.iterdir()) == []


def test_wherever_a_disk_is_full_nothing_is_left_and_the_process_ends_in_peace(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", FILL_DISKS, tmp_path],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "tests"},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "end\n", "")


def test_names_that_are_not_utf8_come_back(tmp_path):
    path, name = tmp_path / "pixels.h5", os.fsdecode(b"clips/\xff\xe9t\xe9.mp4")
    failure = Failure(id=name, path=name, stage="decode", reason="moov\0 atom")
    with new_pixel_shard(path, "abc", SIDE) as writer:
        writer.begin(replace(a_file(1), id=name))
        writer.add_picture(a_crop(1))
        writer.finish(some_facts(1), **named(1) | {"path": name})
        writer.fail(failure)
    table = read_pixel_table(path)
    assert (table.ids, table.path) == ([name], [name])
    assert table.failures == [replace(failure, reason=r"moov\0 atom")]


def test_a_name_that_hdf5_would_not_give_back_is_refused(tmp_path):
    with pytest.raises(EncodeError, match="v1: split is"):
        write_one(tmp_path / "pixels.h5", a_file(1, split="a\0b"), some_facts(1))
    assert list(tmp_path.iterdir()) == []


def test_facts_that_do_not_fit_the_pictures_are_a_bug(tmp_path):
    with pytest.raises(AssertionError, match="v1"):
        write_one(tmp_path / "pixels.h5", a_file(1), some_facts(2))
