"""One HDF5 file of a cache: written whole or not at all, read without locks."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import xxhash
from numpy.typing import NDArray

from vidret.data.errors import DamagedError, EncodeError
from vidret.data.fingerprint import FORMAT, require_format
from vidret.data.storage.publish import publish

ShardKind = Literal["video", "caption", "pixel"]
Column = NDArray[Any] | list[str]

_ALIGNMENT = 64  # bytes: what is mapped later should start on a cache line
_READ_SIZE = 1 << 23
_SEAL = "content"  # an attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry:
    """What the manifest says of one shard; `fingerprint` is the digest given to the writer."""

    file: str
    kind: ShardKind
    items: int
    failed: int
    bytes: int
    checksum: str
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayPlace:
    """Where an array lies; `offset` is None where it cannot be mapped."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None


def write_shard(
    path: Path, kind: ShardKind, columns: Mapping[str, Column], digest: str
) -> ShardEntry:
    """Write named columns as one shard; the same columns give the same bytes.

    The file is put together in memory and then written in one go: HDF5 itself, when a disk is full,
    keeps a file open that it can neither finish nor leave.

    Raises:
        EncodeError: a string that HDF5 could not give back.
        MissingError: the folder cannot be written to, or has no room.
    """
    require_storable(columns)
    image = _image(kind, columns, digest)
    with publish(path) as part:
        part.write_bytes(image)
        with open_shard(part) as shard:
            return shard_entry(part, shard, path.name)


def read_shard_entry(path: Path) -> ShardEntry:
    """What the writer returned, from the file alone.

    Raises:
        DamagedError: the file is no whole shard.
    """
    with open_shard(path) as shard:
        return shard_entry(path, shard, path.name)


@contextmanager
def open_shard(path: Path) -> Iterator[h5py.File]:
    """Yield a shard for reading; whatever goes wrong in the block is damage to the file.

    Raises:
        DamagedError: the file is absent, no HDF5 file, or not as this format has it.
        MismatchError: a newer vidret wrote it.
    """
    # A published shard is never written again, so there is nothing to lock; NFS often cannot.
    with naming_damage(path), h5py.File(path, "r", locking=False) as shard:
        require_format(_plain(shard.attrs.get("format")), str(path))
        yield shard


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Take whatever goes wrong in the block for damage to a shard.

    Raises:
        DamagedError: something went wrong.
    """
    try:
        yield
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise DamagedError(
            f"{path} cannot be read ({error}): {how_to_repair(path.parent)}"
        ) from error


def how_to_repair(folder: Path) -> str:
    """What a message says next about a damaged cache."""
    return f"run `vidret cache repair --cache {folder}`, then the same `vidret extract` again"


def shard_entry(path: Path, shard: h5py.File, file: str) -> ShardEntry:
    """The manifest's line on an open shard that is, or will be, called `file`."""
    return ShardEntry(
        file=file,
        kind=shard.attrs["kind"],
        items=len(shard["ids"]),
        failed=len(shard["failures/ids"]) if "failures" in shard else 0,
        bytes=path.stat().st_size,
        checksum=checksum(path),
        fingerprint=shard.attrs["fingerprint"],
    )


def seal(shard: h5py.File) -> None:
    """Write into a shard, when all of it is there, the digest of what it holds."""
    shard.attrs[_SEAL] = _content(shard)


def seal_is_broken(path: Path) -> bool:
    """Whether a shard holds anything but what its writer sealed: for one that no manifest names.

    Raises:
        DamagedError: it cannot be read.
        MismatchError: a newer vidret wrote it.
    """
    with open_shard(path) as shard:
        return bool(shard.attrs.get(_SEAL) != _content(shard))


def _content(shard: h5py.File) -> str:
    """The xxh3_128 of the name, type, shape and values of every dataset, by name."""
    names: list[str] = []
    shard.visititems(lambda name, it: names.append(name) if isinstance(it, h5py.Dataset) else None)
    digest = xxhash.xxh3_128()
    for name in sorted(names):
        stored = shard[name]
        is_text = h5py.check_string_dtype(stored.dtype) is not None
        kind = "string" if is_text else stored.dtype.str
        digest.update(f"{name} {kind} {list(stored.shape)}\n".encode())
        rows = max(1, _READ_SIZE // max(1, stored.nbytes // max(1, len(stored))))
        for start in range(0, len(stored), rows):
            values = stored[start : start + rows]
            for part in (b"%d %b" % (len(text), text) for text in values) if is_text else [values]:
                digest.update(part)
    return digest.hexdigest()


def checksum(path: Path) -> str:
    """The xxh3_128 of a whole file; HDF5 itself would not notice a flipped bit."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_READ_SIZE):
            digest.update(block)
    return digest.hexdigest()


def read_strings(shard: h5py.File, name: str) -> list[str]:
    """A column of strings."""
    return list(shard[name].asstr(errors="surrogateescape")[...])


def place_of(path: Path, shard: h5py.File, name: str) -> ArrayPlace:
    """Where a column of numbers lies, without reading it."""
    stored = shard[name]
    offset = stored.id.get_offset() if stored.chunks is None else None
    return ArrayPlace(path=path, name=name, shape=stored.shape, dtype=stored.dtype, offset=offset)


def offsets_of(lengths: list[int]) -> NDArray[np.int64]:
    """Where each of some ragged items begins, and where the last one ends."""
    return np.cumsum([0, *lengths], dtype=np.int64)


def storable(reason: str) -> str:
    """A tool's own words may hold anything, and what HDF5 cannot hold is spelt out."""
    return reason.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


def _image(kind: ShardKind, columns: Mapping[str, Column], digest: str) -> bytes:
    with h5py.File(
        "shard",
        "w",
        driver="core",
        backing_store=False,
        alignment_threshold=1,
        alignment_interval=_ALIGNMENT,
    ) as shard:
        shard.attrs["format"] = FORMAT
        shard.attrs["kind"] = kind
        shard.attrs["fingerprint"] = digest
        for name, values in columns.items():
            put_array(shard, name, values)
        seal(shard)
        shard.flush()
        return shard.id.get_file_image()


def put_array(shard: h5py.File, name: str, values: Column) -> None:
    """Add one array; without times in the file, so that the same input gives the same bytes."""
    if isinstance(values, list):
        # File names need not be UTF-8; Python carries their odd bytes as surrogates.
        encoded = np.array([text.encode("utf-8", "surrogateescape") for text in values], object)
        kind = h5py.string_dtype()
        shard.create_dataset(name, data=encoded, dtype=kind, track_times=False)
        return
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)  # only what has a place can be mapped
    shard.create_dataset(name, data=values, dcpl=properties, track_times=False)


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def require_storable(columns: Mapping[str, Column]) -> None:
    """Refuse the few strings that an HDF5 string cannot give back."""
    for name, values in columns.items():
        for row, text in enumerate(values if isinstance(values, list) else ()):
            try:
                clean = b"\0" not in text.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                clean = False
            if not clean:
                owner = columns["failures/ids" if name.startswith("failures/") else "ids"][row]
                raise EncodeError(
                    f"{owner}: {name} is {text!r}, with a character that is no text: "
                    "mend the dataset's file"
                )
