"""A disk without room: said in one sentence, and nothing half-written stays."""

import json
import os
import subprocess
import sys
from contextlib import suppress

import pytest
from making.caches import a_caption, write_toy_cache

from vidret.data.cache import FeatureCache
from vidret.data.errors import MissingError
from vidret.data.shards import write_caption_shard
from vidret.data.storage.locks import folder_lock
from vidret.data.upkeep.check import repair_cache, verify_cache

WRITER = """
import json, resource, signal, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from making.caches import a_caption, a_video
from vidret.data.errors import MissingError
from vidret.data.storage.locks import folder_lock
from vidret.data.storage.projections import write_projections
from vidret.data.shards import write_caption_shard, write_video_shard

folder, limit = Path(sys.argv[1]), int(sys.argv[2])
long = replace(
    a_video(9), frames=np.ones((20_000, 4), np.float32), times=np.zeros(20_000),
    indices=np.zeros(20_000, np.int64),
)
wordy = replace(a_caption(9, 0), words=np.ones((50_000, 4), np.float32))
wide = {"text.weight": np.ones((500, 500), np.float32)}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
told = []
with folder_lock(folder):
    for write in (
        lambda: write_video_shard(folder / "videos-00009.h5", [long], [], "abc"),
        lambda: write_caption_shard(folder / "captions-00009.h5", [wordy], "abc"),
        lambda: write_projections(folder, wide),
    ):
        try:
            write()
        except MissingError as error:
            told.append([error.exit_code, str(error)])
    small = write_video_shard(folder / "videos-00008.h5", [a_video(8)], [], "abc")
print(json.dumps(told))
"""


def write_into(folder, limit):
    path = os.pathsep.join(place for place in sys.path if place)
    done = subprocess.run(
        [sys.executable, "-c", WRITER, folder, str(limit)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def check(told, folder, before):
    names = ["videos-00009.h5", "captions-00009.h5", "projections.safetensors"]
    for (code, message), name in zip(told, names, strict=True):
        assert code == 4
        assert message.startswith(f"no room for {folder / name} (")
        assert "make room there" in message
        assert "--work" in message
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.pop("videos-00008.h5"), "what fits is written all the same"
    after.pop(".lock")
    assert after == before


def test_a_file_that_may_not_grow_further_leaves_the_cache_as_it_was(tmp_path):
    folder = write_toy_cache(tmp_path / "toy")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    check(write_into(folder, 100_000), folder, before)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mount)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"mount cannot be run here: {error}")
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def test_a_full_disk_leaves_the_cache_as_it_was(small_disk):
    folder = write_toy_cache(small_disk / "toy")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    check(write_into(folder, 0), folder, before)
    assert [problem.file for problem in verify_cache(folder)] == ["videos-00008.h5"]


def test_a_full_disk_has_no_room_for_a_new_cache_either(small_disk):
    with (small_disk / "film").open("wb", buffering=0) as film, suppress(OSError):
        while film.write(b"x" * 1000):
            pass
    folder = small_disk / "new"
    with pytest.raises(MissingError, match=r"no room for .*--work"), folder_lock(folder):
        pass


def test_a_disk_that_may_only_be_read_says_so(small_disk):
    folder = write_toy_cache(small_disk / "toy")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert verify_cache(folder) == []
    assert FeatureCache.open(folder).load("train").video_ids == ["v0", "v1", "v2"]
    with pytest.raises(MissingError, match=r"Read-only.*--work"), folder_lock(folder):
        pass
    with pytest.raises(MissingError, match=r"Read-only.*--work"):
        write_caption_shard(folder / "x.h5", [a_caption(0, 0)], "abc")
    with pytest.raises(MissingError, match=r"Read-only.*--work"):
        repair_cache(folder)
