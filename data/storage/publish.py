"""Files that appear whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from vidret.data.errors import MissingError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's share of it, one file


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a path to write to; `path` appears only once the block has succeeded.

    Raises:
        MissingError: the folder cannot be written to, or has no room.
    """
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")  # a task may be running twice
    try:
        yield part
        _flush_to_disk(part)  # after a power cut the name must not outlive the bytes
        part.replace(path)
        _flush_to_disk(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> MissingError:
    """What to say when the system refuses a write, and what to do next."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return MissingError(
            f"no room for {path} ({reason}): make room there and give the same command again, "
            "or choose another folder with --work"
        )
    return MissingError(f"cannot write to {path}: {reason}; choose another folder with --work")


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
