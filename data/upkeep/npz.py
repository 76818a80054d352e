"""Arrays of any length in one `.npz` file, a block at a time."""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidret.data.storage.publish import publish

_NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can name: the same data, the same bytes


class NpzWriter:
    """Adds arrays to an open `.npz`; `numpy.load` reads it without pickle."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Add an array that is in memory."""
        self.stream(name, values.dtype, values.shape, [values])

    def strings(self, name: str, values: Sequence[str]) -> None:
        """Add strings as numpy has them: all as wide as the longest, which compresses to little."""
        longest = max(map(len, values), default=0)
        blocks = (np.array(values[n : n + 1024], f"U{longest or 1}") for n in _starts(values))
        self.stream(name, np.dtype(f"U{longest or 1}"), (len(values),), blocks, packed=True)

    def stream(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        blocks: Iterable[NDArray[Any]],
        *,
        packed: bool = False,
    ) -> None:
        """Add an array whose rows come block by block."""
        member = zipfile.ZipInfo(f"{name}.npy", date_time=_NO_TIME)
        member.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        }
        with self._archive.open(member, "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype).tobytes())


@contextmanager
def new_npz(path: Path) -> Iterator[NpzWriter]:
    """Yield an empty `.npz` to fill; `path` appears only once the block has succeeded.

    Raises:
        MissingError: the folder cannot be written to, or has no room.
    """
    with publish(path) as part, zipfile.ZipFile(part, "w") as archive:
        yield NpzWriter(archive)


def _starts(values: Sequence[str]) -> range:
    return range(0, len(values), 1024)
