"""Which files somebody opens, whoever that is and in whatever process: Linux tells."""

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_OPEN = 0x20
IN_ISDIR = 0x40000000
EVENT = struct.Struct("iIII")


@contextmanager
def watching(root: Path) -> Iterator[list[str]]:
    """Yield a list that holds, after the block, the name of each file below a folder once it was
    opened, as often as it was.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert handle >= 0, os.strerror(ctypes.get_errno())
    names: list[str] = []
    try:
        for folder in (root, *(one for one in root.rglob("*") if one.is_dir())):
            watch = libc.inotify_add_watch(handle, os.fsencode(folder), IN_OPEN)
            assert watch >= 0, os.strerror(ctypes.get_errno())
        yield names
        names.extend(_read(handle))
    finally:
        os.close(handle)


def _read(handle: int) -> Iterator[str]:
    while True:
        try:
            told = os.read(handle, 1 << 20)
        except BlockingIOError:
            return
        at = 0
        while at < len(told):
            _, mask, _, length = EVENT.unpack_from(told, at)
            at += EVENT.size
            if mask & IN_OPEN and not mask & IN_ISDIR:
                yield os.fsdecode(told[at : at + length].rstrip(b"\0"))
            at += length
