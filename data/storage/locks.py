"""Who may write a folder: one process at a time, also where the file system knows no locks."""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vidret.data.errors import MissingError
from vidret.data.storage.publish import cannot_write

log = logging.getLogger(__name__)

LOCK = ".lock"
OWNED = ".owned"  # stands in for the lock where the file system has none

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
_LONGEST = 300  # bytes of a holder's name


class BeingWrittenError(MissingError):
    """Another process writes a folder."""

    folder = Path()


def is_being_written(folder: Path) -> bool:
    """Whether another process is the writer of a folder now."""
    try:
        with folder_lock(folder):
            return False
    except BeingWrittenError:
        return True


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Be the one writer of a cache or a run; what a killed writer left half-done goes first.

    So is, at a good end, what killed workers of this writer left.

    Raises:
        CannotWriteError: the folder cannot be written to.
        BeingWrittenError: another process writes it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        with _locked(handle, folder):
            _remove_parts(folder)
            yield
            _remove_parts(folder)
    finally:
        os.close(handle)


@contextmanager
def _locked(handle: int, folder: Path) -> Iterator[None]:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(handle, _LONGEST, 0).decode(errors="replace").strip()
        raise _is_written_by(folder, holder or "another process") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise cannot_write(folder, error) from error
        log.info(
            "%s lies on a file system without locks: %s marks its writer instead", folder, OWNED
        )
        with _owned(folder):
            yield
        return
    try:
        _sign(handle, folder)
        yield
    finally:
        with suppress(OSError):
            os.ftruncate(handle, 0)
        fcntl.flock(handle, fcntl.LOCK_UN)  # a forked child may still hold the descriptor


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Own a folder by a file that only one process can have made."""
    path = folder / OWNED
    handle = _create(path, folder)
    if handle is None:
        _take_over(path, folder)
        handle = _create(path, folder)
    if handle is None:
        raise _is_written_by(folder, "another process, which came first")
    try:
        _sign(handle, folder)
        yield
    finally:
        os.close(handle)
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _create(path: Path, folder: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    except OSError as error:
        raise cannot_write(folder, error) from error


def _take_over(path: Path, folder: Path) -> None:
    """Remove the mark of a process that has died on this host.

    Of two that find it at once, the one that renames it goes on; the other finds nothing to rename.

    Raises:
        BeingWrittenError: the process lives, or is on another host.
    """
    try:
        holder = path.read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return
    except OSError as error:
        raise cannot_write(folder, error) from error
    if not _has_died(holder):
        raise _is_written_by(
            folder,
            holder or "another process",
            f"wait until that has ended, or, if you know that it has, remove {path}",
        )
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with suppress(OSError):
        path.rename(aside)
        log.info("%s was being written by %s, which has died: taking over", folder, holder)
        aside.unlink(missing_ok=True)


def _has_died(holder: str) -> bool:
    words = holder.split()
    if len(words) != 4 or words[3] != socket.gethostname() or not words[1].isdigit():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _sign(handle: int, folder: Path) -> None:
    """Say who writes, for the message that another writer gets."""
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _remove_parts(folder: Path) -> None:
    try:
        for part in folder.glob("*.part"):
            part.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _is_written_by(
    folder: Path, holder: str, advice: str = "wait until that has ended, or stop it"
) -> BeingWrittenError:
    error = BeingWrittenError(f"{folder} is being written by {holder}: {advice}")
    error.folder = folder
    return error
