"""Files that appear whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from vidret.data.errors import MissingError

ANOTHER_FOLDER = "choose another folder with --work"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's share of it, one file


class CannotWriteError(MissingError):
    """The system refuses a write."""

    path = Path()  # what was to be written


@contextmanager
def publish(path: Path, instead: str = ANOTHER_FOLDER) -> Iterator[Path]:
    """Yield a path to write to; `path` appears only once the block has succeeded.

    Args:
        path: of the file.
        instead: what to do where it cannot be written, for messages.

    Raises:
        CannotWriteError: the folder cannot be written to, or has no room.
    """
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")  # a task may be running twice
    try:
        mode = _usual_mode(part)
        yield part
        part.chmod(mode)  # some libraries write for their user alone
        _flush_to_disk(part)  # after a power cut the name must not outlive the bytes
        part.replace(path)
        _flush_to_disk(path.parent)
    except OSError as error:
        raise cannot_write(path, error, instead) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _usual_mode(part: Path) -> int:
    """The rights that a new file has here."""
    part.touch()
    mode = part.stat().st_mode
    part.unlink()
    return mode


def cannot_write(path: Path, error: OSError, instead: str = ANOTHER_FOLDER) -> CannotWriteError:
    """What to say when the system refuses a write, and what to do next."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        told = CannotWriteError(
            f"no room for {path} ({reason}): make room there and give the same command again, "
            f"or {instead}"
        )
    else:
        told = CannotWriteError(f"cannot write to {path}: {reason}; {instead}")
    told.path = path
    return told


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
