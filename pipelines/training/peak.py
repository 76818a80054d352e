"""The most memory that a stretch of code takes."""

import ctypes
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import torch


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[int]]:
    """The most bytes that the block takes on a device above what was taken at its start.

    On the CPU that is what the process holds, looked at fifty times a second.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before, found = torch.cuda.memory_allocated(device), [0]
        yield found
        found[0] = torch.cuda.max_memory_allocated(device) - before
        return
    _return_free_memory()
    process, found, done = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.02):
            found[0] = max(found[0], process.memory_info().rss - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def _return_free_memory() -> None:
    """Give the system what was freed before, which would be taken again without being seen."""
    gc.collect()
    with suppress(OSError, AttributeError):  # not every C library keeps any
        ctypes.CDLL(None).malloc_trim(0)
