"""The contents page of a cache folder: what made it, and one line a shard."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

from vidret.data.errors import DamagedError, MissingError
from vidret.data.fingerprint import Fingerprint, require_format
from vidret.data.storage.hdf5 import ShardEntry, ShardKind, how_to_repair
from vidret.data.storage.publish import publish

MANIFEST = "manifest.json"
_REMOVED = ("videos", "captions")  # the fields of Removed


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCount:
    """How much a dataset has in one split, whatever became of it."""

    videos: int
    captions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Ids that the shards hold and the dataset no longer has: readers leave them out."""

    videos: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()


Line = TypeVar("Line", SplitCount, ShardEntry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a cache holds; `complete` once every video of the dataset is done or failed.

    Args:
        fingerprint: what made it.
        settings: of the extraction, for people and for commands that continue it.
        splits: how much the dataset has in each split.
        shards: one line each.
        complete: every video of the dataset is done or failed.
        removed: what the shards hold beyond the dataset.
        files: the checksum of each file that is no shard, by its name.
    """

    fingerprint: Fingerprint
    settings: dict[str, Any]
    splits: dict[str, SplitCount]
    shards: tuple[ShardEntry, ...]
    complete: bool
    removed: Removed = Removed()
    files: dict[str, str] = field(default_factory=dict)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it whole or not at all; the same manifest gives the same bytes."""
    shards = sorted(manifest.shards, key=lambda entry: entry.file)
    values = {
        "complete": manifest.complete,
        "fingerprint": manifest.fingerprint.to_json(),
        "format": manifest.fingerprint.format,
        "settings": manifest.settings,
        "shards": [asdict(entry) for entry in shards],
        "splits": {name: asdict(count) for name, count in manifest.splits.items()},
    }
    if manifest.fingerprint.format > 1:
        removed = manifest.removed
        values["removed"] = {
            "captions": sorted(removed.captions),
            "videos": sorted(removed.videos),
        }
        values["files"] = manifest.files
    with publish(folder / MANIFEST) as part:
        part.write_text(_readable(values), encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a cache folder.

    Raises:
        MissingError: the folder is no cache.
        MismatchError: a newer vidret wrote it.
        DamagedError: it is not as `write_manifest` writes it.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingError(
            f"{folder} holds no {MANIFEST}, so it is no cache: make one with `vidret extract`"
        ) from error
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read ({error}): {how_to_repair(folder)}") from error
    require_format(values.get("format") if isinstance(values, dict) else None, str(path))
    fingerprint = Fingerprint.from_json(values.get("fingerprint"), str(path))
    try:
        return _manifest(values, fingerprint)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedError(
            f"{path} is not as vidret writes it ({error!r}): {how_to_repair(folder)}"
        ) from error


def _manifest(values: dict[str, Any], fingerprint: Fingerprint) -> Manifest:
    if fingerprint.format < 2:
        values = {**values, "removed": dict.fromkeys(_REMOVED, ()), "files": {}}
    splits = {name: _of_kind(SplitCount, count) for name, count in values["splits"].items()}
    shards = tuple(_of_kind(ShardEntry, entry) for entry in values["shards"])
    if not all(entry.kind in get_args(ShardKind) for entry in shards):
        raise ValueError("a shard of an unknown kind")
    names = [*(entry.file for entry in shards), *values["files"]]
    if not all(Path(name).name == name for name in names):
        raise ValueError("a file outside the folder")
    if not (isinstance(values["settings"], dict) and isinstance(values["complete"], bool)):
        raise TypeError("settings or complete")
    return Manifest(
        fingerprint=fingerprint,
        settings=values["settings"],
        splits=splits,
        shards=shards,
        complete=values["complete"],
        removed=Removed(**{kind: _strings(values["removed"][kind]) for kind in _REMOVED}),
        files=dict(zip(values["files"], _strings([*values["files"].values()]), strict=True)),
    )


def _of_kind(kind: type[Line], values: dict[str, Any]) -> Line:
    """A dataclass of ints and strings from a JSON object, nothing left out and nothing more."""
    for one in fields(kind):
        expected = int if one.type is int else str
        if type(values[one.name]) is not expected:
            raise TypeError(f"{one.name} is {values[one.name]!r}")
    return kind(**values)


def _strings(values: Sequence[object]) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"strings are {values!r}")
    return tuple(map(str, values))


def _readable(values: dict[str, Any]) -> str:
    """JSON with sorted keys, one line a shard: short to read, and to compare."""
    plain = {name: value for name, value in values.items() if name != "shards"}
    head = json.dumps(plain, indent=1, sort_keys=True, allow_nan=False).removesuffix("\n}")
    lines = ",\n".join(f"  {json.dumps(entry, sort_keys=True)}" for entry in values["shards"])
    return f'{head},\n "shards": [\n{lines}\n ]\n}}\n'
