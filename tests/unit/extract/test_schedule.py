import json
import subprocess
import sys
from uuid import uuid4

import pytest
from distributed import Client, LocalCluster

from vidret.data.errors import DecodeError
from vidret.extract.schedule import IN_FLIGHT_PER_WORKER, TRIES, run_tasks


@pytest.fixture(scope="module")
def threads():
    """Two workers that are threads of this process: quick to start, and they share its memory."""
    cluster = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
        silence_logs=50,
    )
    with cluster, Client(cluster) as client:
        yield client


def double(item, *shared):
    return (2 * item, *shared)


def test_every_item_gives_a_result_with_what_all_share(threads):
    results = list(run_tasks(threads, double, range(25), "a", "b"))
    assert sorted(results) == [(2 * item, "a", "b") for item in range(25)]


def test_no_items_give_no_results(threads):
    assert list(run_tasks(threads, double, [])) == []


def test_the_same_item_twice_is_two_tasks(threads):
    assert list(run_tasks(threads, double, [3, 3, 3])) == [(6,)] * 3


def test_only_a_few_tasks_are_with_the_scheduler_at_any_time(threads):
    taken, finished, most = 0, 0, 0

    def items():
        nonlocal taken, most
        for item in range(40):
            taken += 1
            most = max(most, taken - finished)
            yield item

    for _ in run_tasks(threads, double, items()):
        finished += 1
    assert finished == 40
    assert most <= 2 * IN_FLIGHT_PER_WORKER + 1


def fail(item, marks):
    (marks / uuid4().hex).touch()
    raise DecodeError(f"item {item} is broken")


def test_an_error_of_a_task_reaches_the_caller_at_its_first_try(threads, tmp_path):
    with pytest.raises(DecodeError, match="item 7 is broken"):
        list(run_tasks(threads, fail, [7], tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


SCRIPT = """
import json, logging, time
import psutil
from vidret.extract.schedule import dask_client, run_tasks

def look(item):
    import signal
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN

def sleep(item):
    import time
    time.sleep(0.2 if item == 0 else 60)

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    with dask_client(2) as client:
        me = psutil.Process()
        sockets = [c for p in (me, *me.children(recursive=True)) for c in p.net_connections("tcp")]
        ignore = list(run_tasks(client, look, range(4)))
        hosts = {c.laddr.ip for c in sockets}
        ports = {c.laddr.port for c in sockets if c.status == "LISTEN"}
        next(run_tasks(client, sleep, range(4)))
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
from vidret.extract.schedule import dask_client, run_tasks

def die(item, marks):
    import os, uuid
    open(os.path.join(marks, uuid.uuid4().hex), "w").close()
    os._exit(1)

def look(item):
    import signal
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN

if __name__ == "__main__":
    with dask_client(1) as client:
        try:
            list(run_tasks(client, die, [0], sys.argv[1]))
        except VidretError as error:
            print(error)
        print(list(run_tasks(client, look, [0])))
"""


@pytest.mark.slow
def test_a_task_that_ends_its_worker_again_and_again_is_an_error_and_the_next_one_runs(tmp_path):
    script, marks = tmp_path / "script.py", tmp_path / "marks"
    script.write_text(DEADLY)
    marks.mkdir()
    done = subprocess.run(
        [sys.executable, script, marks], capture_output=True, text=True, check=True, timeout=300
    )
    message, after = done.stdout.splitlines()
    assert message.startswith(f"a worker process died {TRIES} times over the same shard")
    assert after == "[True]"  # the worker that took its place ignores Ctrl-C as well
    assert len(list(marks.iterdir())) == TRIES
    assert done.stderr == ""
