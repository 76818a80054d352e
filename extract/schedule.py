"""Dask: a cluster on this machine, and tasks that go through it a few at a time."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from vidret.data.errors import VidretError

if TYPE_CHECKING:
    from distributed import Client, Future, Nanny, Worker

Item = TypeVar("Item")
Result = TypeVar("Result")

IN_FLIGHT_PER_WORKER = 2
TRIES = 3


@contextmanager
def dask_client(workers: int) -> Iterator["Client"]:
    """A cluster of worker processes on this machine, one thread each; 0 is one per core."""
    from dask import config
    from distributed import Client, LocalCluster

    # Its setting for this comes too late here, and `silence_logs` misses a logger without handler.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    settings = {
        "distributed.logging.distributed": "critical",
        "distributed.comm.timeouts.connect": "60s",  # two busy cores may start slowly
        "distributed.scheduler.allowed-failures": TRIES - 1,
        "distributed.worker.preload": [__name__],  # for `dask_setup` below
    }
    with config.set(settings), _workers_ignore_interrupts():
        cluster = LocalCluster(
            n_workers=workers or os.cpu_count() or 1,
            threads_per_worker=1,
            memory_limit=None,  # dask's own limit ends healthy workers that map files
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # its pages want a port anyhow
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster) as client:
        try:
            yield client
        finally:
            cluster.sync(_end_workers, cluster.workers.values())


async def _end_workers(nannies: Iterable["Nanny"]) -> None:
    """End the processes at once: asked to stop, they would first work through what is begun.

    Nothing is lost by it, since whatever they write appears whole or not at all. A busy machine may
    take longer to bury a killed process than we wait, which is no error.
    """
    await asyncio.gather(*(nanny.close(timeout=0.1) for nanny in nannies), return_exceptions=True)


def dask_setup(_worker: "Worker") -> None:
    """Dask calls this in every worker, also in one that replaces another: Ctrl-C is not theirs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def run_tasks(
    client: "Client", task: Callable[..., Result], items: Iterable[Item], *shared: object
) -> Iterator[Result]:
    """Run `task(item, *shared)` for every item; results come as they are ready.

    Only a few tasks are with the scheduler at any time, so millions of items need no memory.

    Raises:
        VidretError: raised by a task, or its worker died again and again.
    """
    from distributed import KilledWorker, as_completed

    waiting = iter(items)
    limit = IN_FLIGHT_PER_WORKER * max(1, len(client.nthreads()))

    def submit(item: Item) -> "Future[Result]":
        return client.submit(task, item, *shared, pure=False)

    running = as_completed([submit(item) for item in islice(waiting, limit)])
    for future in running:
        try:
            yield future.result()
        except KilledWorker as error:
            raise VidretError(
                f"a worker process died {TRIES} times over the same shard ({error}): "
                "look for too little memory, or a file that its decoder cannot survive"
            ) from error
        running.update([submit(item) for item in islice(waiting, 1)])


@contextmanager
def _workers_ignore_interrupts() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal; workers that start here leave it to us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
