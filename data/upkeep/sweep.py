"""What lies in a cache without use: found, and removed so that a kill at any moment does no harm.

Rows that the dataset no longer has are left out by writing the rest of their shard under a free
number. Then the manifest is replaced, and only then does the old shard go: whatever a killed sweep
leaves behind is a file that no manifest names, which the next one removes.
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from vidret.data.errors import DamagedError, MismatchError
from vidret.data.manifest import MANIFEST, Manifest, Removed, read_manifest, write_manifest
from vidret.data.pixels.reader import PixelReader, read_pixel_table
from vidret.data.pixels.writer import new_pixel_shard
from vidret.data.samples import Video
from vidret.data.shards import read_failures, write_caption_shard, write_video_shard
from vidret.data.storage.hdf5 import (
    ShardEntry,
    open_shard,
    read_shard_entry,
    read_strings,
    seal_is_broken,
)
from vidret.data.storage.locks import LOCK, folder_lock
from vidret.data.storage.stored import read_captions, read_videos
from vidret.data.upkeep.check import remove_file

PICTURES_AT_ONCE = 64

_SHARD = re.compile(r"(video|caption|pixel)s-\d+\.h5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """Something that nothing needs, and how much room it takes."""

    path: Path
    what: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shrink:
    """A shard, the items of it that nothing needs, and how many others it has."""

    entry: ShardEntry
    gone: frozenset[str]
    left: int

    @property
    def what(self) -> str:
        """The reason, for people."""
        return f"{len(self.gone)} of {len(self.gone) + self.left} items left the dataset"


def find_garbage(folder: Path) -> list[Garbage]:
    """What `sweep_cache` would remove; nothing is changed.

    Raises:
        MissingError: the folder is no cache.
        DamagedError: a shard or the manifest cannot be read.
    """
    manifest = read_manifest(folder)
    rows = [
        Garbage(
            path=folder / one.entry.file,
            what=one.what,
            bytes=one.entry.bytes * len(one.gone) // (len(one.gone) + one.left),
        )
        for one in _shrinks(folder, manifest)
    ]
    return [*_half_written(folder), *_stray(folder, manifest), *rows]


def sweep_cache(folder: Path) -> list[Garbage]:
    """Remove half-written and unlisted files, and rows that the dataset no longer has.

    Raises:
        MissingError: the folder is no cache, cannot be written to, or is being written.
        DamagedError: a shard or the manifest cannot be read.
    """
    read_manifest(folder)  # since locking a folder makes it
    halves = _half_written(folder)  # which go as soon as the lock is taken
    with folder_lock(folder):
        stray = remove_stray(folder)
        return [*halves, *stray, *_shrink_all(folder, read_manifest(folder))]


def remove_stray(folder: Path) -> list[Garbage]:
    """Remove the shards that the manifest does not name, and say which they were.

    Where the extraction has not finished, those that the next run can take up stay. Only the one
    writer of a cache may call this.
    """
    found = _stray(folder, read_manifest(folder))
    for one in found:
        remove_file(one.path)
    return found


def _half_written(folder: Path) -> list[Garbage]:
    return [_whole_file(path, "half-written") for path in sorted(folder.glob("*.part"))]


def _stray(folder: Path, manifest: Manifest) -> list[Garbage]:
    listed = {entry.file for entry in manifest.shards}
    return [
        _whole_file(path, "not in the manifest")
        for path in _shard_files(folder)
        if path.name not in listed and (manifest.complete or not _can_be_taken_up(path, manifest))
    ]


def _shard_files(folder: Path) -> list[Path]:
    """What is called as a shard is; whatever else lies in the folder is not ours to remove."""
    return sorted(path for path in folder.glob("*.h5") if _SHARD.fullmatch(path.name))


def _can_be_taken_up(path: Path, manifest: Manifest) -> bool:
    try:
        entry = read_shard_entry(path)
        if seal_is_broken(path):
            return False
    except (DamagedError, MismatchError):
        return False
    return entry.kind == "pixel" or entry.fingerprint == manifest.fingerprint.features_digest


def _whole_file(path: Path, what: str) -> Garbage:
    return Garbage(path=path, what=what, bytes=path.stat().st_size)


def _shrinks(folder: Path, manifest: Manifest) -> Iterator[_Shrink]:
    """The shards that hold something the dataset no longer has."""
    videos, captions = set(manifest.removed.videos), set(manifest.removed.captions)
    for entry in manifest.shards:
        removed = captions if entry.kind == "caption" else videos
        if removed:
            ids = _ids(folder / entry.file)
            if gone := removed.intersection(ids):
                yield _Shrink(entry=entry, gone=frozenset(gone), left=len(ids) - len(gone))


def _ids(path: Path) -> list[str]:
    with open_shard(path) as shard:
        failed = read_strings(shard, "failures/ids") if "failures" in shard else []
        return [*read_strings(shard, "ids"), *failed]


def _shrink_all(folder: Path, manifest: Manifest) -> list[Garbage]:
    if manifest.removed == Removed():
        return []
    shrinks = list(_shrinks(folder, manifest))
    old = {one.entry.file: one for one in [*shrinks, *_companions(folder, manifest, shrinks)]}
    names = _free_names(folder, old)
    new = {file: _without(folder, one, names[file]) for file, one in old.items()}
    entries = [new.get(entry.file, entry) for entry in manifest.shards]
    shards = tuple(entry for entry in entries if entry is not None)
    write_manifest(folder, replace(manifest, shards=shards, removed=Removed()))
    for file in old:
        remove_file(folder / file)
    return [
        Garbage(
            path=folder / file,
            what=one.what,
            bytes=one.entry.bytes - (0 if (made := new[file]) is None else made.bytes),
        )
        for file, one in old.items()
        if one.gone
    ]


def _companions(folder: Path, manifest: Manifest, shrinks: list[_Shrink]) -> Iterator[_Shrink]:
    """The other shards of the same videos: pixels lie beside what was encoded from them."""
    moving = {one.entry.file for one in shrinks}
    numbers = {_number(file) for file in moving if not file.startswith("captions-")}
    for entry in manifest.shards:
        beside = entry.kind != "caption" and _number(entry.file) in numbers
        if beside and entry.file not in moving:
            left = len(_ids(folder / entry.file))
            yield _Shrink(entry=entry, gone=frozenset(), left=left)


def _free_names(folder: Path, files: Iterable[str]) -> dict[str, str]:
    """A name that no file has for each shard; those of one number get one number again."""
    taken = {_number(path.name) for path in _shard_files(folder)}
    free = (f"-{number:05d}.h5" for number in count() if f"-{number:05d}.h5" not in taken)
    new = dict(zip(sorted({_number(file) for file in files}), free, strict=False))
    return {file: file.removesuffix(_number(file)) + new[_number(file)] for file in files}


def _number(file: str) -> str:
    """The end of a shard's name: `-00007.h5`."""
    return file[file.index("-") :]


def _without(folder: Path, shrink: _Shrink, name: str) -> ShardEntry | None:
    """Write what is left of a shard under a new name; nothing, where nothing is left."""
    if not shrink.left:
        return None
    old, new = folder / shrink.entry.file, folder / name
    gone, digest = shrink.gone, shrink.entry.fingerprint
    if shrink.entry.kind == "caption":
        captions = [caption for caption in read_captions(old) if caption.id not in gone]
        return write_caption_shard(new, captions, digest)
    failures = [failure for failure in read_failures(old) if failure.id not in gone]
    if shrink.entry.kind == "pixel":
        return _copy_pixels(old, new, gone, digest)
    videos = [video for video in read_videos(old) if video.id not in gone]
    return write_video_shard(new, videos, failures, digest)


def _copy_pixels(old: Path, new: Path, gone: frozenset[str], digest: str) -> ShardEntry:
    table = read_pixel_table(old)
    with PixelReader(old) as reader, new_pixel_shard(new, digest, table.side) as writer:
        for row, id_ in enumerate(table.ids):
            if id_ in gone:
                continue
            writer.begin(Video(id=id_, path=Path(table.path[row]), split=table.split[row]))
            for pictures in reader.iter_pictures(row, at_once=PICTURES_AT_ONCE):
                for picture in pictures:
                    writer.add_picture(picture)
            for samples in reader.iter_sound(row):
                writer.add_sound(samples)
            writer.finish(
                table.facts[row],
                path=table.path[row],
                size=int(table.size[row]),
                content_hash=table.content_hash[row],
            )
        for failure in table.failures:
            if failure.id not in gone:
                writer.fail(failure)
    return writer.entry


def describe_cache(folder: Path) -> Garbage:
    """A whole cache as something to remove."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    size = sum(path.stat().st_size for path in files)
    return Garbage(path=folder, what="used by no run", bytes=size)


def remove_cache(folder: Path) -> Garbage:
    """Remove a whole cache, its manifest first: half of a cache is never taken for one.

    Raises:
        MissingError: it is being written, or cannot be removed.
    """
    with folder_lock(folder):
        removed = describe_cache(folder)
        for path in [folder / MANIFEST, *sorted(folder.iterdir())]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                remove_file(path)
    remove_file(folder / LOCK)
    with suppress(OSError):  # something that is not ours came in meanwhile
        folder.rmdir()
    return removed
