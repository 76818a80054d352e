import json
import subprocess
import sys
from uuid import uuid4

import pytest
from distributed import Client, LocalCluster

from vidret.data.errors import DecodeError, MissingError
from vidret.extract.schedule import (
    CPU,
    DEATHS,
    GPU,
    IN_FLIGHT_PER_WORKER,
    SPARE_MEMORY,
    TRIES,
    Job,
    Place,
    core_count,
    count_workers,
    dask_client,
    require_shared,
    run_jobs,
    visible_gpus,
    workers_have_gpu,
)


@pytest.fixture(scope="module")
def threads():
    """Two workers that are threads of this process: quick to start, and they share its memory."""
    cluster = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        resources={CPU: 1},
        silence_logs=50,
    )
    with cluster, Client(cluster) as client:
        yield client


def double(item, *shared):
    return (2 * item, *shared)


def results_of(client, task, items, *shared):
    return [result for _, result in run_jobs(client, [Job(task, (it, *shared)) for it in items])]


def test_every_item_gives_a_result_with_what_all_share(threads):
    results = results_of(threads, double, range(25), "a", "b")
    assert sorted(results) == [(2 * item, "a", "b") for item in range(25)]


def test_no_items_give_no_results(threads):
    assert results_of(threads, double, []) == []


def test_the_same_item_twice_is_two_tasks(threads):
    assert results_of(threads, double, [3, 3, 3]) == [(6,)] * 3


def test_a_result_comes_with_the_job_that_it_is_of(threads):
    for job, result in run_jobs(threads, [Job(double, (item,)) for item in range(9)]):
        assert result == (2 * job.arguments[0],)


def test_what_follows_a_job_is_done_after_it(threads):
    def then(job, result):
        return Job(double, (result[0], "then")) if len(job.arguments) == 1 else None

    done = run_jobs(threads, [Job(double, (item,), wants=CPU) for item in range(5)], then=then)
    results = [result for _, result in done]
    assert sorted(results) == sorted(
        [(2 * item,) for item in range(5)] + [(4 * item, "then") for item in range(5)]
    )


def test_only_a_few_tasks_are_with_the_scheduler_at_any_time(threads):
    taken, finished, most = 0, 0, 0

    def jobs():
        nonlocal taken, most
        for item in range(40):
            taken += 1
            most = max(most, taken - finished)
            yield Job(double, (item,))

    for _ in run_jobs(threads, jobs()):
        finished += 1
    assert finished == 40
    assert most <= 2 * IN_FLIGHT_PER_WORKER + 1


def test_a_cluster_without_gpus_takes_every_kind_of_task(threads):
    assert not workers_have_gpu(threads)
    jobs = [Job(double, (1,), wants=GPU), Job(double, (2,), wants=CPU)]
    assert sorted(result for _, result in run_jobs(threads, jobs)) == [(2,), (4,)]


def fail(item, marks):
    (marks / uuid4().hex).touch()
    raise DecodeError(f"item {item} is broken")


def test_an_error_of_a_task_reaches_the_caller_at_its_first_try(threads, tmp_path):
    with pytest.raises(DecodeError, match="item 7 is broken"):
        results_of(threads, fail, [7], tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_scheduler_that_is_not_there_is_missing(monkeypatch):
    monkeypatch.setattr("vidret.extract.schedule.CONNECT_SECONDS", 1.0)
    with (
        pytest.raises(MissingError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"),
        dask_client(Place(scheduler="tcp://127.0.0.1:9")),
    ):
        pass


def test_workers_that_see_the_same_folder_are_taken_and_the_mark_is_gone(threads, tmp_path):
    require_shared(threads, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_does_not_see_the_folder_is_named(threads, tmp_path, monkeypatch):
    monkeypatch.setattr("vidret.extract.schedule._reads", lambda *_: False)
    with pytest.raises(MissingError, match=r"2 of 2 workers.* do not see"):
        require_shared(threads, tmp_path)


def test_there_are_no_more_processes_than_memory_holds():
    from distributed.system import MEMORY_LIMIT

    third = (MEMORY_LIMIT - SPARE_MEMORY) // 3 - 1
    assert count_workers(Place(footprint=third)) == min(3, core_count())
    assert count_workers(Place(footprint=MEMORY_LIMIT)) == 1
    assert count_workers(Place(footprint=MEMORY_LIMIT, workers=5)) == 5


def test_a_gpu_that_is_not_there_is_missing():
    with pytest.raises(MissingError, match="GPU 63 is asked for"):
        visible_gpus([63])


SCRIPT = """
import json, logging, time
import psutil
from vidret.extract.schedule import Job, Place, dask_client, run_jobs

def look(item):
    import signal
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN

def sleep(item):
    import time
    time.sleep(0.2 if item == 0 else 60)

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    with dask_client(Place(workers=2)) as client:
        me = psutil.Process()
        sockets = [c for p in (me, *me.children(recursive=True)) for c in p.net_connections("tcp")]
        ignore = [r for _, r in run_jobs(client, [Job(look, (n,)) for n in range(4)])]
        hosts = {c.laddr.ip for c in sockets}
        ports = {c.laddr.port for c in sockets if c.status == "LISTEN"}
        next(run_jobs(client, [Job(sleep, (n,)) for n in range(4)]))
        begun = time.monotonic()
    seconds = time.monotonic() - begun
    left = len(me.children(recursive=True)) - 1  # multiprocessing keeps a tracker of resources
    print(json.dumps([ignore, sorted(hosts), 8787 in ports, seconds, left]))
"""


@pytest.fixture(scope="module")
def cluster_process(tmp_path_factory):
    """A process that opens a cluster, looks around, and closes it in the middle of long tasks."""
    script = tmp_path_factory.mktemp("schedule") / "script.py"
    script.write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, timeout=120
    )


@pytest.fixture
def seen(cluster_process):
    return json.loads(cluster_process.stdout)


def test_a_cluster_says_nothing(cluster_process):
    assert cluster_process.stderr == ""


def test_a_cluster_listens_on_this_machine_alone_and_on_no_fixed_port(seen):
    _, hosts, has_the_usual_port, _, _ = seen
    assert set(hosts) <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert hosts
    assert not has_the_usual_port


def test_workers_leave_ctrl_c_to_the_process_that_started_them(seen):
    assert seen[0] == [True] * 4


def test_a_cluster_closes_quickly_in_the_middle_of_long_tasks(seen):
    *_, seconds, left = seen
    assert seconds < 3
    assert left <= 0


DEADLY = """
import sys
from vidret.data.errors import VidretError
from vidret.extract.schedule import Job, Place, dask_client, run_jobs

def die(item, marks):
    import os, uuid
    open(os.path.join(marks, uuid.uuid4().hex), "w").close()
    os._exit(1)

def look(item):
    import signal
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN

if __name__ == "__main__":
    with dask_client(Place(workers=1)) as client:
        try:
            jobs = [Job(die, (0, sys.argv[1])), Job(look, (1,))]
            for _, result in run_jobs(client, jobs):
                print(result)
        except VidretError as error:
            print(error)
        print([result for _, result in run_jobs(client, [Job(look, (0,))])])
"""


@pytest.mark.slow
def test_a_task_that_ends_its_worker_again_and_again_is_an_error_and_the_next_one_runs(tmp_path):
    script, marks = tmp_path / "script.py", tmp_path / "marks"
    script.write_text(DEADLY)
    marks.mkdir()
    done = subprocess.run(
        [sys.executable, script, marks], capture_output=True, text=True, check=True, timeout=300
    )
    other, message, after = done.stdout.splitlines()
    assert other == "True"  # what else there was to do is done all the same
    assert message.startswith("the workers of 1 tasks died again and again, all others are done")
    assert after == "[True]"  # the worker that took its place ignores Ctrl-C as well
    assert len(list(marks.iterdir())) == TRIES * DEATHS
    assert done.stderr == ""


def test_a_scheduler_file_that_is_not_there_is_missing_at_once(tmp_path):
    with (
        pytest.raises(MissingError, match="there is no scheduler file"),
        dask_client(Place(scheduler_file=tmp_path / "none.json")),
    ):
        pass
