"""The folder of an index: a contents page, and files that it names; old ones go last.

A writer makes files under new names, then puts a new `index.json` in the place of the old one, then
removes what the new one does not name. Killed at any moment it leaves the old index or the new one.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vidret.data.errors import DamagedError, MismatchError, MissingError
from vidret.data.index.strays import Strays, load_strays
from vidret.data.index.vectors import VectorIndex, load_vectors
from vidret.data.storage.hdf5 import checksum
from vidret.data.storage.locks import LOCK, OWNED
from vidret.data.storage.publish import publish

log = logging.getLogger(__name__)

INDEX = "index.json"
FORMAT = 1
POOLED, FRAMES, ENTRIES, STRAYS = "pooled", "frames", "entries", "strays"
AGAIN = "make it again with `vidret index build`"
TRIES = 5  # to read files that a writer may be replacing

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexHeader:
    """What made an index; it answers for one cache and one head.

    Args:
        cache: name of the cache's folder.
        features: digest of what decides its features.
        head: name of the run, or `mean`.
        head_digest: of its weights.
        sound: whether vectors have a second half for the sound.
        kinds: how each set of vectors is searched, `flat` or `lists`.
        videos: how many it holds.
        built_for: how many it held when it was built.
        found: share of the nearest that its lists find.
        written: when, as ISO 8601.
        files: name, bytes and checksum of each file by its role.
    """

    cache: str
    features: str
    head: str
    head_digest: str
    sound: bool
    kinds: dict[str, str]
    videos: int
    built_for: int
    found: float
    written: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def every_frame(self) -> bool:
        """Whether it holds every frame beside one vector a video."""
        return FRAMES in self.kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """The videos of an index: their keys, rising, and what their files held."""

    keys: NDArray[np.int64]
    versions: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredIndex:
    """An index that was opened.

    Args:
        strays: in the order of the entries; None where the head weighs frames whatever the
            question says.
    """

    folder: Path
    header: IndexHeader
    entries: Entries
    vectors: dict[str, VectorIndex]
    strays: Strays | None


def write_index(
    folder: Path,
    header: IndexHeader,
    entries: Entries,
    vectors: dict[str, VectorIndex],
    strays: Strays | None = None,
) -> IndexHeader:
    """Put an index in the place of the one that is there; whole or not at all.

    The caller holds the folder's lock.

    Args:
        folder: of the index.
        header: what made it.
        entries: the videos that it holds.
        vectors: by role.
        strays: of the same videos, in the same order.

    Raises:
        MissingError: the folder cannot be written to, or has no room.
    """
    mark = uuid4().hex[:8]
    files = {}
    for role, index in vectors.items():
        files[role] = _written(folder / f"{role}-{mark}.faiss", index.save)
    order = entries.keys.argsort()
    if strays is not None:
        files[STRAYS] = _written(folder / f"{STRAYS}-{mark}.npz", strays[order].save)
    files[ENTRIES] = _written(
        folder / f"{ENTRIES}-{mark}.npz", lambda part: _save_entries(part, entries, order)
    )
    written = datetime.now(UTC).isoformat(timespec="seconds")
    header = replace(header, files=files, written=written)
    with publish(folder / INDEX) as part:
        part.write_text(json.dumps(asdict(header), indent=1) + "\n", encoding="utf-8")
    remove_unlisted(folder, header)
    return header


def remove_unlisted(folder: Path, header: IndexHeader) -> None:
    """Remove what earlier writers left; a reader that has a file open keeps it."""
    listed = {INDEX, LOCK, OWNED, *(one["name"] for one in header.files.values())}
    for path in folder.iterdir():
        if path.is_file() and path.name not in listed:
            path.unlink(missing_ok=True)


def read_header(folder: Path) -> IndexHeader:
    """Read the contents page of an index.

    Raises:
        MissingError: there is no index.
        MismatchError: a newer vidret wrote it.
        DamagedError: it is not as `write_index` writes it.
    """
    path = folder / INDEX
    try:
        values = json.loads(path.read_bytes())
        if values["format"] > FORMAT:
            raise MismatchError(
                f"{path} has format {values['format']}, and this vidret reads up to {FORMAT}: "
                f"use the vidret that wrote it, or {AGAIN}"
            )
        known = {one.name for one in fields(IndexHeader)}
        header = IndexHeader(**{name: values[name] for name in known})
        _require_plain_names(header)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingError(
            f"{folder} holds no index: make one with `vidret index build`"
        ) from error
    except UnicodeDecodeError as error:  # it holds all of the bytes
        raise DamagedError(f"{path} cannot be read (it is no UTF-8): {AGAIN}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedError(f"{path} cannot be read ({error!r}): {AGAIN}") from error
    return header


def open_index(folder: Path, *, mapped: bool = True) -> StoredIndex:
    """Open an index; one that is replaced meanwhile is opened as it is then.

    Args:
        folder: of the index.
        mapped: leave long lists on the disk.

    Raises:
        MissingError: there is no index.
        MismatchError: a newer vidret wrote it.
        DamagedError: a file is not there, or not as it was written.
    """
    for attempt in range(TRIES):
        header = read_header(folder)
        try:
            return _open(folder, header, mapped=mapped)
        except DamagedError:
            if attempt == TRIES - 1 or read_header(folder).files == header.files:
                raise
    raise AssertionError("unreachable")


def verify_index(folder: Path) -> list[str]:
    """Every file of an index that has other bytes than were written."""
    header = read_header(folder)
    return [
        f"{one['name']} has other bytes than were written"
        for one in header.files.values()
        if not (folder / one["name"]).is_file() or checksum(folder / one["name"]) != one["checksum"]
    ]


def _require_plain_names(header: IndexHeader) -> None:
    if not all(Path(one["name"]).name == one["name"] for one in header.files.values()):
        raise ValueError("a file outside the folder")


def _open(folder: Path, header: IndexHeader, *, mapped: bool) -> StoredIndex:
    for one in header.files.values():
        path = folder / one["name"]
        if not path.is_file() or path.stat().st_size != one["bytes"]:
            raise DamagedError(f"{path} is not there, or not as long as it was: {AGAIN}")
    try:
        with np.load(folder / header.files[ENTRIES]["name"], allow_pickle=False) as stored:
            entries = Entries(keys=stored["keys"], versions=stored["versions"])
        vectors = {
            role: load_vectors(folder / header.files[role]["name"], kind, mapped=mapped)
            for role, kind in header.kinds.items()
        }
        listed = header.files.get(STRAYS)  # an index of older versions has none
        strays = None
        if listed is not None:
            strays = load_strays(folder / listed["name"], videos=len(entries.keys))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise DamagedError(f"the index in {folder} cannot be read ({error!r}): {AGAIN}") from error
    return StoredIndex(
        folder=folder, header=header, entries=entries, vectors=vectors, strays=strays
    )


def _written(path: Path, write: Callable[[Path], None]) -> dict[str, Any]:
    with publish(path) as part:
        try:
            write(part)
        except RuntimeError as error:  # faiss says so where the disk is full
            raise OSError(str(error)) from error
        return {"name": path.name, "bytes": part.stat().st_size, "checksum": checksum(part)}


def _save_entries(part: Path, entries: Entries, order: NDArray[np.intp]) -> None:
    with part.open("wb") as file:
        np.savez(file, keys=entries.keys[order], versions=entries.versions[order])
