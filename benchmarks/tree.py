"""Peak memory of a command and of every process that it starts."""

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

EVERY = 0.25  # seconds from one look to the next
DECODER = "vidret.extract.decoding.child"
WORKER = "spawn_main"  # how Dask's nanny starts one


@dataclass(slots=True, kw_only=True)
class Peak:
    """The most that a process, or several together, took.

    Args:
        shared_out: at any look, memory that several processes share counted in parts (PSS).
        resident: what the kernel saw, each process at its own highest moment (VmHWM), so never less
            than what they took at the same time.
    """

    shared_out: int = 0
    resident: int = 0


@dataclass(slots=True)
class Peaks:
    """What was seen of a whole command."""

    total: Peak = field(default_factory=Peak)
    command: Peak = field(default_factory=Peak)  # the process that was started, alone
    workers: dict[int, Peak] = field(default_factory=dict)  # each with its decoders
    decoders: dict[int, Peak] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def worker(self) -> Peak:
        """The largest worker, with what it started."""
        return max(self.workers.values(), key=lambda peak: peak.resident, default=Peak())

    @property
    def decoder(self) -> Peak:
        """The largest decoding process."""
        return max(self.decoders.values(), key=lambda peak: peak.resident, default=Peak())


def run_watched(command: Sequence[str], log: Path) -> Peaks:
    """Run a command to its end and watch it."""
    peaks, began = Peaks(), time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        with _watching(process.pid, peaks):
            code = process.wait()
    if code:
        raise RuntimeError(f"{command} left with {code}: {log.read_text()[-2000:]}")
    peaks.seconds = time.monotonic() - began
    return peaks


@contextmanager
def _watching(pid: int, peaks: Peaks) -> Iterator[None]:
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(pid, peaks, ended))
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _watch(pid: int, peaks: Peaks, ended: threading.Event) -> None:
    highest: dict[int, int] = {}
    owner: dict[int, int] = {}
    root = psutil.Process(pid)
    while not ended.wait(EVERY):
        shares: dict[int, int] = {}
        with suppress(psutil.Error):
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.Error, OSError, ValueError):
                    _look_at(process, shares, highest, owner, peaks)
        _note(pid, shares, highest, owner, peaks)


def _look_at(
    process: psutil.Process,
    shares: dict[int, int],
    highest: dict[int, int],
    owner: dict[int, int],
    peaks: Peaks,
) -> None:
    pid = process.pid
    if pid not in owner:
        told = " ".join(process.cmdline())
        owner[pid] = pid
        if DECODER in told:
            owner[pid] = process.ppid()
            peaks.decoders[pid] = Peak()
        elif WORKER in told:
            peaks.workers[pid] = Peak()
    highest[pid] = _highest(pid)
    shares[pid] = process.memory_full_info().pss


def _highest(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10
    return 0


def _note(
    root: int,
    shares: dict[int, int],
    highest: dict[int, int],
    owner: dict[int, int],
    peaks: Peaks,
) -> None:
    _raise(peaks.total, list(shares), shares, highest)
    _raise(peaks.command, [root], shares, highest)
    for worker, peak in peaks.workers.items():
        _raise(peak, [pid for pid in shares if owner[pid] == worker], shares, highest)
    for decoder, peak in peaks.decoders.items():
        _raise(peak, [decoder], shares, highest)


def _raise(
    peak: Peak, pids: Sequence[int], shares: dict[int, int], highest: dict[int, int]
) -> None:
    seen = [pid for pid in pids if pid in shares]
    peak.shared_out = max(peak.shared_out, sum(shares[pid] for pid in seen))
    peak.resident = max(peak.resident, sum(highest[pid] for pid in seen))
