"""One cache folder: who may write it, what is in it, and whether it is whole."""

import fcntl
import os
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.data.features import SplitFeatures, gather_split
from vidret.data.fingerprint import Fingerprint
from vidret.data.manifest import MANIFEST, Manifest, SplitCount, read_manifest, write_manifest
from vidret.data.rows import View
from vidret.data.samples import AudioState, Failure
from vidret.data.shards import (
    ShardEntry,
    ShardKind,
    checksum,
    how_to_repair,
    read_caption_table,
    read_failures,
    read_shard_entry,
    read_video_table,
)

LOCK = ".lock"

# A whole shard without a line is what a killed run leaves, and the next one takes it up.
_NOT_LISTED = "is not in the manifest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a split is in a cache; `failed` holds all that is not, once it is complete."""

    expected: int
    found: int
    failed: int
    sound: dict[AudioState, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One file of a cache that is not as the manifest has it."""

    file: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCache:
    """The features in one folder; holds no open file."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path, *, partial: bool = False) -> "FeatureCache":
        """Look at a cache without reading its features.

        Args:
            folder: the cache.
            partial: take it before its extraction has finished, too.

        Raises:
            MissingError: the folder is no cache, or not complete.
            MismatchError: a newer vidret wrote it.
            DamagedError: a shard is not there, or not as long as it was.
        """
        manifest = read_manifest(folder)
        if not (manifest.complete or partial):
            raise MissingError(
                f"the extraction into {folder} has not finished: "
                "give the same `vidret extract` again, and it goes on"
            )
        for entry in manifest.shards:
            if what := _wrong_size(folder, entry):
                raise DamagedError(f"{folder / entry.file} {what}: {how_to_repair(folder)}")
        return cls(folder=folder, manifest=manifest)

    @property
    def fingerprint(self) -> Fingerprint:
        """What made the cache."""
        return self.manifest.fingerprint

    @property
    def splits(self) -> Mapping[str, SplitCount]:
        """The splits of the dataset, and how much each should hold."""
        return self.manifest.splits

    def failures(self) -> list[Failure]:
        """Every video that could not be processed."""
        return [failure for path in self._shards("video") for failure in read_failures(path)]

    def coverage(self, split: str) -> Coverage:
        """How many videos of a split are there, and how many of them have sound."""
        expected = self._expected(split).videos
        states = Counter(
            state
            for table in map(read_video_table, self._shards("video"))
            for state, its_split in zip(table.audio_state, table.split, strict=True)
            if its_split == split
        )
        found = states.total()
        sound = {state: states[state] for state in AudioState}
        return Coverage(expected=expected, found=found, failed=expected - found, sound=sound)

    def load(self, split: str, *, view: View = "ram") -> SplitFeatures:
        """The features of one split.

        Args:
            split: one of `splits`.
            view: `ram` reads it all now; `mapped` and `lazy` leave the embeddings on disk.

        Raises:
            ConfigError: the dataset has no such split.
            DamagedError: a shard cannot be read, or an id is there twice.
        """
        expected = self._expected(split)
        return gather_split(
            self.folder,
            split,
            [read_video_table(path) for path in self._shards("video")],
            [read_caption_table(path) for path in self._shards("caption")],
            fingerprint=self.fingerprint,
            num_captions=expected.captions,
            view=view,
        )

    def _shards(self, kind: ShardKind) -> list[Path]:
        return [self.folder / entry.file for entry in self.manifest.shards if entry.kind == kind]

    def _expected(self, split: str) -> SplitCount:
        if split not in self.splits:
            known = f"{self.folder} has no split {split!r}: choose one of {', '.join(self.splits)}"
            hint = (
                '; the lines of captions.jsonl give a folder its splits: "split": "train"'
                if list(self.splits) == ["all"]
                else ""
            )
            raise ConfigError(known + hint)
        return self.splits[split]


@contextmanager
def cache_lock(folder: Path) -> Iterator[None]:
    """Be the one writer of a cache; what a killed writer left half-done is removed first.

    Raises:
        MissingError: the folder cannot be written to, or another process writes it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise _cannot_write(folder, error) from error
    with file:
        _become_the_writer(file, folder)
        try:
            yield
        finally:
            file.truncate(0)
            fcntl.flock(file, fcntl.LOCK_UN)  # a forked child may still hold the descriptor


def find_caches(work: Path) -> list[Path]:
    """The cache folders of a work folder, the one written last first."""
    manifests = (work / "cache").glob(f"*/{MANIFEST}")
    dated = sorted(manifests, key=lambda path: (-path.stat().st_mtime_ns, path))
    return [path.parent for path in dated]


def newest_cache(work: Path) -> Path:
    """The cache that was written last.

    Raises:
        MissingError: there is none.
    """
    caches = find_caches(work)
    if not caches:
        raise MissingError(
            f"no cache below {work / 'cache'}: make one with `vidret extract --dataset NAME`, "
            "or name another folder with --work"
        )
    return caches[0]


def verify_cache(folder: Path) -> list[Problem]:
    """Compare every byte of a cache with its manifest; an empty list means that it is whole.

    Raises:
        MissingError: the folder is no cache.
        MismatchError: a newer vidret wrote it.
    """
    try:
        manifest = read_manifest(folder)
    except DamagedError as error:
        return [Problem(file=MANIFEST, what=f"is damaged: {error}")]
    listed = {entry.file for entry in manifest.shards}
    problems = [
        Problem(file=entry.file, what=what)
        for entry in manifest.shards
        if (what := _wrong_size(folder, entry) or _wrong_content(folder, entry))
    ]
    problems += [
        Problem(file=path.name, what=what)
        for path in sorted(folder.glob("*.h5"))
        if path.name not in listed and (what := _unlisted(path, complete=manifest.complete))
    ]
    parts = sorted(folder.glob("*.part"))
    return problems + [Problem(file=path.name, what="is half-written") for path in parts]


def repair_cache(folder: Path) -> list[Problem]:
    """Remove what is damaged, so that the next `vidret extract` makes it again.

    A damaged manifest goes too: its shards stay, and each says what made it.

    Raises:
        MissingError: the folder is no cache, cannot be written to, or is being written.
        MismatchError: a newer vidret wrote it.
    """
    with cache_lock(_existing(folder)):
        problems = verify_cache(folder)
        bad = {problem.file for problem in problems}
        if bad and MANIFEST not in bad:
            manifest = read_manifest(folder)
            good = tuple(entry for entry in manifest.shards if entry.file not in bad)
            write_manifest(folder, replace(manifest, shards=good, complete=False))
        for problem in problems:
            if problem.what != _NOT_LISTED:
                (folder / problem.file).unlink(missing_ok=True)
    return problems


def _become_the_writer(file: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        for part in folder.glob("*.part"):
            part.unlink(missing_ok=True)
    except BlockingIOError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise MissingError(
            f"{folder} is being written by {holder}: wait until that has ended, or stop it"
        ) from error
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _cannot_write(folder: Path, error: OSError) -> MissingError:
    return MissingError(
        f"cannot write to {folder}: {error.strerror or error}, choose another with --work"
    )


def _existing(folder: Path) -> Path:
    """The folder, which `cache_lock` would make where it is not there."""
    if not folder.is_dir():
        raise MissingError(f"{folder} is no folder, so there is no cache to repair")
    return folder


def _wrong_size(folder: Path, entry: ShardEntry) -> str:
    try:
        size = (folder / entry.file).stat().st_size
    except OSError:
        return "is not there"
    return "" if size == entry.bytes else f"has {size:,} bytes, not {entry.bytes:,}"


def _wrong_content(folder: Path, entry: ShardEntry) -> str:
    try:
        same = checksum(folder / entry.file) == entry.checksum
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if same else "has other bytes than were written"


def _unlisted(path: Path, *, complete: bool) -> str:
    try:
        read_shard_entry(path)
    except DamagedError as error:
        return f"is damaged: {error}"
    except MismatchError:
        return _NOT_LISTED
    return _NOT_LISTED if complete else ""
