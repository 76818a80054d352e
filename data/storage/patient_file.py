"""HDF5 never recovers from a disk that refuses to write, so it is not told before it has closed.

After an error of its own file HDF5 cannot close it: the descriptor stays open, the room on the disk
stays taken although the name is gone, and the process crashes when it ends. So HDF5 writes through
a file that keeps the first error to itself and from then on holds what is written in memory, which
is little: the writer asks for the error after each block, and gives up.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import h5py

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class PatientFile(io.FileIO):
    """A new file whose writes never fail; what went wrong is in `error`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self.error: OSError | None = None
        self.held: list[tuple[int, bytes]] = []

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write all of it, to the disk while that is well."""
        place, block = self.tell(), memoryview(data).cast("B")
        try:
            written = len(block) if self.error else 0
            while written < len(block):
                written += super().write(block[written:]) or 0
        except OSError as error:
            self.error = error
        if self.error:
            self.held.append((place, bytes(block)))
            self.seek(place + len(block))
        return len(block)

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        """Read what was written, wherever that is."""
        if not self.error:
            return super().readinto(buffer)
        place, block = self.tell(), memoryview(buffer).cast("B")
        block[:] = super().read(len(block)).ljust(len(block), b"\0")
        for start, held in self.held:
            first, last = max(start, place), min(start + len(held), place + len(block))
            if first < last:
                block[first - place : last - place] = held[first - start : last - start]
        self.seek(place + len(block))
        return len(block)

    def truncate(self, size: int | None = None, /) -> int:
        """Give it a size, while the disk is well."""
        try:
            if not self.error:
                return super().truncate(size)
        except OSError as error:
            self.error = error
        return self.tell() if size is None else size

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self.error:
            raise self.error


@contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, PatientFile]]:
    """Yield an empty HDF5 file, and what it writes through, to be checked on long ways.

    Raises:
        OSError: the disk did not take all of it.
    """
    with PatientFile(path) as disk:
        # Without a cache of its own what is written arrives at once, and so does the error.
        with h5py.File(disk, "w", rdcc_nbytes=0) as file:
            yield file, disk
        disk.check()
