"""Two processes at once; each takes seconds to import torch, so the tests are few and full."""

import json
import logging
import multiprocessing
from dataclasses import replace

import pytest
from making.ablated import small_config

from vidret.data.cache import FeatureCache
from vidret.data.errors import DamagedError, ItemsFailedError
from vidret.pipelines.ablate import run_ablate
from vidret.pipelines.ablation import processes
from vidret.pipelines.ablation.processes import count_jobs
from vidret.pipelines.ablation.working import torch_threads

HEADS = ("mean", "s-f", "s-f+cmfi")

pytestmark = pytest.mark.xdist_group("ablate")


def ablate(work, cache, *, on_progress=lambda _: None, **changes):
    config = small_config(work, cache, **{"heads": HEADS, "seeds": (0, 1)} | changes)
    return run_ablate(config, on_progress=on_progress)


@pytest.fixture
def two_cores(monkeypatch):
    """Room for two fits, however small the machine."""
    monkeypatch.setattr(processes, "count_workers", lambda _place: 2)


@pytest.mark.usefixtures("two_cores")
def test_side_by_side_gives_the_bits_that_one_after_the_other_gives(tmp_path, cache):
    with torch_threads(1):
        alone = ablate(tmp_path / "one", cache)
    seen = []
    together = ablate(tmp_path / "two", cache, jobs=2, on_progress=seen.append)
    assert json.dumps(together.as_json()) == json.dumps(alone.as_json())
    for weights in (tmp_path / "one").rglob("*.safetensors"):
        twin = tmp_path / "two" / weights.relative_to(tmp_path / "one")
        assert twin.read_bytes() == weights.read_bytes()
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 6, 6)
    assert any(one.note == "s-f, seed 1, epoch 2" for one in seen)
    assert not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.usefixtures("two_cores")
def test_a_process_that_dies_is_named_and_the_others_go_on(tmp_path, cache):
    killed = []

    def kill(progress):
        if not killed and "epoch" in progress.note:
            killed.append(progress.note.rpartition(",")[0])
            (worker, *_) = [
                child for child in multiprocessing.active_children() if child.is_alive()
            ]
            worker.kill()

    report = ablate(tmp_path, cache, jobs=2, heads=("s-f", "w-f"), epochs=40, on_progress=kill)
    (failure,) = report.failures
    assert isinstance(report.verdict, ItemsFailedError)
    assert "the process that fitted it ended with exit code -9 (SIGKILL" in failure.text
    assert sum(len(row.scores) for row in report.rows) == 3
    again = ablate(tmp_path, cache, jobs=1, heads=("s-f", "w-f"), epochs=40)
    assert again.verdict is None


@pytest.mark.slow
@pytest.mark.usefixtures("two_cores")
def test_an_error_keeps_its_kind_on_its_way_and_a_stop_ends_every_process(tmp_path, cache):
    failed = ablate(tmp_path / "a", cache, jobs=2, heads=("s-f",), vary=("lr=1e30,0.01",))
    assert isinstance(failed.verdict, DamagedError)
    assert str(failed.verdict).startswith("s-f, lr=1e+30, seed ")
    assert [(row.label, row.seeds) for row in failed.rows] == [("s-f, lr=0.01", (0, 1))]

    def stop(progress):
        if "epoch" in progress.note:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablate(tmp_path / "b", cache, jobs=2, heads=("s-f",), epochs=500, on_progress=stop)
    assert not multiprocessing.active_children()
    assert not list((tmp_path / "b").rglob("*.part"))


@pytest.mark.usefixtures("two_cores")
def test_as_many_jobs_as_asked_for_and_no_more_than_there_is_room_for(cache, caplog):
    features = FeatureCache.open(cache)
    assert [count_jobs(asked, features, "cpu") for asked in (0, 1, 2)] == [2, 1, 2]
    assert not caplog.messages
    with caplog.at_level(logging.WARNING):
        assert count_jobs(99, features, "cpu") == 2
    assert "--jobs 99 is more than this machine has cores and memory for: 2" in caplog.messages[0]


def test_a_gpu_has_one_job_unless_more_are_asked_for(cache, monkeypatch):
    monkeypatch.setattr(processes, "core_count", lambda: 8)
    features = FeatureCache.open(cache)
    assert [count_jobs(asked, features, "cuda") for asked in (0, 1, 3, 99)] == [1, 1, 3, 8]


def test_features_that_fill_the_memory_leave_room_for_fewer_jobs(cache, monkeypatch):
    from distributed import system

    monkeypatch.setattr(system, "MEMORY_LIMIT", 12 << 30)
    monkeypatch.setattr("vidret.extract.schedule.core_count", lambda: 64)
    features = FeatureCache.open(cache)
    small = count_jobs(0, features, "cpu")
    shards = tuple(replace(one, bytes=1 << 29) for one in features.manifest.shards)
    large = replace(features, manifest=replace(features.manifest, shards=shards))
    assert count_jobs(0, large, "cpu") == 1 < small <= 10 // 1.5
