"""The datasets that vidret knows by name."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from vidret.data.datasets.activitynet import ACTIVITYNET, load_activitynet
from vidret.data.datasets.assembling import Published
from vidret.data.datasets.didemo import (
    DIDEMO,
    DIDEMO_BY_TIME,
    load_didemo,
    load_didemo_by_time,
)
from vidret.data.datasets.lsmdc import LSMDC, load_lsmdc
from vidret.data.datasets.msrvtt import (
    MSRVTT_1KB,
    MSRVTT_7K,
    MSRVTT_9K,
    MSRVTT_FULL,
    load_msrvtt_1kb,
    load_msrvtt_7k,
    load_msrvtt_9k,
    load_msrvtt_full,
)
from vidret.data.datasets.msvd import MSVD, load_msvd
from vidret.data.datasets.vatex import VATEX, load_vatex
from vidret.data.errors import ConfigError, MissingError
from vidret.data.fingerprint import Fingerprint
from vidret.data.folder import FOLDER_NAME, load_folder
from vidret.data.samples import Dataset
from vidret.data.synth.dataset import MINI_FOLDER, load_synth_mini

FOLDER_PREFIX = "folder:"
DRAWN = "synth"  # drawn on the spot, by `vidret extract` itself


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetEntry:
    """One dataset: how to read it, and what a user must know of it.

    Args:
        load: from the dataset's folder to its videos and captions.
        summary: one line for a list.
        holds: what belongs into the folder.
        default_root: the folder, where vidret brings it along.
        published: what is known of a dataset that others published.
    """

    load: Callable[[Path], Dataset]
    summary: str
    holds: str
    default_root: Path | None = None
    published: Published | None = None


def _entry(load: Callable[[Path], Dataset], published: Published) -> DatasetEntry:
    return DatasetEntry(
        load=load, summary=published.title, holds=published.holds, published=published
    )


DATASETS: dict[str, DatasetEntry] = {
    "synth-mini": DatasetEntry(
        load=load_synth_mini,
        summary="18 synthetic clips that come with the package, 72 captions",
        holds="captions.jsonl, videos/",
        default_root=MINI_FOLDER,
    ),
    "msvd": _entry(load_msvd, MSVD),
    "msrvtt-9k": _entry(load_msrvtt_9k, MSRVTT_9K),
    "msrvtt-7k": _entry(load_msrvtt_7k, MSRVTT_7K),
    "msrvtt-full": _entry(load_msrvtt_full, MSRVTT_FULL),
    "msrvtt-1kb": _entry(load_msrvtt_1kb, MSRVTT_1KB),
    "didemo": _entry(load_didemo, DIDEMO),
    "didemo-by-time": _entry(load_didemo_by_time, DIDEMO_BY_TIME),
    "lsmdc": _entry(load_lsmdc, LSMDC),
    "activitynet": _entry(load_activitynet, ACTIVITYNET),
    "vatex": _entry(load_vatex, VATEX),
}


def load_dataset(spec: str, root: Path | None) -> Dataset:
    """Read a dataset by its name, or any folder of videos as `folder:PATH`.

    Raises:
        ConfigError: no dataset has this name.
        MissingError: it is not known where the dataset lies, or something is not there.
    """
    if spec.startswith(FOLDER_PREFIX):
        return load_folder(_folder_of(spec, root))
    require_known(spec)
    entry = DATASETS[spec]
    root = root or entry.default_root
    if root is None:
        raise MissingError(_how_to_name_a_root(spec, entry))
    return entry.load(root)


def require_known(name: str) -> None:
    """Refuse a name that no dataset has.

    Raises:
        ConfigError: there is none, with the one that was probably meant.
    """
    if name not in DATASETS:
        raise ConfigError(_unknown(name))


def dataset_hash(dataset: Dataset) -> str:
    """Hash of ids, splits and captions, whatever their order.

    Wherever the files of a published dataset lie, they are the same. In a folder of one's own the
    ids are but file names, so there the place counts as well.
    """
    lines = [
        *([["root", str(dataset.root)]] if dataset.name == FOLDER_NAME else []),
        *(["video", video.id, video.split] for video in dataset.videos),
        *(["caption", c.id, c.video_id, c.text, c.kind] for c in dataset.captions),
    ]
    digest = hashlib.sha256()
    for line in sorted(map(json.dumps, lines)):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()[:16]


def dataset_key(dataset: Dataset) -> str:
    """What stays the same while a dataset grows: its name, and where a folder of one's own lies."""
    return f"{dataset.name}:{dataset.root}" if dataset.name == FOLDER_NAME else dataset.name


def cache_name(dataset: Dataset, fingerprint: Fingerprint) -> str:
    """The name of the folder of a cache, in which a dataset that has grown finds it again."""
    told = json.dumps([fingerprint.features_digest, dataset_key(dataset)])
    digest = hashlib.sha256(told.encode()).hexdigest()[:12]
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", dataset.name)
    return f"{slug}-f{fingerprint.frames}-{digest}"


def _folder_of(spec: str, root: Path | None) -> Path:
    folder = spec.removeprefix(FOLDER_PREFIX)
    if not folder:
        raise ConfigError("folder: names no folder: write folder:PATH")
    if root is not None:
        raise ConfigError(f"{spec} says where the videos are: leave out the root {root}")
    return Path(folder)


def _unknown(spec: str) -> str:
    if spec == DRAWN:
        return f"{DRAWN} is drawn by `vidret extract` itself: there is nothing to look at before"
    known = [DRAWN, *DATASETS]
    close = get_close_matches(spec.lower(), known, n=1)
    if close:
        hint = f"did you mean {close[0]!r}?"
    elif Path(spec).expanduser().is_dir():
        hint = f"for your own videos write {FOLDER_PREFIX}{spec}"
    else:
        hint = f"for your own videos write {FOLDER_PREFIX}PATH"
    return f"no dataset {spec!r}, the known ones are {', '.join(known)}: {hint}"


def _how_to_name_a_root(name: str, entry: DatasetEntry) -> str:
    return (
        f'no folder known for dataset "{name}". Put this into ./vidret.toml:\n\n'
        f'[datasets.{name}]\nroot = "/path/to/{name}"   # holds {entry.holds}\n\n'
        "or pass --root"
    )
