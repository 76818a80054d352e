"""`vidret explain`: a sentence and a clip in, the words, frames and parts that speak for it out."""

import logging
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from vidret.data.cache import FeatureCache, find_caches, newest_cache
from vidret.data.errors import (
    ConfigError,
    DamagedError,
    MismatchError,
    MissingError,
    VidretError,
)
from vidret.data.printable import printable
from vidret.data.storage.publish import publish
from vidret.pipelines.config.searching import ExplainConfig
from vidret.pipelines.searching.answers import Explanation, Question
from vidret.pipelines.searching.choosing import choose_runs
from vidret.pipelines.searching.corpus import Corpus, open_corpus
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
    searcher = open_searcher(
        work=config.work,
        cache=config.cache or _cache_with(config, runs[0]),
        runs=runs,
        device=config.device,
        offline=config.offline,
    )
    row = find_video(searcher.corpus, config.video)
    question = Question(text=config.query, audio_weight=config.audio_weight)
    return ExplainReport(
        explanation=searcher.explain(question, searcher.corpus.opaque_ids[row]),
        path=searcher.corpus.file(row),
        head=searcher.ranker().head,
    )


def _cache_with(config: ExplainConfig, run: str) -> Path:
    """The cache that holds the video: that which a search takes, or another that the head fits.

    A folder that was searched has a cache beside the one that the run was trained on.
    """
    if run == ZERO_SHOT:
        usual = newest_cache(config.work)
    else:
        usual = cache_of_run(config.work, read_run(find_run(config.work, run)))
    wanted = FeatureCache.open(usual).fingerprint.features_digest
    for folder in (usual, *find_caches(config.work)):
        try:
            corpus = open_corpus(folder)
            find_video(corpus, config.video)
        except (MissingError, MismatchError, DamagedError):
            continue
        if corpus.cache.fingerprint.features_digest == wanted:
            return folder
    return usual


def write_explanation(text: str, path: Path) -> None:
    """Write what would have been printed.

    Raises:
        MissingError: the folder is not there, or cannot be written to.
    """
    with publish(path, "choose another file with --out") as part:
        part.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8")


def find_video(corpus: Corpus, name: str) -> int:
    """The row of the one video that a name means: its id, its path, or the end of its path.

    Raises:
        MissingError: there is none.
        ConfigError: there are several.
    """
    features = corpus.features
    exact = {id_: row for row, id_ in enumerate(features.video_ids)}
    exact |= {id_: row for row, id_ in enumerate(corpus.opaque_ids)}
    if name in exact:
        return exact[name]
    wanted = str(Path(name).expanduser())
    absolute = str(Path(wanted).absolute())
    found = [
        row
        for row, path in enumerate(features.paths)
        if f"/{path}".endswith(f"/{wanted}") or str(corpus.root / path) in (wanted, absolute)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(printable(features.paths[row]) for row in found[:NAMED])
        raise ConfigError(
            f"video is {printable(name)!r}, and {len(found):,} end so ({some}): say more"
        )
    close = get_close_matches(name, features.video_ids, n=1)
    hint = f"did you mean {printable(close[0])}?" if close else "name one as a search shows it"
    raise MissingError(f"no video {printable(name)!r} in {corpus.cache.folder}: {hint}")
