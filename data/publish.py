"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from vidret.data.errors import MissingError


@contextmanager
def publish(path: Path) -> Iterator[Path]:
    """Yield a path to write to; `path` appears only once the block has succeeded.

    Raises:
        MissingError: the folder cannot be written to.
    """
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")  # a task may be running twice
    try:
        yield part
        _flush_to_disk(part)  # after a power cut the name must not outlive the bytes
        part.replace(path)
        _flush_to_disk(path.parent)
    except OSError as error:
        raise MissingError(
            f"cannot write to {path}: {error.strerror or error}; "
            "make room there or choose another folder with --work"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
