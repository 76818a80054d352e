"""What the shards of a cache hold, as far as planning needs it: no embeddings are read."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from vidret.data.errors import DamagedError, MismatchError, MissingError
from vidret.data.manifest import read_manifest
from vidret.data.samples import Failure
from vidret.data.shards import read_caption_table, read_sources
from vidret.data.storage.hdf5 import ShardEntry, ShardKind, read_shard_entry, seal_is_broken

Row = TypeVar("Row", "VideoRow", "CaptionRow")


@dataclass(frozen=True, slots=True)
class VideoRow:
    """A video that is encoded; `path` is relative to the dataset's root."""

    id: str
    split: str
    path: str
    size: int
    content_hash: str


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """A caption that is encoded."""

    id: str
    video_id: str
    text: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content(Generic[Row]):
    """One good shard: `since` is when it was written, in nanoseconds."""

    entry: ShardEntry
    path: Path
    since: int
    rows: tuple[Row, ...]
    failed: tuple[Failure, ...] = ()

    @property
    def ids(self) -> Iterator[str]:
        """All items, those that failed too."""
        yield from (row.id for row in self.rows)
        yield from (failure.id for failure in self.failed)


def video_contents(folder: Path, digest: str) -> list[Content[VideoRow]]:
    """The good video shards of a folder, whether or not a manifest names them yet."""
    return _contents(folder, "video", digest, _read_video_shard)


def caption_contents(folder: Path, digest: str) -> list[Content[CaptionRow]]:
    """The good caption shards of a folder, likewise."""
    return _contents(folder, "caption", digest, _read_caption_shard)


def shard_name(kind: ShardKind, number: int) -> str:
    """The file of a shard."""
    return f"{kind}s-{number:05d}.h5"


def _contents(
    folder: Path,
    kind: ShardKind,
    digest: str,
    read: Callable[[Path], tuple[Sequence[Row], Sequence[Failure]]],
) -> list[Content[Row]]:
    """The good shards, in the order of their numbers; no item is in two of them.

    A shard is good if it can be read, was made by the same features, and is as it was written: to
    take other bytes as they are would vouch for the damage. Where an item lies in two shards, that
    of the manifest counts, and the other is not good.
    """
    listed = _checksums(folder)
    numbers = sorted(_numbers(folder, kind), key=lambda n: (shard_name(kind, n) not in listed, n))
    found, seen = {}, set[str]()
    for number in numbers:
        path = folder / shard_name(kind, number)
        try:
            since, entry = path.stat().st_mtime_ns, read_shard_entry(path)
            if (entry.kind, entry.fingerprint) != (kind, digest):
                continue
            if _is_damaged(entry, path, listed):
                continue
            rows, failed = read(path)
        except (DamagedError, MismatchError, OSError):
            continue
        content = Content(
            entry=entry, path=path.absolute(), since=since, rows=tuple(rows), failed=tuple(failed)
        )
        if seen.isdisjoint(content.ids):
            seen.update(content.ids)
            found[number] = content
    return [found[number] for number in sorted(found)]


def _is_damaged(entry: ShardEntry, path: Path, listed: Mapping[str, str]) -> bool:
    if written := listed.get(entry.file):
        return written != entry.checksum
    return seal_is_broken(path)


def _read_video_shard(path: Path) -> tuple[list[VideoRow], list[Failure]]:
    table = read_sources(path)
    columns = (table.ids, table.split, table.path, table.size, table.content_hash)
    return [VideoRow(*row) for row in zip(*columns, strict=True)], table.failures


def _read_caption_shard(path: Path) -> tuple[list[CaptionRow], list[Failure]]:
    table = read_caption_table(path)
    columns = (table.ids, table.video_ids, table.text, table.kind)
    return [CaptionRow(*row) for row in zip(*columns, strict=True)], []


def _numbers(folder: Path, kind: ShardKind) -> Iterator[int]:
    for path in folder.glob(f"{kind}s-*.h5"):
        if match := re.fullmatch(rf"{kind}s-(\d+)\.h5", path.name):
            number = int(match[1])
            if path.name == shard_name(kind, number):
                yield number


def _checksums(folder: Path) -> dict[str, str]:
    """What the manifest says of the shards; those of a run that was ended early are not in it."""
    try:
        return {entry.file: entry.checksum for entry in read_manifest(folder).shards}
    except (MissingError, DamagedError, MismatchError):
        return {}
