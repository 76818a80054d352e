import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from vidret.data.errors import DamagedError, MismatchError, MissingError
from vidret.data.index import store
from vidret.data.index.store import (
    INDEX,
    POOLED,
    Entries,
    IndexHeader,
    open_index,
    read_header,
    verify_index,
    write_index,
)
from vidret.data.index.vectors import build_vectors
from vidret.data.storage.publish import publish

DIM = 4


def a_header(**changes):
    values = {
        "cache": "toy",
        "features": "abc",
        "head": "mean",
        "head_digest": "def",
        "sound": False,
        "kinds": {POOLED: "flat"},
        "videos": 3,
        "built_for": 3,
        "found": 1.0,
    }
    return IndexHeader(**values | changes)


def write(folder, scale=1.0):
    folder.mkdir(exist_ok=True)
    rows, keys = scale * np.eye(3, DIM, dtype=np.float32), np.array([30, 10, 20])
    entries = Entries(keys=keys, versions=keys + 1)
    vectors = {POOLED: build_vectors(rows, [(keys, rows)], total=3)}
    return write_index(folder, a_header(), entries, vectors)


def longest(folder):
    """The product that tells which of two indexes lies in a folder."""
    stored = open_index(folder)
    return float(stored.vectors[POOLED].nearest(np.eye(1, DIM), 1)[1][0, 0])


def test_what_was_written_is_read(tmp_path):
    header = write(tmp_path)
    stored = open_index(tmp_path)
    assert stored.header == header == read_header(tmp_path)
    assert stored.entries.keys.tolist() == [10, 20, 30]
    assert stored.entries.versions.tolist() == [11, 21, 31]
    assert longest(tmp_path) == 1.0
    assert verify_index(tmp_path) == []


def test_a_second_index_takes_the_place_of_the_first_and_leaves_nothing_of_it(tmp_path):
    write(tmp_path)
    before = {path.name for path in tmp_path.iterdir()} - {INDEX}
    write(tmp_path, scale=2.0)
    assert longest(tmp_path) == 2.0
    assert not before & {path.name for path in tmp_path.iterdir()}


def test_one_who_reads_keeps_what_was_opened(tmp_path):
    write(tmp_path)
    stored = open_index(tmp_path)
    write(tmp_path, scale=2.0)
    assert stored.vectors[POOLED].nearest(np.eye(1, DIM), 1)[1][0, 0] == 1.0


def test_a_failure_before_the_contents_page_leaves_the_old_index(tmp_path, monkeypatch):
    write(tmp_path)

    def refuse(path, *rest):
        if path.name == INDEX:
            raise MissingError("no room")
        return publish(path, *rest)

    monkeypatch.setattr(store, "publish", refuse)
    with pytest.raises(MissingError):
        write(tmp_path, scale=2.0)
    monkeypatch.undo()
    assert longest(tmp_path) == 1.0
    write(tmp_path, scale=3.0)
    assert len(list(tmp_path.iterdir())) == 3


def _write_for_ever(folder):
    scale = 1.0
    while True:
        write(folder, scale=scale)
        scale = 3.0 - scale


def test_an_index_is_whole_whenever_its_writer_is_killed(tmp_path):
    write(tmp_path)
    spawn = multiprocessing.get_context("spawn")
    writer = spawn.Process(target=_write_for_ever, args=(tmp_path,))
    writer.start()
    first = read_header(tmp_path).files
    patience = time.monotonic() + 60
    while read_header(tmp_path).files == first and time.monotonic() < patience:
        time.sleep(0.01)
    seen = {longest(tmp_path) for _ in range(30)}
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    assert seen <= {1.0, 2.0}
    assert longest(tmp_path) in (1.0, 2.0)
    assert verify_index(tmp_path) == []


def test_no_index_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingError, match=r"holds no index: make one with `vidret index build`"):
        open_index(tmp_path)


def test_the_format_of_a_newer_vidret_is_refused(tmp_path):
    write(tmp_path)
    values = json.loads((tmp_path / INDEX).read_text())
    (tmp_path / INDEX).write_text(json.dumps(values | {"format": 99}))
    with pytest.raises(MismatchError, match="has format 99"):
        read_header(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": "x"}'])
def test_a_damaged_contents_page_is_named(tmp_path, text):
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(DamagedError, match=r"index\.json cannot be read"):
        read_header(tmp_path)


def test_a_contents_page_leads_nowhere_else(tmp_path):
    write(tmp_path)
    values = json.loads((tmp_path / INDEX).read_text())
    values["files"][POOLED]["name"] = "../elsewhere.faiss"
    (tmp_path / INDEX).write_text(json.dumps(values))
    with pytest.raises(DamagedError, match="outside the folder"):
        read_header(tmp_path)


@pytest.mark.parametrize("role", [POOLED, "entries"])
def test_a_file_that_is_gone_or_cut_is_damage(tmp_path, role):
    path = tmp_path / write(tmp_path).files[role]["name"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="not as long as it was"):
        open_index(tmp_path)
    path.unlink()
    with pytest.raises(DamagedError, match="is not there"):
        open_index(tmp_path)


def test_a_changed_byte_is_found(tmp_path):
    path = tmp_path / write(tmp_path).files[POOLED]["name"]
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    assert verify_index(tmp_path) == [f"{path.name} has other bytes than were written"]
