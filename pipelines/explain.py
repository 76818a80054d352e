"""`vidret explain`: a sentence and a clip in, the words, frames and parts that speak for it out."""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vidret.data.cache import FeatureCache, find_caches, newest_cache
from vidret.data.errors import ConfigError, MissingError, VidretError
from vidret.data.folder import root_of
from vidret.data.printable import printable
from vidret.data.storage.publish import publish
from vidret.data.words import counted
from vidret.pipelines.config.searching import ExplainConfig
from vidret.pipelines.searching.answers import Explanation, Question
from vidret.pipelines.searching.choosing import choose_runs
from vidret.pipelines.searching.corpus import opaque_id
from vidret.pipelines.searching.ranker import ZERO_SHOT
from vidret.pipelines.searching.searcher import open_searcher
from vidret.pipelines.training.runs import cache_of_run, find_run, read_run

log = logging.getLogger(__name__)

NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainReport:
    """Why a clip answers a question; `path` is the whole one."""

    explanation: Explanation
    path: Path
    head: str

    @property
    def verdict(self) -> VidretError | None:
        """A clip that is there is always explained."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        told = self.explanation
        hit = {
            name: value
            for name, value in asdict(told.hit).items()
            if name not in ("rank", "rank_without_sound", "parts", "times", "id", "video_id")
        }
        return {
            "query": told.question.text,
            "head": self.head,
            "audio_weight": told.question.audio_weight,
            "id": told.hit.video_id,
            **hit,
            "path": str(self.path),
            "parts": told.parts,
            "sound_share": told.sound_share,
            "times": told.times,
            "words": told.words,
            "word_shares": told.word_shares,
            "grid": told.grid,
            "grid_is": "of the head" if told.of_head else "likeness of word and frame",
        }


def run_explain(config: ExplainConfig) -> ExplainReport:
    """Say which words, frames and parts speak for a clip."""
    runs = choose_runs(config)[:1]
    cache, row = find_video(_caches_to_look_in(config, runs[0]), config.video)
    searcher = open_searcher(
        work=config.work,
        cache=cache,
        runs=runs,
        device=config.device,
        offline=config.offline,
    )
    question = Question(text=config.query, audio_weight=config.audio_weight)
    return ExplainReport(
        explanation=searcher.explain(question, searcher.corpus.opaque_ids[row]),
        path=searcher.corpus.file(row),
        head=searcher.ranker().head,
    )


def _caches_to_look_in(config: ExplainConfig, run: str) -> list[Path]:
    """The cache that is named, or that which a search takes and all others that the head fits.

    A folder that was searched has a cache beside the one that the run was trained on.
    """
    if config.cache is not None:
        return [config.cache]
    if run == ZERO_SHOT:
        usual = newest_cache(config.work)
    else:
        usual = cache_of_run(config.work, read_run(find_run(config.work, run)))
    wanted = FeatureCache.open(usual).fingerprint.features_digest
    others = [folder for folder in find_caches(config.work) if folder != usual]
    return [usual, *(folder for folder in others if _holds(folder, wanted))]


def _holds(folder: Path, features_digest: str) -> bool:
    """Whether a cache is whole and holds such features."""
    try:
        return FeatureCache.open(folder).fingerprint.features_digest == features_digest
    except VidretError:
        return False


def write_explanation(text: str, path: Path) -> None:
    """Write what would have been printed.

    Raises:
        MissingError: the folder is not there, or cannot be written to.
    """
    with publish(path, "choose another file with --out") as part:
        part.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")


def find_video(caches: Sequence[Path], name: str) -> tuple[Path, int]:
    """The cache and the row of the one video that a name means.

    A path means the file that lies there, whichever cache it is in. An id, or the end of a path,
    must mean one file among those of all caches.

    Args:
        caches: to look in, the likeliest first.
        name: id, path or end of a path.

    Raises:
        MissingError: there is none.
        ConfigError: there are several.
    """
    tables = [_names_in(folder) for folder in caches]
    place = root_of(Path(name))
    for rows in (
        [table.rows_at(place) for table in tables],
        [table.rows_called(name) for table in tables],
        [table.rows_ending(os.path.normpath(name)) for table in tables],
    ):
        files: dict[Path, tuple[Path, int]] = {}
        for table, found in zip(tables, rows, strict=True):
            for row in found:
                files.setdefault(table.file(row), (table.folder, row))
        if len(files) > 1:
            raise ConfigError(_too_many(name, list(files), caches))
        if files:
            return next(iter(files.values()))
    raise MissingError(_not_there(name, tables))


@dataclass(frozen=True, slots=True)
class _Names:
    """What the videos of a cache are called; their folder is `root`."""

    folder: Path
    root: Path
    ids: list[str]
    paths: list[str]

    def file(self, row: int) -> Path:
        """Where the file of a video is, or was."""
        return self.root / self.paths[row]

    def rows_at(self, place: Path) -> list[int]:
        """The video whose file lies at a place."""
        below = place.relative_to(self.root) if place.is_relative_to(self.root) else place
        return self._rows(self.paths, str(below))

    def rows_called(self, name: str) -> list[int]:
        """The video that has this id, its own or the opaque one."""
        own = self._rows(self.ids, name)
        if own or not re.fullmatch("[0-9a-f]{32}", name):
            return own
        return [row for row, id_ in enumerate(self.ids) if opaque_id(id_) == name]

    def rows_ending(self, name: str) -> list[int]:
        """The videos whose path ends in whole names like this."""
        return [row for row, path in enumerate(self.paths) if f"/{path}".endswith(f"/{name}")]

    @staticmethod
    def _rows(names: list[str], name: str) -> list[int]:
        return [row for row, one in enumerate(names) if one == name]


def _names_in(folder: Path) -> _Names:
    cache = FeatureCache.open(folder)
    features = cache.load_videos(view="lazy")
    root = root_of(Path(cache.manifest.settings["root"]))
    return _Names(folder, root, features.video_ids, features.paths)


def _too_many(name: str, files: Sequence[Path], caches: Sequence[Path]) -> str:
    some = ", ".join(printable(file) for file in files[:NAMED])
    more = f" and {len(files) - NAMED:,} more" if len(files) > NAMED else ""
    or_cache = "" if len(caches) == 1 else ", or the cache with --cache"
    return (
        f"video is {printable(name)!r}, and {len(files):,} are called so ({some}{more}): give more "
        f"of the path{or_cache}"
    )


def _not_there(name: str, tables: Sequence[_Names]) -> str:
    known = list(dict.fromkeys(id_ for table in tables for id_ in table.ids))
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {printable(close[0])}?" if close else "name one as a search shows it"
    if root_of(Path(name)).is_file():
        hint = "the file is there, so search its folder first, and it will be known"
    where = str(tables[0].folder)
    if len(tables) > 1:
        where = f"{where} or the {counted(len(tables) - 1, 'other cache')} that the head fits"
    return f"no video {printable(name)!r} in {where}: {hint}"
