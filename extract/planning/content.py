"""What a file is told by, when its name stays the same: its size, and a hash of its bytes."""

from pathlib import Path

import xxhash

from vidret.data.errors import DecodeError
from vidret.data.printable import printable


def look_at_content(path: Path) -> tuple[int, str]:
    """Size and hash of a file; it may be gone again by the time that it is decoded."""
    digest, size = xxhash.xxh3_128(), 0
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise DecodeError(
            f"{printable(path)} cannot be read to its end ({error.strerror}): "
            "check the disk it lies on"
        ) from error
    return size, digest.hexdigest()


def path_below(root: Path, path: Path) -> str:
    """A path as a cache keeps it: relative to the dataset's root where it lies below that."""
    root, path = root.absolute(), path.absolute()
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
