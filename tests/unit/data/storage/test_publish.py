import signal
import subprocess
import sys

import pytest

from vidret.data.errors import MissingError
from vidret.data.storage.publish import publish

KILLED_WRITER = """
import sys, time
from pathlib import Path
from vidret.data.storage.publish import publish
with publish(Path(sys.argv[1])) as part:
    part.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


def names(folder):
    return [path.name for path in folder.iterdir()]


def test_a_file_appears_when_the_block_has_ended_and_not_before(tmp_path):
    path = tmp_path / "a.json"
    with publish(path) as part:
        part.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(tmp_path) == ["a.json"]


def test_an_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), publish(path) as part:
        part.write_text("half") and 1 / 0
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a.json"
    with publish(path) as first, publish(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # it ended last
    assert names(tmp_path) == ["a.json"]


def test_what_the_system_says_is_passed_on_with_the_way_out(tmp_path):
    with (
        pytest.raises(MissingError, match=r"no room for .*a\.json \(No space left.*--work"),
        publish(tmp_path / "a.json"),
    ):
        raise OSError(28, "No space left on device")


def test_a_killed_writer_leaves_a_part_file_and_nothing_else(tmp_path):
    path = tmp_path / "videos.h5"
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, path], stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout.readline() == "writing\n"
        writer.send_signal(signal.SIGKILL)
    assert [file.suffix for file in tmp_path.iterdir()] == [".part"]
