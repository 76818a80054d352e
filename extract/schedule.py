"""Dask: a cluster of this machine or one that is there already, and tasks that go through it.

Only a few tasks are with the scheduler at any time, so millions of shards need no memory there. A
task whose worker dies is given to another one, by Dask and then by us.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from vidret.data.errors import ItemsFailedError, MissingError

if TYPE_CHECKING:
    from distributed import Client, Future, Nanny, Worker

log = logging.getLogger(__name__)

Result = TypeVar("Result")

IN_FLIGHT_PER_WORKER = 2
DEATHS = 2  # of a worker over a task, before it comes back to us
TRIES = 3  # that we give it then
LOOK_SECONDS = 5.0  # between two looks at how many workers there are
CONNECT_SECONDS = 30.0
SPARE_MEMORY = 2 << 30  # for the system, the page cache and this process
GPU, CPU = "GPU", "CPU"  # what workers offer, and tasks ask for


class SchedulerGoneError(MissingError):
    """The scheduler of a cluster is not there any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where tasks run.

    Args:
        workers: processes without a GPU; 0 takes one per core, or what fits into memory.
        gpus: the GPUs of this machine that get a process each.
        footprint: bytes that one process takes.
        scheduler: address of a cluster that is there already; so is `scheduler_file`.
        tools: folder for what libraries would write into HOME.
    """

    workers: int = 0
    gpus: tuple[int, ...] = ()
    footprint: int = 1 << 30
    scheduler: str | None = None
    scheduler_file: Path | None = None
    tools: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether the workers are ours to start."""
        return self.scheduler is None and self.scheduler_file is None


@dataclass(frozen=True, slots=True)
class Job(Generic[Result]):
    """One call of a task; `wants` is the kind of worker it would rather have, `GPU` or `CPU`."""

    task: Callable[..., Result]
    arguments: tuple[Any, ...]
    wants: str = GPU


@contextmanager
def dask_client(place: Place) -> Iterator["Client"]:
    """A client of the cluster; one of our own ends with the block, another one stays.

    Raises:
        MissingError: there is no scheduler where one should be.
    """
    with _local_client(place) if place.is_local else _attached_client(place) as client:
        yield client


def count_workers(place: Place) -> int:
    """How many processes without a GPU this machine gets: one per core, or what fits in memory."""
    from distributed.system import MEMORY_LIMIT

    if place.workers:
        return place.workers
    cores = core_count()
    fitting = max(1, int((MEMORY_LIMIT - SPARE_MEMORY) // place.footprint))
    if fitting < cores:
        log.info(
            "%d worker processes for %d cores: %d GiB of memory hold no more of them",
            fitting,
            cores,
            MEMORY_LIMIT >> 30,
        )
    return min(cores, fitting)


def core_count() -> int:
    """The cores that this process may use, as a container or a queue may have it."""
    from dask.system import CPU_COUNT

    return int(CPU_COUNT)


def run_jobs(
    client: "Client",
    jobs: Iterable[Job[Result]],
    *,
    then: Callable[[Job[Result], Result], Job[Result] | None] = lambda _job, _result: None,
) -> Iterator[tuple[Job[Result], Result]]:
    """Run all jobs; results come as they are ready.

    Args:
        client: of the cluster.
        jobs: taken a few at a time.
        then: what is to follow a job, now that its result is there.

    Raises:
        VidretError: raised by a task.
        ItemsFailedError: the workers of some job died again and again; the others were done.
        MissingError: the scheduler has gone.
    """
    from distributed import KilledWorker, as_completed

    queue, offers, ready = iter(jobs), _Offers(client), as_completed()
    waiting: list[Job[Result]] = []
    suspects: list[tuple[Job[Result], int]] = []
    running: dict[Future[Result], tuple[Job[Result], int]] = {}
    lost: list[Job[Result]] = []

    def next_job() -> tuple[Job[Result], int] | None:
        job = waiting.pop() if waiting else next(queue, None)
        if job is not None:
            return job, 1
        # One on each worker: Dask counts a death against all tasks that a worker had in hand.
        return suspects.pop(0) if suspects and len(running) < offers.threads else None

    def fill() -> None:
        while len(running) < IN_FLIGHT_PER_WORKER * offers.threads and (found := next_job()):
            job, tries = found
            wanted = offers.resources(job.wants)
            future = client.submit(job.task, *job.arguments, pure=False, resources=wanted)
            running[future] = (job, tries)
            ready.add(future)

    with scheduler_stays(client):
        fill()
        while running:
            future = next(ready)
            job, tries = running.pop(future)
            offers.look_again()
            try:
                result = future.result()
            except KilledWorker:
                if tries < TRIES:
                    suspects.append((job, tries + 1))
                else:
                    lost.append(job)
                fill()
                continue
            if (following := then(job, result)) is not None:
                waiting.append(following)
            fill()
            yield job, result
    if lost:
        raise ItemsFailedError(
            f"the workers of {len(lost)} tasks died again and again, all others are done: look for "
            "too little memory on the workers, then give the same command again"
        )


def workers_have_gpu(client: "Client") -> bool:
    """Whether the encoders will run on GPUs: some worker offers one."""
    return _offered(client).get(GPU, 0) > 0


def require_shared(client: "Client", folder: Path) -> None:
    """Look whether every worker sees the same folder as we do.

    Raises:
        MissingError: one does not.
    """
    token = folder / ".shared"
    token.write_text(str(os.getpid()))
    try:
        seen = client.run(_reads, str(token), str(os.getpid()))
    finally:
        token.unlink(missing_ok=True)
    blind = [address for address, sees in seen.items() if not sees]
    if blind:
        raise MissingError(
            f"{len(blind)} of {len(seen)} workers, {blind[0]} the first, do not see {folder}: "
            "put the work folder where all machines find it under the same path, with --work"
        )


def _reads(path: str, expected: str) -> bool:
    """Whether a worker finds this text in this file."""
    try:
        return Path(path).read_text(encoding="utf-8") == expected
    except OSError:
        return False


class _Offers:
    """What the workers of a cluster offer; they may come and go while the run goes on."""

    def __init__(self, client: "Client") -> None:
        self.client = client
        self.looked = -LOOK_SECONDS
        self.look_again()

    def look_again(self) -> None:
        """Now and then, since each look is a question to the scheduler."""
        now = time.monotonic()
        if now - self.looked >= LOOK_SECONDS:
            self.looked = now
            self.kinds = _offered(self.client)
            self.threads = max(1, sum(self.client.nthreads().values()))

    def resources(self, wanted: str) -> dict[str, int] | None:
        """What a task asks for: its kind of worker, where there is one."""
        return {wanted: 1} if self.kinds.get(wanted) else None


def _offered(client: "Client") -> dict[str, float]:
    """The resources of all workers together."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    kinds = {kind for worker in workers for kind in worker["resources"]}
    return {kind: sum(worker["resources"].get(kind, 0) for worker in workers) for kind in kinds}


@contextmanager
def _local_client(place: Place) -> Iterator["Client"]:
    from dask import config
    from distributed import Client, SpecCluster

    # Its setting for this comes too late here, and `silence_logs` misses a logger without handler.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    settings = {
        "distributed.logging.distributed": "critical",
        "distributed.comm.timeouts.connect": "60s",  # two busy cores may start slowly
        "distributed.scheduler.allowed-failures": DEATHS - 1,
        "distributed.worker.preload": [__name__],  # for `dask_setup` below
    }
    with config.set(settings), _hold_interrupts():
        cluster = SpecCluster(
            workers=_worker_specs(place),
            scheduler=_scheduler_spec(),
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster) as client:
        try:
            yield client
        finally:
            cluster.sync(_end_workers, cluster.workers.values())


def _scheduler_spec() -> dict[str, Any]:
    from distributed import Scheduler

    options = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    return {"cls": Scheduler, "options": options}


def _worker_specs(place: Place) -> dict[str, Any]:
    """One process for each GPU, and others without one."""
    from distributed import Nanny

    shared = {
        "host": "127.0.0.1",
        "nthreads": 1,
        "memory_limit": None,  # dask's own limit ends healthy workers that map files
        "dashboard": False,
        "silence_logs": logging.CRITICAL,
    }
    without = [
        {**shared, "resources": {CPU: 1}, "env": {"CUDA_VISIBLE_DEVICES": ""}}
        for _ in range(count_workers(place) if not place.gpus or place.workers else 0)
    ]
    with_gpu = [
        {**shared, "resources": {GPU: 1}, "env": {"CUDA_VISIBLE_DEVICES": str(gpu)}}
        for gpu in place.gpus
    ]
    return {
        f"worker-{number}": {"cls": Nanny, "options": options}
        for number, options in enumerate([*with_gpu, *without])
    }


@contextmanager
def _attached_client(place: Place) -> Iterator["Client"]:
    from distributed import Client

    for name in ("distributed", "distributed.client"):  # what matters we say ourselves
        logging.getLogger(name).setLevel(logging.CRITICAL)
    where = place.scheduler or f"the scheduler of {place.scheduler_file}"
    if place.scheduler_file is not None and not place.scheduler_file.is_file():
        raise MissingError(  # Dask would wait for it for good
            f"there is no scheduler file {place.scheduler_file}: start the scheduler with "
            "`dask scheduler --scheduler-file FILE`, or leave out --scheduler-file"
        )
    file = None if place.scheduler_file is None else str(place.scheduler_file)
    try:
        client = Client(place.scheduler, scheduler_file=file, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        raise MissingError(
            f"no Dask scheduler answers at {where} ({_first_line(error)}): start one with "
            "`dask scheduler`, or leave out --scheduler to use this machine"
        ) from error
    from vidret.extract.manners import QuietHome

    with closing(client):  # its own `with` would have to end in the thread that began it
        _wait_for_a_worker(client, where)
        client.register_plugin(QuietHome(place.tools))
        yield client


def _wait_for_a_worker(client: "Client", where: str) -> None:
    """A queue may take its time to give us machines; Ctrl-C ends the wait."""
    if not client.nthreads():
        log.info("waiting for a worker at %s: start some with `dask worker`", where)
        client.wait_for_workers(1)


@contextmanager
def scheduler_stays(client: "Client") -> Iterator[None]:
    """Say it in our words when the scheduler is gone.

    Then its futures are cancelled, also where another one soon answers at the same place, or raise
    whatever became of the connection.
    """
    from concurrent.futures import CancelledError

    try:
        yield
    except (CancelledError, asyncio.CancelledError) as error:
        raise _has_gone(client) from error
    except (OSError, RuntimeError) as error:
        if _answers(client):
            raise
        raise _has_gone(client) from error


def _has_gone(client: "Client") -> SchedulerGoneError:
    where = "" if client.scheduler is None else f" at {client.scheduler.address}"
    return SchedulerGoneError(
        f"the Dask scheduler{where} has gone: what is done is kept, start it again and give the "
        "same command"
    )


def _answers(client: "Client") -> bool:
    """Whether the scheduler still says something."""
    try:
        client.scheduler_info(n_workers=0)
    except (OSError, RuntimeError, TimeoutError):
        return False
    return client.status == "running"


async def _end_workers(nannies: Iterable["Nanny"]) -> None:
    """End the processes at once: asked to stop, they would first work through what is begun.

    Nothing is lost by it, since whatever they write appears whole or not at all. A busy machine may
    take longer to bury a killed process than we wait, which is no error.
    """
    await asyncio.gather(*(nanny.close(timeout=0.1) for nanny in nannies), return_exceptions=True)


def dask_setup(_worker: "Worker") -> None:
    """Dask calls this in every worker, also in one that replaces another: Ctrl-C is not theirs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _hold_interrupts() -> Iterator[None]:
    """Ctrl-C and the signal to end wait until the workers have started.

    The workers inherit that Ctrl-C is not for them; a signal to end still is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    at_the_end = signal.signal(signal.SIGTERM, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, at_the_end)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came:
            signal.raise_signal(signal.SIGTERM)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def visible_gpus(wanted: Sequence[int] | None) -> tuple[int, ...]:
    """The GPUs to use: those that are asked for, or all that torch finds.

    Raises:
        MissingError: one that is asked for is not there.
    """
    import torch

    found = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    if wanted is None:
        return tuple(found)
    absent = [gpu for gpu in wanted if gpu not in found]
    if absent:
        raise MissingError(
            f"GPU {absent[0]} is asked for, and torch finds {len(found)} GPUs here: leave out "
            "--gpus, or look at nvidia-smi"
        )
    return tuple(wanted)
