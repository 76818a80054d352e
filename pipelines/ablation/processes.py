"""Processes that fit side by side, each with its own features and one thread of torch."""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from vidret.data.cache import FeatureCache
from vidret.data.errors import ItemsFailedError
from vidret.extract.schedule import Place, core_count, count_workers
from vidret.pipelines.ablation.fits import Fit
from vidret.pipelines.ablation.working import (
    Bench,
    Event,
    OnEvent,
    Queue,
    attempt,
    epochs_of,
    fitter_at,
    remove_parts,
    torch_threads,
)

log = logging.getLogger(__name__)

ROOM_TO_WORK = 3 << 29  # bytes beside the features: libraries, gradients, a block of scores
FLOATS_PER_STORED = 3  # float16 on disk is float32 here, and padded for a moment


def count_jobs(asked: int, cache: FeatureCache, device: str) -> int:
    """How many fits run side by side: as many as asked for, if cores and memory allow it.

    Args:
        asked: 0 leaves it to us: one on a GPU, else as many as there is room for.
        cache: whose features every process holds.
        device: where they train.
    """
    if device != "cpu" or asked == 1:
        return min(asked or 1, core_count())
    stored = sum(entry.bytes for entry in cache.manifest.shards)
    room = count_workers(Place(footprint=ROOM_TO_WORK + FLOATS_PER_STORED * stored))
    if asked > room:
        log.warning(
            "--jobs %d is more than this machine has cores and memory for: %d run side by side",
            asked,
            room,
        )
    return min(asked or room, room)


def fit_side_by_side(bench: Bench, fits: Sequence[Fit], on_event: OnEvent, *, jobs: int) -> None:
    """Fit several runs at once.

    Args:
        bench: where.
        fits: each behind the one that it needs; those needed that are not listed are done.
        on_event: told of every epoch and of every end.
        jobs: how many processes.
    """
    queue, workers = Queue(fits), _Workers(bench)
    try:
        while True:
            while workers.busy < jobs and (fit := queue.next()):
                workers.give(fit)
            if not workers.busy:
                return
            for event in workers.listen():
                ends = queue.ended(event.fit, event.error) if event.ended else [event]
                for one in ends:
                    on_event(one)
    finally:
        workers.close()


@dataclass(slots=True, eq=False)
class _Worker:
    """A process, the way to it, and what it is at."""

    process: SpawnProcess
    pipe: Connection
    fit: Fit | None = None


class _Workers:
    """The processes of one table; one that died is replaced when there is more to do."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._workers: list[_Worker] = []
        self._said: set[tuple[Any, ...]] = set()

    @property
    def busy(self) -> int:
        """How many are at work."""
        return sum(worker.fit is not None for worker in self._workers)

    def give(self, fit: Fit) -> None:
        """Let a process that has nothing to do, or a new one, fit a run."""
        idle = [worker for worker in self._workers if worker.fit is None]
        worker = idle[0] if idle else self._start()
        worker.fit = fit
        with suppress(OSError):  # it died meanwhile, which is heard where its end is
            worker.pipe.send(fit)

    def listen(self) -> Iterator[Event]:
        """Wait for news of those that are at work."""
        ways = {worker.pipe: worker for worker in self._workers if worker.fit is not None}
        for pipe in connection.wait(list(ways)):
            worker = ways[pipe]  # type: ignore[index]  # what we gave is what we get
            try:
                news = worker.pipe.recv()
            except (EOFError, OSError):
                yield self._bury(worker)
                continue
            if isinstance(news, _Said):
                self._say_once(news)
            elif isinstance(news, Event):
                worker.fit = None if news.ended else worker.fit
                yield news
            else:  # a bug: its own traceback says where
                raise news

    def close(self) -> None:
        """End all processes at once; what is safe on disk stays, what is half-written goes."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
            if worker.fit is not None:
                remove_parts(worker.fit.folder)
        self._workers.clear()

    def _start(self) -> _Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self._bench), daemon=True)
        with _without_interrupts():
            process.start()
        theirs.close()
        self._workers.append(_Worker(process=process, pipe=ours))
        return self._workers[-1]

    def _bury(self, worker: _Worker) -> Event:
        """Take a dead process off the list, and say which fit it died over."""
        assert worker.fit is not None
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        remove_parts(worker.fit.folder)
        error = ItemsFailedError(
            f"the process that fitted it ended with {_ending(worker.process.exitcode)}"
        )
        return Event(fit=worker.fit, ended=True, error=error)

    def _say_once(self, said: "_Said") -> None:
        """What several processes say alike is said once."""
        if (said.name, said.message) not in self._said:
            self._said.add((said.name, said.message))
            logging.getLogger(said.name).log(said.level, "%s", said.message)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """A log message on its way to the process that shows it."""

    name: str
    level: int
    message: str


class _ToParent(logging.Handler):
    """Sends log messages through the pipe."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """Send one message."""
        said = _Said(name=record.name, level=record.levelno, message=record.getMessage())
        self._pipe.send(said)


def serve(pipe: Connection, bench: Bench) -> None:
    """Fit what comes through the pipe until it is closed: the life of one process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logger = logging.getLogger("vidret")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(_ToParent(pipe))
    fitter = None
    with torch_threads(1):
        while (fit := _received(pipe)) is not None:
            try:
                fitter = fitter or fitter_at(bench)
                error = attempt(fitter, fit, epochs_of(fit, pipe.send))
                pipe.send(Event(fit=fit, ended=True, error=error))
            except Exception as bug:  # noqa: BLE001 - raised where somebody reads its traceback
                _send_bug(pipe, bug)


def _received(pipe: Connection) -> Fit | None:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


def _send_bug(pipe: Connection, bug: Exception) -> None:
    """Send an exception with its traceback, which does not travel by itself."""
    import traceback

    text = "".join(traceback.format_exception(bug))
    told = RuntimeError(f"{type(bug).__name__}: {bug}")
    told.add_note(f"In the process that fitted:\n{text}")
    pipe.send(told)


def _end_with_parent() -> None:
    """End at once where the parent was killed, so that nobody works on who is not waited for."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, and never reaches a process that is started in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ending(code: int | None) -> str:
    """How a process ended, and what that tells."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = ", as when memory runs out: try fewer --jobs" if name == "SIGKILL" else ""
        return f"exit code {code} ({name}{hint})"
    return f"exit code {code}"
