"""A Dask cluster of real processes that die, come, go and misbehave: the cache is as ever."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from distributed import Client, get_task_stream
from making.cluster import spoiling_preload, started_cluster, wait_for, workers_dying
from making.processes import (
    PATIENCE,
    continuing_command,
    interrupt,
    run_vidret,
    started,
    succeed,
    wait_until,
)

from vidret.data.manifest import MANIFEST, read_manifest
from vidret.data.upkeep.check import verify_cache

SHARDS, SHARD_SIZE = 30, 2
ENCODERS = ("--backbone", "tiny", "--audio", "tiny", "--precision", "float32")
EVERY, MOST = 2.0, 5  # seconds between two deaths, and how many of them
WORK = "vidret-work"

pytestmark = pytest.mark.xdist_group("cluster")


def make_clips(folder, names):
    """Bundled clips under other names, each with a caption of its own."""
    bundled = sorted(Path(str(files("vidret.data.synth") / "mini" / "videos")).iterdir())
    folder.mkdir()
    for number, name in enumerate(names):
        shutil.copyfile(bundled[number % len(bundled)], folder / name)
    lines = [{"video": name, "caption": f"this is {name}"} for name in names]
    captions = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "captions.jsonl").write_text(captions)
    return folder


def extraction(clips, *more):
    return ("extract", "--dataset", f"folder:{clips}", *ENCODERS, *more)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    names = [f"slow-{number:02d}.mp4" for number in range(SHARDS * SHARD_SIZE)]
    return make_clips(tmp_path_factory.mktemp("slow") / "clips", names)


@pytest.fixture(scope="module")
def command(clips):
    return extraction(clips, "--shard-size", str(SHARD_SIZE))


@pytest.fixture(scope="module")
def quiet(tmp_path_factory, command):
    """What the command makes on this machine when nobody disturbs it."""
    folder = tmp_path_factory.mktemp("quiet")
    succeed(*command, "--workers", "1", cwd=folder)
    return content_of_cache(folder)


def cache_of(folder):
    (cache,) = (folder / WORK / "cache").iterdir()
    return cache


def content_of_cache(folder):
    return {
        path.name: path.read_bytes() for path in cache_of(folder).iterdir() if path.name != ".lock"
    }


def count(folder, pattern="videos-*.h5"):
    return len(list((folder / WORK).glob(f"cache/*/{pattern}")))


def assert_equal_to_quiet(folder, quiet):
    found = content_of_cache(folder)
    assert found.keys() == quiet.keys()  # so no .part is left, and no list of failures
    assert [name for name in quiet if found[name] != quiet[name]] == []
    assert verify_cache(cache_of(folder)) == []


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers, whose decoders take their time."""
    with started_cluster(tmp_path / "cluster", 2, preload=spoiling_preload(tmp_path)) as cluster:
        yield cluster


@pytest.mark.slow
def test_the_quiet_extraction_is_what_it_should_be(quiet):
    shards = [f"videos-{number:05d}.h5" for number in range(SHARDS)]
    assert sorted(quiet) == ["captions-00000.h5", MANIFEST, *shards]


@pytest.mark.slow
def test_workers_killed_every_few_seconds_change_nothing(tmp_path, command, quiet):
    with (
        started_cluster(tmp_path / "cluster", 3, preload=spoiling_preload(tmp_path)) as cluster,
        started(*command, "--scheduler-file", str(cluster.file), cwd=tmp_path) as process,
    ):
        wait_until(lambda: count(tmp_path) > 0, process)
        with workers_dying(
            cluster, every=EVERY, most=MOST, progress=lambda: count(tmp_path)
        ) as dead:
            printed, talk = process.communicate(timeout=PATIENCE)
            died = len(dead)
    assert (process.returncode, talk.count("Traceback")) == (0, 0), talk
    assert f"{SHARDS * SHARD_SIZE} videos ({SHARDS * SHARD_SIZE} tried in this run)" in printed
    assert died >= 3  # while the run was going
    assert count(tmp_path) == SHARDS
    assert_equal_to_quiet(tmp_path, quiet)


@pytest.mark.slow
def test_decoders_that_crash_or_hang_on_workers_are_quarantined_and_named(tmp_path):
    names = ["crash.mp4", "hang.mp4", *(f"good-{number}.mp4" for number in range(4))]
    clips = make_clips(tmp_path / "clips", names)
    with started_cluster(tmp_path / "cluster", 1, preload=spoiling_preload(tmp_path)) as cluster:
        result = run_vidret(
            *extraction(clips, "--shard-size", "3", "--timeout", "2"),
            *("--scheduler", cluster.address),
            cwd=tmp_path,
        )
    assert result.returncode == 3
    assert "2 of 6 videos failed, 0 allowed" in result.stderr
    lines = (cache_of(tmp_path) / "failures.jsonl").read_text().splitlines()
    failures = {failure["path"]: failure for failure in map(json.loads, lines)}
    assert {path: failure["stage"] for path, failure in failures.items()} == {
        "crash.mp4": "quarantine",
        "hang.mp4": "quarantine",
    }
    assert (
        "took its decoder down 2 times (it was ended by SIGSEGV)"
        in (failures["crash.mp4"]["reason"])
    )
    assert "took its decoder down 2 times (no end after 2 s)" in failures["hang.mp4"]["reason"]
    done = [entry.items for entry in read_manifest(cache_of(tmp_path)).shards]
    assert sum(done) == 4 + 6  # videos and captions


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_run_and_the_same_command_finishes_it(
    tmp_path, cluster, command, quiet
):
    attached = (*command, "--scheduler-file", str(cluster.file))
    with started(*attached, cwd=tmp_path) as process:
        wait_until(lambda: count(tmp_path) >= 4, process)
        cluster.scheduler.kill()
        printed, talk = process.communicate(timeout=60)
    assert (process.returncode, printed) == (4, "")
    last = talk.strip().splitlines()[-1]
    assert last.startswith("vidret: the Dask scheduler at tcp://127.0.0.1:"), talk
    assert last.endswith("gone: what is done is kept, start it again and give the same command")
    assert "Traceback" not in talk
    assert "ERROR" not in talk
    done = count(tmp_path)
    assert 4 <= done < SHARDS
    cluster.start_scheduler()
    cluster.start_worker()
    report = succeed(*attached, cwd=tmp_path)
    assert f"({SHARDS * SHARD_SIZE} tried in this run)" not in report
    assert_equal_to_quiet(tmp_path, quiet)


@pytest.mark.slow
def test_ctrl_c_leaves_the_cluster_to_others_and_the_last_line_continues(
    tmp_path, cluster, command, quiet
):
    with started(*command, "--scheduler", cluster.address, cwd=tmp_path) as process:
        wait_until(lambda: count(tmp_path) >= 3, process)
        code, printed, talk = interrupt(process)
    assert (code, printed) == (130, "")
    assert "Traceback" not in talk
    assert count(tmp_path) < SHARDS
    with Client(cluster.address) as client:
        assert len(client.nthreads()) == 2
        wait_for(lambda: not any(client.processing().values()))  # nothing is left to do
        assert client.submit(sum, [1, 2]).result() == 3
    assert count(tmp_path) < SHARDS
    again = continuing_command(talk)
    assert again == [*command, "--scheduler", cluster.address]
    succeed(*again, cwd=tmp_path)
    assert_equal_to_quiet(tmp_path, quiet)


def tasks_of(client, run):
    """Which functions ran on which workers while `run` went on: a set of names a worker."""
    with get_task_stream(client) as stream:
        run()
    found = {}
    for task in stream.data:
        name = task["key"].rpartition("-")[0].partition("-")[0]
        found.setdefault(task["worker"], set()).add(name)
    return found


@pytest.mark.slow
def test_two_steps_decode_where_the_cores_are_and_encode_where_the_gpu_is(tmp_path):
    clips = make_clips(tmp_path / "clips", [f"clip-{number:02d}.mp4" for number in range(12)])
    command = extraction(clips, "--shard-size", "3", "--pixels", "--device", "cpu")
    (tmp_path / "direct").mkdir()
    succeed(*command, "--workers", "1", cwd=tmp_path / "direct")
    with started_cluster(tmp_path / "cluster", 0) as cluster:
        decoding = {
            cluster.start_worker("--resources", "CPU=1", "--name", f"cpu-{n}") for n in "12"
        }
        attached = (*command, "--scheduler", cluster.address)
        with Client(cluster.address) as client:
            client.wait_for_workers(len(decoding))
            cpus = set(client.nthreads())
            succeed(*attached, "--only", "pixels", cwd=tmp_path)
            assert (count(tmp_path, "pixels-*.h5"), count(tmp_path)) == (4, 0)
            cluster.start_worker("--resources", "GPU=1", "--name", "gpu")
            client.wait_for_workers(len(decoding) + 1)
            (gpu,) = set(client.nthreads()) - cpus
            found = tasks_of(client, lambda: succeed(*attached, cwd=tmp_path))
    assert found == {gpu: {"extract_videos", "extract_captions"}}
    assert_equal_to_quiet(tmp_path, content_of_cache(tmp_path / "direct"))


@pytest.mark.slow
def test_in_one_run_pixels_are_stored_on_cpu_workers_and_encoded_on_the_gpu(tmp_path):
    clips = make_clips(tmp_path / "clips", [f"clip-{number:02d}.mp4" for number in range(12)])
    command = extraction(clips, "--shard-size", "3", "--pixels", "--device", "cpu")
    with started_cluster(tmp_path / "cluster", 0) as cluster:
        cluster.start_worker("--resources", "CPU=1")
        with Client(cluster.address) as client:
            client.wait_for_workers(1)
            (cpu,) = client.nthreads()
            cluster.start_worker("--resources", "GPU=1")
            client.wait_for_workers(2)
            (gpu,) = set(client.nthreads()) - {cpu}
            attached = (*command, "--scheduler", cluster.address)
            found = tasks_of(client, lambda: succeed(*attached, cwd=tmp_path))
    assert found == {cpu: {"store_pixels"}, gpu: {"extract_videos", "extract_captions"}}


@pytest.mark.slow
def test_without_a_worker_vidret_says_that_it_waits_and_goes_on_when_one_comes(tmp_path):
    clips = make_clips(tmp_path / "clips", [f"slow-{number}.mp4" for number in range(8)])
    with started_cluster(tmp_path / "cluster", 0, preload=spoiling_preload(tmp_path)) as cluster:
        attached = extraction(clips, "--scheduler-file", str(cluster.file), "--shard-size", "1")
        with started(*attached, cwd=tmp_path) as process:
            assert "waiting for a worker" in process.stderr.readline()
            only_one = cluster.start_worker()
            wait_until(lambda: count(tmp_path) >= 2, process)
            only_one.kill()
            before = count(tmp_path)
            cluster.start_worker()
            printed, _ = process.communicate(timeout=PATIENCE)
    assert before < len(list(clips.glob("*.mp4")))
    assert process.returncode == 0
    assert "8 videos (8 tried in this run)" in printed
