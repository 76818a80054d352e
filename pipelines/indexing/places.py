"""Where the index of a cache for a head lies, or those of its shares."""

import re
import shutil
from pathlib import Path

from vidret.data.index.store import INDEX
from vidret.pipelines.searching.ranker import Ranker

SHARE = re.compile(r"share-(\d+)-of-(\d+)")


def index_folder(work: Path, ranker: Ranker) -> Path:
    """Where the index of what a head ranks lies."""
    corpus = ranker.corpus
    return index_place(work, corpus.cache.folder, ranker.name, *corpus.share)


def index_place(work: Path, cache: Path, head: str, number: int = 0, of: int = 1) -> Path:
    """Where the index of one of so many shares of a cache lies."""
    whole = work / "index" / cache.name / head.replace("/", "--")
    return whole if of == 1 else whole / f"share-{number}-of-{of}"


def shares_indexed(work: Path, cache: Path, head: str) -> int | None:
    """How many shares were indexed last, each of them; None where there are none."""
    found = {of for of in _numbers(index_place(work, cache, head)) if _whole(work, cache, head, of)}
    return max(found, key=lambda of: _written(work, cache, head, of), default=None)


def remove_other_shares(work: Path, cache: Path, head: str, of: int) -> None:
    """Remove indexes of other numbers of shares; that of the whole stays."""
    whole = index_place(work, cache, head)
    for other in _numbers(whole) - {of}:
        for number in range(other):
            shutil.rmtree(index_place(work, cache, head, number, other), ignore_errors=True)


def _numbers(whole: Path) -> set[int]:
    """Into how many shares the cache was cut for the indexes that are there."""
    names = [path.name for path in whole.iterdir()] if whole.is_dir() else []
    return {int(match[2]) for name in names if (match := SHARE.fullmatch(name))}


def _whole(work: Path, cache: Path, head: str, of: int) -> bool:
    return all((index_place(work, cache, head, one, of) / INDEX).is_file() for one in range(of))


def _written(work: Path, cache: Path, head: str, of: int) -> int:
    """When the last of so many shares was written."""
    files = [index_place(work, cache, head, one, of) / INDEX for one in range(of)]
    return max(path.stat().st_mtime_ns for path in files)
