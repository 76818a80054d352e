import resource
from contextlib import contextmanager

import h5py
import numpy as np
import pytest

from vidret.data.storage.patient_file import PatientFile, new_hdf5


@contextmanager
def disk_full_at(size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1, 500, 1000, 10_000])
def test_the_file_reads_as_if_there_had_been_room(tmp_path, room):
    draw = np.random.default_rng(room)
    truth = bytearray(4000)
    with disk_full_at(room), PatientFile(tmp_path / "file") as file:
        for _ in range(100):
            place, length = draw.integers(0, 3000), draw.integers(1, 1000)
            block = draw.bytes(length)
            file.seek(place)
            assert file.write(block) == length
            assert file.tell() == place + length
            truth[place : place + length] = block
        read, end = bytearray(3000), 3000
        file.seek(0)
        assert file.readinto(read) == end
        assert read == truth[:end]
        assert (file.error is None) == (room > len(truth))


def test_the_first_error_is_kept_and_raised_when_asked_for(tmp_path):
    with disk_full_at(10), PatientFile(tmp_path / "file") as file:
        file.check()
        file.write(bytes(8))
        file.check()
        file.write(bytes(8))
        with pytest.raises(OSError, match="File too large"):
            file.check()
        assert file.truncate(100) == 100
    assert (tmp_path / "file").stat().st_size == 10


def test_an_hdf5_file_with_room_is_an_hdf5_file(tmp_path):
    with new_hdf5(tmp_path / "file.h5") as (file, _):
        file["values"] = np.arange(5)
    with h5py.File(tmp_path / "file.h5") as found:
        assert found["values"][...].tolist() == [0, 1, 2, 3, 4]


def test_an_hdf5_file_without_room_is_an_error_of_the_disk_and_closes(tmp_path):
    def write():
        with new_hdf5(tmp_path / "file.h5") as (file, _):
            file["values"] = np.arange(5000)
            opened.append(file)

    opened = []
    with disk_full_at(10_000), pytest.raises(OSError, match="File too large"):
        write()
    assert not opened[0]


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        PatientFile(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"old"
