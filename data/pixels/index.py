"""Which pixel shard has the pictures of which file, so that no file is decoded for a second model.

A file is told by what it holds and not by its name: it may have been moved, replaced, or be part of
another dataset as well.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path

from vidret.data.errors import DamagedError, MismatchError
from vidret.data.pixels.writer import require_pixels
from vidret.data.storage.hdf5 import open_shard, read_strings

log = logging.getLogger(__name__)

PIXEL_FILES = "pixels-*.h5"


@dataclass(frozen=True, slots=True)
class PixelPlace:
    """One video of one pixel shard: what a task is told instead of the whole index."""

    path: Path
    row: int


@dataclass(frozen=True, slots=True)
class PixelIndex:
    """Where the pictures of each file are; where there are two places, the first."""

    shards: list[Path] = field(default_factory=list)
    rows: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, content_hash: str, size: int) -> PixelPlace | None:
        """The pictures of the file with this content, or None."""
        found = self.rows.get((content_hash, size))
        return None if found is None else PixelPlace(self.shards[found[0]], found[1])

    def add(self, path: Path, digest: str) -> None:
        """Take up the videos of one more pixel shard, if it was made with this digest.

        Raises:
            DamagedError: it cannot be read, or is no pixel shard.
            MismatchError: a newer vidret wrote it.
        """
        with open_shard(path) as shard:
            require_pixels(shard)
            if shard.attrs["fingerprint"] != digest:
                return
            hashes, sizes = read_strings(shard, "source/content_hash"), shard["source/size"][...]
            files = list(zip(hashes, sizes.tolist(), strict=True))
        for row, file in enumerate(files):
            self.rows.setdefault(file, (len(self.shards), row))
        self.shards.append(path)


def find_pixels(work: Path, digest: str) -> PixelIndex:
    """All pictures below a work folder that were made with one digest, listed by a cache or not.

    A shard that cannot be read is left out with a warning, and its videos are decoded again.
    """
    index = PixelIndex()
    for path in sorted((work / "cache").glob(f"*/{PIXEL_FILES}")):
        try:
            index.add(path, digest)
        except (DamagedError, MismatchError) as error:
            log.warning("%s", error)
    return index
