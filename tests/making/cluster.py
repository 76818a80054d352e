"""A Dask cluster as people start one by hand: `dask scheduler` and `dask worker`, all real."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from making.decoders import PROGRAM as SPOILED
from making.processes import PATIENCE, clean_environment

DASK = Path(sys.executable).with_name("dask")
SCHEDULER = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
WORKER = ("--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--host", "127.0.0.1")


class Node:
    """A scheduler or a worker, in a process group of its own, and what it says."""

    def __init__(self, log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [DASK, *arguments],
                cwd=log.parent,
                env=clean_environment(PYTHONWARNINGS="ignore"),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def says(self, words: str) -> bool:
        """Whether it has said so."""
        return words in self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """What the kernel does when memory runs out, to the whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Cluster:
    """A scheduler and its workers; `file` names its address to whoever wants to join.

    Args:
        folder: for logs and the file.
        preload: what every worker loads first.
    """

    def __init__(self, folder: Path, preload: Path | None = None) -> None:
        self.folder = folder
        self.preload = preload
        self.file = folder / "scheduler.json"
        self.nodes: list[Node] = []
        self.scheduler = self.start_scheduler()

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return json.loads(self.file.read_bytes())["address"]

    def start_scheduler(self) -> Node:
        """Start one, perhaps in the place of one that has gone."""
        self.file.unlink(missing_ok=True)
        self.scheduler = self._start(
            "scheduler", "scheduler", *SCHEDULER, "--scheduler-file", str(self.file)
        )
        wait_for(lambda: self.file.exists() and self.file.read_bytes().endswith(b"}"))
        return self.scheduler

    def start_worker(self, *options: str, nanny: bool = False) -> Node:
        """Start one; it joins by itself some seconds later.

        Without a nanny, which would only start it again, a worker is quicker to come.
        """
        options += ("--preload", str(self.preload)) if self.preload else ()
        return self._start(
            f"worker-{len(self.nodes)}",
            *("worker", "--scheduler-file", str(self.file), *WORKER),
            *("--nanny" if nanny else "--no-nanny", "--local-directory", str(self.folder)),
            *options,
        )

    def close(self) -> None:
        """End all that was started here."""
        for node in self.nodes:
            node.kill()

    def _start(self, name: str, *arguments: str) -> Node:
        node = Node(self.folder / f"{name}-{time.monotonic_ns()}.log", *arguments)
        self.nodes.append(node)
        return node


@contextmanager
def started_cluster(
    folder: Path, workers: int, *, preload: Path | None = None
) -> Iterator[Cluster]:
    """A cluster for as long as the block lasts; its workers come while the block goes on."""
    folder.mkdir(exist_ok=True)
    cluster = Cluster(folder, preload)
    try:
        for _ in range(workers):
            cluster.start_worker()
        yield cluster
    finally:
        cluster.close()


@contextmanager
def workers_dying(
    cluster: Cluster, *, every: float, most: int, progress: Callable[[], int]
) -> Iterator[list[Node]]:
    """Kill the oldest worker now and then, and start another one; yields the dead.

    Args:
        cluster: with some workers.
        every: seconds between two deaths, or more: a machine on which none of them comes to do
            anything in that time would never end.
        most: deaths, so that a busy machine is not kept at starting workers.
        progress: grows whenever something has been done.
    """
    alive = [node for node in cluster.nodes if node is not cluster.scheduler]
    dead: list[Node] = []
    ended = threading.Event()

    def kill_and_replace() -> None:
        done = -1
        while len(dead) < most and not ended.wait(every):
            joined = [node for node in alive if node.says("Registered to")]
            if len(joined) > 1 and progress() > done:
                done = progress()
                joined[0].kill()
                alive.remove(joined[0])
                dead.append(joined[0])
                alive.append(cluster.start_worker())

    thread = threading.Thread(target=kill_and_replace)
    thread.start()
    try:
        yield dead
    finally:
        ended.set()
        thread.join()


def spoiling_preload(folder: Path) -> Path:
    """What `dask worker --preload` takes to spoil its decoders, as `spoil_decoders` does here."""
    program = SPOILED.format(lives=str(folder / "crashed-once"))
    file = folder / "spoiled_decoders.py"
    file.write_text(
        "from vidret.extract.decoding import process\n"
        f"process.COMMAND = {('-P', '-c', program)!r}\n"
    )
    return file


def wait_for(holds: Callable[[], bool]) -> None:
    """Wait for something that is to happen soon."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.02)
