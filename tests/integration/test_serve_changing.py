"""A folder that changes while it is served: `vidret index update` beside it, and no new start."""

import json
import shutil
import threading
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from making.processes import started, succeed, wait_until

from vidret.data.synth.dataset import load_synth_mini

pytestmark = pytest.mark.xdist_group("search")

SETTINGS = '[extract]\nbackbone = "tiny"\naudio = "none"\nframes = 2\nworkers = 1\n'


class Asking(threading.Thread):
    """Asks the same all the time, and keeps what was answered."""

    def __init__(self, address):
        super().__init__()
        self.address, self.stop = address, threading.Event()
        self.found, self.errors = [], []

    def run(self):
        while not self.stop.is_set():
            try:
                self.found.append(frozenset(paths_of(self.address)))
            except OSError as error:
                self.errors.append(repr(error))
            self.stop.wait(0.05)


def asked(address, path):
    with urlopen(f"{address}{path}", timeout=30) as response:
        return json.load(response)


def paths_of(address):
    return {hit["path"]: hit["id"] for hit in asked(address, "/api/search?q=a+star")["hits"]}


def is_ready(address):
    return asked(address, "/api/status")["state"] == "ready"


@pytest.mark.slow
def test_new_renamed_and_deleted_files_are_right_after_an_update(tmp_path):
    clips = [video.path for video in load_synth_mini().videos[:4]]
    films = tmp_path / "films"
    films.mkdir()
    for clip, name in zip(clips, ("stays.mp4", "before.mp4", "goes.mp4"), strict=False):
        shutil.copy(clip, films / name)
    (tmp_path / "vidret.toml").write_text(SETTINGS)
    with started("serve", films, "--port", "0", cwd=tmp_path) as server:
        address = server.stdout.readline().split()[1].rstrip("/.")
        wait_until(lambda: is_ready(address), server)
        first = paths_of(address)
        assert set(first) == {"stays.mp4", "before.mp4", "goes.mp4"}
        asking = Asking(address)
        asking.start()
        try:
            shutil.copy(clips[3], films / "comes.mp4")
            (films / "before.mp4").rename(films / "after.mp4")
            (films / "goes.mp4").unlink()
            succeed("index", "update", films, cwd=tmp_path)
            wait_until(lambda: "comes.mp4" in paths_of(address), server)
            wait_until(lambda: "comes.mp4" in asking.found[-1], server)
        finally:
            asking.stop.set()
            asking.join()
        last = paths_of(address)
        assert set(last) == {"stays.mp4", "after.mp4", "comes.mp4"}
        assert asking.errors == []
        assert set(asking.found) == {frozenset(first), frozenset(last)}
        for name in last:
            with urlopen(f"{address}/api/videos/{last[name]}/thumb?t=0.5") as picture:
                assert picture.read(3) == b"\xff\xd8\xff"
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{address}/api/videos/{first['goes.mp4']}/media")
        differs = asked(address, "/api/status")["differs"]
        assert (differs["gone"], differs["changed"], differs["new"]) == (0, 0, 0)
        assert server.poll() is None
