import time
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from vidret.extract import telling
from vidret.extract.telling import Telling, hearing


@pytest.fixture(scope="module")
def client():
    cluster = LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        silence_logs=50,
    )
    with cluster, Client(cluster) as client:
        yield client


def work_on(shard, videos):
    told = Telling(Path(shard))
    for _ in range(videos):
        told.video_ended()
    return told.ended


def run(client, shard, videos):
    return client.submit(work_on, shard, videos, pure=False).result()


def wait_until(is_so):
    ends = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_videos_are_told_while_their_shard_is_made(client, monkeypatch):
    monkeypatch.setattr(telling, "SECONDS", 0.0)
    seen = []
    with hearing(client, {Path("a"), Path("b")}, lambda: seen.append(heard.videos)) as heard:
        run(client, "of another run", 7)
        assert run(client, "a", 3) == 3
        run(client, "b", 2)
        wait_until(lambda: heard.videos == 5)
        assert seen == [1, 2, 3, 4, 5]
        heard.close(Path("a"))
        run(client, "a", 1)
        run(client, "b", 1)
        wait_until(lambda: heard.videos == 1)  # the task came to another worker, and began anew
    told = len(seen)
    run(client, "b", 1)
    assert len(seen) == told


def test_it_is_told_now_and_then_only(client):
    seen = []
    with hearing(client, {Path("many")}, lambda: seen.append(1)):
        run(client, "many", 1_000)
        wait_until(lambda: seen)
    assert len(seen) < 5


def test_without_a_cluster_nobody_is_told():
    assert work_on("alone", 2) == 2
