import errno
import fcntl
import logging
import os
import socket
import subprocess
import sys

import pytest

from vidret.data.errors import MissingError
from vidret.data.storage.locks import LOCK, OWNED, folder_lock

HOLDER = """
import sys
from pathlib import Path
from vidret.data.storage.locks import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""

LOCKLESS = """
import errno, fcntl
def flock(handle, operation):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""

EXTRACT_AND_READ = """
import sys
from pathlib import Path
from making.caches import write_toy_cache
from vidret.data.cache import FeatureCache
from vidret.data.upkeep.check import verify_cache
from vidret.data.storage.locks import folder_lock
folder = Path(sys.argv[1])
with folder_lock(folder):
    write_toy_cache(folder)
assert verify_cache(folder) == []
assert FeatureCache.open(folder).load("train", view="lazy").frames[0].any()
"""


@pytest.fixture
def no_locks(monkeypatch, request):
    """A file system as NFS without its lock daemon shows itself."""
    number = getattr(request, "param", errno.ENOLCK)

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def hold(folder, *, before=""):
    return subprocess.Popen(
        [sys.executable, "-c", before + HOLDER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def refusal(folder):
    with pytest.raises(MissingError) as caught, folder_lock(folder):
        pass
    return str(caught.value)


@pytest.mark.parametrize("before", ["", LOCKLESS])
def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path, before, request):
    folder = tmp_path / "new" / "cache"
    if before:
        request.getfixturevalue("no_locks")
    with hold(folder, before=before) as holder:
        assert holder.stdout.readline() == "locked\n"
        told = refusal(folder)
        assert f"being written by process {holder.pid} on {socket.gethostname()}" in told
        assert ("remove" in told) == bool(before), "the way out where the kernel knows no lock"
        holder.kill()
    with folder_lock(folder):  # a killed writer holds nothing
        pass


@pytest.mark.parametrize("no_locks", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS], indirect=True)
@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_file_marks_the_writer_and_the_log_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with folder_lock(tmp_path):
        assert (tmp_path / OWNED).read_text().startswith(f"process {os.getpid()} on ")
        assert "being written by" in refusal(tmp_path)
    assert not (tmp_path / OWNED).exists()
    assert "without locks" in caplog.text


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_block_that_fails_leaves_no_mark(tmp_path):
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path):
        raise ZeroDivisionError
    assert not (tmp_path / OWNED).exists()


@pytest.mark.parametrize("holder", ["process 1 on elsewhere", "", "half a li"])
@pytest.mark.usefixtures("no_locks")
def test_a_mark_that_may_be_of_another_host_is_respected_and_named(tmp_path, holder):
    (tmp_path / OWNED).write_text(holder)
    told = refusal(tmp_path)
    assert f"remove {tmp_path / OWNED}" in told
    assert (tmp_path / OWNED).read_text() == holder


def test_another_error_of_a_lock_is_no_missing_lock(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert "Input/output error; choose another folder with --work" in refusal(tmp_path)


@pytest.mark.parametrize("lockless", ["", LOCKLESS])
@pytest.mark.parametrize("hdf5_locks", ["TRUE", "FALSE"])
def test_a_cache_is_written_and_read_whatever_hdf5_thinks_of_locks(tmp_path, hdf5_locks, lockless):
    path = os.pathsep.join(place for place in sys.path if place)
    subprocess.run(
        [sys.executable, "-c", lockless + EXTRACT_AND_READ, tmp_path / "cache"],
        env=os.environ | {"HDF5_USE_FILE_LOCKING": hdf5_locks, "PYTHONPATH": path},
        check=True,
    )


def test_a_lock_is_free_again_after_its_block(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), folder_lock(tmp_path):
            raise ZeroDivisionError
    assert (tmp_path / LOCK).read_text() == ""


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path):
    (tmp_path / "videos-00009.h5.0123.part").write_bytes(b"half")
    with folder_lock(tmp_path):
        assert not list(tmp_path.glob("*.part"))


def test_a_folder_that_cannot_be_written_to_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "file").write_text("")
    assert "choose another folder with --work" in refusal(tmp_path / "file" / "cache")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to a read-only folder")
def test_a_read_only_folder_is_refused_with_the_way_out(tmp_path):
    tmp_path.chmod(0o555)
    assert "Permission denied" in refusal(tmp_path)
