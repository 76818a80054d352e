"""Ranks kept beside a run, so that its numbers are there at once the next time.

A kept file says what it was made of: all weights and settings of the run, the shards of the cache,
the split, the competition and the version of vidret. Where any of it differs, the file is passed
over and the ranks are made anew.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vidret.data.cache import FeatureCache
from vidret.data.storage.publish import publish
from vidret.extract.backends import installed
from vidret.heads.metrics import Competition, Ranks
from vidret.heads.streaming import BothRanks
from vidret.pipelines.training.runs import WEIGHTS, Run

FORMAT = 1
DIRECTIONS = ("t2v", "v2t")
COUNTS = ("better", "tied")

Told = Sequence[str | int]


def keep_ranks(
    folder: Path,
    run: Run,
    cache: FeatureCache,
    split: str,
    v2t_by: Competition,
    ranks: BothRanks,
    *,
    rerank: Told = (),
    note: Mapping[str, Any] | None = None,
) -> None:
    """Write the ranks of a finished run on a split, whole or not at all.

    Args:
        folder: of the run.
        run: whose ranks they are.
        cache: of the split.
        split: that was ranked.
        v2t_by: whom a video's captions compete with.
        ranks: to write.
        rerank: the re-ranker and all that decides what it does; nothing for the plain ranks.
        note: what is to be said of them.
    """
    made_of = _made_of(folder, run, cache, split, v2t_by, rerank)
    columns = {
        f"{way}_{count}": getattr(getattr(ranks, way), count).astype(np.int32)
        for way in DIRECTIONS
        for count in COUNTS
    }
    with publish(_place(folder, split, rerank)) as part, part.open("wb") as file:
        np.savez_compressed(
            file, made_of=np.array(made_of), note=np.array(json.dumps(note)), **columns
        )


def kept_ranks(
    folder: Path,
    run: Run,
    cache: FeatureCache,
    split: str,
    v2t_by: Competition,
    *,
    rerank: Told = (),
) -> BothRanks | None:
    """The ranks of a finished run on a split, or None where there are none of what it is now."""
    path = _place(folder, split, rerank)
    if not (path.exists() and (folder / WEIGHTS).exists()):
        return None
    try:
        with path.open("rb") as file, np.load(file) as kept:
            if str(kept["made_of"]) != _made_of(folder, run, cache, split, v2t_by, rerank):
                return None
            t2v, v2t = (
                Ranks(**{count: kept[f"{way}_{count}"].astype(np.int64) for count in COUNTS})
                for way in DIRECTIONS
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None  # what is damaged is made again
    return BothRanks(t2v=t2v, v2t=v2t)


def note_of_ranks(folder: Path, split: str, rerank: Told) -> dict[str, Any]:
    """What is to be said of ranks that `kept_ranks` has found."""
    with np.load(_place(folder, split, rerank)) as kept:
        return dict(json.loads(str(kept["note"])))


def _place(folder: Path, split: str, rerank: Told) -> Path:
    """One file for each re-ranker and its settings; they stand beside each other."""
    if not rerank:
        return folder / f"ranks-{split}.npz"
    settings = hashlib.sha256(json.dumps(rerank[1:]).encode()).hexdigest()[:8]
    return folder / f"ranks-{split}-{rerank[0]}-{settings}.npz"


def _made_of(
    folder: Path, run: Run, cache: FeatureCache, split: str, v2t_by: Competition, rerank: Told
) -> str:
    """A hash of all that decides the ranks."""
    manifest = cache.manifest
    told = {
        "format": FORMAT,
        "vidret": installed("vidret"),
        "weights": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.glob("*.safetensors"))
        },
        "run": [run.head, run.settings, run.fingerprint.digest],
        "shards": sorted((entry.file, entry.checksum) for entry in manifest.shards),
        "files": manifest.files,
        "removed": asdict(manifest.removed),
        "split": [split, v2t_by, *rerank],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
