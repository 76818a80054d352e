"""Whether a cache is whole: every byte of it compared with its manifest."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from vidret.data.errors import DamagedError, MismatchError, MissingError
from vidret.data.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from vidret.data.storage.hdf5 import ShardEntry, checksum, seal_is_broken
from vidret.data.storage.locks import folder_lock
from vidret.data.storage.projections import PROJECTIONS

# A whole shard without a line is what a killed run leaves, and the next one takes it up.
_NOT_LISTED = "is not in the manifest"
_CHANGED = "has other bytes than were written"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One file of a cache that is not as the manifest has it."""

    file: str
    what: str


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
    problems = [
        Problem(file=entry.file, what=what)
        for entry in manifest.shards
        if (
            what := wrong_size(folder, entry) or _wrong_content(folder / entry.file, entry.checksum)
        )
    ]
    problems += [
        Problem(file=name, what=what)
        for name, written in _files(manifest).items()
        if (what := _wrong_content(folder / name, written))
    ]
    listed = {entry.file for entry in manifest.shards}
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
    with folder_lock(_existing(folder)):
        problems = verify_cache(folder)
        bad = {problem.file for problem in problems}
        if bad and MANIFEST not in bad:
            manifest = read_manifest(folder)
            good = tuple(entry for entry in manifest.shards if entry.file not in bad)
            files = {name: one for name, one in manifest.files.items() if name not in bad}
            write_manifest(folder, replace(manifest, shards=good, files=files, complete=False))
        for problem in problems:
            if problem.what != _NOT_LISTED:
                remove_file(folder / problem.file)
    return problems


def damaged_shards(folder: Path, sound: Collection[str]) -> list[Problem]:
    """The shards that are not as they were written, whether or not the manifest names them.

    Args:
        folder: the cache, or where one is to be.
        sound: names that were looked at already, and found in order.
    """
    try:
        entries = read_manifest(folder).shards
    except (MissingError, DamagedError, MismatchError):
        entries = ()
    listed = {entry.file for entry in entries}
    return [
        Problem(file=path.name, what=what)
        for path in sorted(folder.glob("*.h5"))
        if path.name not in listed | {*sound} and (what := _unlisted(path, complete=False))
    ] + [
        Problem(file=entry.file, what=what)
        for entry in entries
        if entry.file not in sound
        and (
            what := wrong_size(folder, entry) or _wrong_content(folder / entry.file, entry.checksum)
        )
    ]


def wrong_size(folder: Path, entry: ShardEntry) -> str:
    """What is wrong with a shard at first sight; empty where nothing is."""
    try:
        size = (folder / entry.file).stat().st_size
    except OSError:
        return "is not there"
    return "" if size == entry.bytes else f"has {size:,} bytes, not {entry.bytes:,}"


def remove_file(path: Path) -> None:
    """Remove a file of a cache; one that is gone already is fine.

    Raises:
        MissingError: the folder cannot be written to.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise MissingError(
            f"{path} cannot be removed ({error.strerror or error}): remove it by hand"
        ) from error


def _files(manifest: Manifest) -> dict[str, str | None]:
    """The checksums of what is no shard; a file that has to be there and is not listed has none."""
    needed = [PROJECTIONS] if manifest.fingerprint.features == "hidden" else []
    return {**dict.fromkeys(needed), **manifest.files}


def _existing(folder: Path) -> Path:
    """The folder, which `folder_lock` would make where it is not there."""
    if not folder.is_dir():
        raise MissingError(f"{folder} is no folder, so there is no cache to repair")
    return folder


def _wrong_content(path: Path, written: str | None) -> str:
    if written is None:
        return _NOT_LISTED
    try:
        same = checksum(path) == written
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "" if same else _CHANGED


def _unlisted(path: Path, *, complete: bool) -> str:
    try:
        if seal_is_broken(path):
            return _CHANGED
    except DamagedError as error:
        return f"is damaged: {error}"
    except MismatchError:
        return _NOT_LISTED
    return _NOT_LISTED if complete else ""
