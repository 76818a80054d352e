"""`vidret search`: a sentence in, ranked clips with their moments and parts of their scores out."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidret.data.errors import ItemsFailedError, MissingError, VidretError
from vidret.data.words import counted
from vidret.pipelines.config.searching import SearchConfig
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.display.progress import OnProgress
from vidret.pipelines.searching import answers
from vidret.pipelines.searching.answers import Question
from vidret.pipelines.searching.anywhere import AnySearcher, searching
from vidret.pipelines.searching.choosing import choose_runs
from vidret.pipelines.searching.clips import Clip, export_clip
from vidret.pipelines.searching.playing import play

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One clip that was found, the moment that answers, and what its score is made of.

    Its fields are those of a searcher's hit, but for `id`, the dataset's own, and `path`, the whole
    one; `clip` is what was exported of it.
    """

    rank: int
    id: str
    path: str
    score: float
    probability: float | None
    weaker: bool
    parts: dict[str, float]
    start: float
    end: float
    peak: float
    duration: float
    sound: str
    rank_without_sound: int
    clip: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchReport:
    """The clips that fit a sentence best.

    Args:
        matches: how many clips lie above the threshold that was learned on validation; None where
            there was none to learn from.
        exhaustive: whether every clip was scored, and not a shortlist alone.
        not_exported: clips that could not be written, each with the reason.
        opened: the command that plays the moment which was asked for; empty where none was.
        not_opened: why it could not be started.
    """

    query: str
    head: str
    cache: Path
    searched: int
    failed: int
    truncated: bool
    hits: tuple[Hit, ...]
    matches: int | None = None
    exhaustive: bool = True
    seconds: float = 0.0
    not_exported: tuple[str, ...] = ()
    opened: str = ""
    not_opened: str = ""

    @property
    def weaker(self) -> int:
        """How many clips lie below the threshold; 0 where none was learned."""
        return 0 if self.matches is None else self.searched - self.matches

    @property
    def verdict(self) -> VidretError | None:
        """A clip could not be exported or opened; something is always found."""
        if not self.not_exported:
            return MissingError(self.not_opened) if self.not_opened else None
        clips = counted(len(self.not_exported), "clip")
        return ItemsFailedError(f"{clips} could not be written: {self.not_exported[0]}")

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


def run_search(
    config: SearchConfig,
    *,
    extract: ExtractConfig | None = None,
    on_progress: OnProgress = lambda _: None,
) -> SearchReport:
    """Rank all clips of a cache or of a folder; a folder is cached first.

    Without a run the untrained mean of the frames ranks, as CLIP itself would.

    Args:
        config: what to look for, and where.
        extract: how to cache a folder where there is no run that says it.
        on_progress: told how far the caching is.
    """
    with open_search(config, extract=extract, on_progress=on_progress) as search:
        return search(config.query)


@contextmanager
def open_search(
    config: SearchConfig,
    *,
    extract: ExtractConfig | None = None,
    on_progress: OnProgress = lambda _: None,
) -> Iterator[Callable[[str], SearchReport]]:
    """What answers one query after the other; models and features are loaded once.

    Args:
        config: where and how to search; its own query is not asked.
        extract: how to cache a folder where there is no run that says it.
        on_progress: told how far the caching is.
    """
    with searching(
        work=config.work,
        path=config.path,
        cache=config.cache,
        runs=choose_runs(config)[:1],
        device=config.device,
        offline=config.offline,
        place=config.place,
        also=config.also,
        extract=extract,
        on_progress=on_progress,
    ) as searcher:
        yield lambda query: _search(searcher, replace(config, query=query))


def _search(searcher: AnySearcher, config: SearchConfig) -> SearchReport:
    (answer,) = searcher.search([question_of(config)])
    report = SearchReport(
        query=config.query,
        head=searcher.ranker().head,
        cache=searcher.cache,
        searched=answer.searched,
        failed=answer.failed,
        truncated=answer.truncated,
        hits=tuple(_shown(hit) for hit in answer.hits),
        matches=answer.matches,
        exhaustive=answer.exhaustive,
        seconds=answer.seconds,
    )
    if config.export_clips is not None:
        report = _exported(report, config.export_clips, pad=config.pad)
    return report if config.open is None else _opened(report, config.open)


def question_of(config: SearchConfig) -> Question:
    """What a searcher is asked."""
    return Question(
        text=config.query,
        top=config.top,
        audio_weight=config.audio_weight,
        where=config.where,
        since=config.since_day,
        only_with_sound=config.with_sound,
        exhaustive=config.exhaustive,
    )


def _shown(hit: answers.Hit) -> Hit:
    return Hit(
        rank=hit.rank,
        id=hit.video_id,
        path=str(hit.file),
        score=hit.score,
        probability=hit.probability,
        weaker=hit.weaker,
        parts=hit.parts,
        start=hit.start,
        end=hit.end,
        peak=hit.peak,
        duration=hit.duration,
        sound=hit.sound,
        rank_without_sound=hit.rank_without_sound,
    )


def _exported(report: SearchReport, folder: Path, *, pad: float) -> SearchReport:
    """Write the moment of each hit; one that cannot be written stops no other."""
    hits, failed = [], []
    for hit in report.hits:
        clip = Clip(
            source=Path(hit.path),
            start=max(0.0, hit.start - pad),
            end=min(hit.end + pad, max(hit.duration, hit.end)),
        )
        try:
            hits.append(replace(hit, clip=export_clip(clip, folder, rank=hit.rank)))
        except VidretError as error:
            log.warning("Clip %d is not written: %s", hit.rank, error)
            hits.append(hit)
            failed.append(f"{hit.id}: {error}")
    return replace(report, hits=tuple(hits), not_exported=tuple(failed))


def _opened(report: SearchReport, number: int) -> SearchReport:
    """Play the moment of a hit, or say by which command one could."""
    if number > len(report.hits):
        found = counted(len(report.hits), "clip")
        return replace(report, not_opened=f"there is no clip {number} to open: {found} found")
    hit = report.hits[number - 1]
    try:
        command = play(Path(hit.path), hit.start)
    except MissingError as error:
        return replace(report, not_opened=str(error))
    return replace(report, opened=command)
