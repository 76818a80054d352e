"""Two runs on the same queries: what each finds that the other misses, and what may be chance."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidret.data.errors import MismatchError
from vidret.data.features import SplitFeatures
from vidret.data.words import counted
from vidret.heads.metrics import Ranks, summarize
from vidret.heads.resampling import LEVEL, RESAMPLES, percentile_interval, resampled_means
from vidret.heads.streaming import BothRanks
from vidret.pipelines.training.runs import Run

RECALLS = (1, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricDifference:
    """One number of both runs; the interval is that of the difference, None where there is none."""

    metric: str
    ours: float
    theirs: float
    difference: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WayDifference:
    """One direction, query by query.

    Args:
        won: queries that are found first by this run and not by the other; lost likewise.
        closer: queries whose right answer ranks higher in this run; farther likewise.
    """

    metrics: tuple[MetricDifference, ...]
    queries: int
    won: int
    lost: int
    closer: int
    farther: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """This run less another one.

    Args:
        differs: settings and facts that are not the same, with this run's value and the other's.
        level: of the intervals, in percent.
        resamples: that they were made with.
    """

    run: str
    head: str
    seed: int
    differs: dict[str, tuple[Any, Any]]
    t2v: WayDifference
    v2t: WayDifference
    level: float
    resamples: int


def compare_runs(
    ours: tuple[Run, BothRanks], theirs: tuple[Run, BothRanks], owners: NDArray[np.int64]
) -> RunComparison:
    """Compare the ranks of two runs; both rank the same queries in the same order.

    Args:
        ours: the run that the page is of.
        theirs: the other.
        owners: the video of each caption: captions of one video are drawn together.
    """
    (run, ranks), (other, their_ranks) = ours, theirs
    videos = np.arange(len(ranks.v2t))
    return RunComparison(
        run=other.name,
        head=other.head,
        seed=other.seed,
        differs=_differences(run, other),
        t2v=compare_ranks(ranks.t2v, their_ranks.t2v, owners),
        v2t=compare_ranks(ranks.v2t, their_ranks.v2t, videos),
        level=LEVEL,
        resamples=RESAMPLES,
    )


def compare_ranks(ours: Ranks, theirs: Ranks, groups: NDArray[np.int64]) -> WayDifference:
    """One direction of two runs; `groups` says which queries are drawn together."""
    columns = [100 * (ours.hits(k) - theirs.hits(k)) for k in RECALLS]
    columns.append(ours.values - theirs.values)
    draws = resampled_means(np.stack(columns, axis=1), groups)
    intervals = dict(
        zip((*(f"R@{k}" for k in RECALLS), "MnR"), map(percentile_interval, draws.T), strict=True)
    )
    mine, others = summarize(ours), summarize(theirs)
    first, second = ours.hits(1), theirs.hits(1)
    return WayDifference(
        metrics=tuple(
            MetricDifference(
                metric=metric,
                ours=mine[metric],
                theirs=others[metric],
                difference=mine[metric] - others[metric],
                interval=intervals.get(metric),
            )
            for metric in (*(f"R@{k}" for k in RECALLS), "MdR", "MnR")
        ),
        queries=len(ours),
        won=int((first > second).sum()),
        lost=int((first < second).sum()),
        closer=int((ours.values < theirs.values).sum()),
        farther=int((ours.values > theirs.values).sum()),
    )


def require_same_queries(ours: SplitFeatures, theirs: SplitFeatures, run: str) -> None:
    """Refuse to compare two runs on other captions or among other videos.

    Raises:
        MismatchError: the splits are not the same.
    """
    for what, mine, others in (
        ("video", ours.video_ids, theirs.video_ids),
        ("caption", ours.caption_ids, theirs.caption_ids),
    ):
        strange = set(mine) ^ set(others)
        if strange:
            raise MismatchError(
                f"run {run} is scored on {theirs.folder}, whose {ours.split} split has other "
                f"{what}s than {ours.folder} ({counted(len(strange), what)} in one of them alone): "
                "give a --cache that holds the features of both runs, or compare runs of one "
                "dataset"
            )
    texts = dict(zip(theirs.caption_ids, theirs.text, strict=True))
    if any(texts[id_] != text for id_, text in zip(ours.caption_ids, ours.text, strict=True)):
        raise MismatchError(
            f"run {run} is scored on {theirs.folder}, whose captions have the ids of those in "
            f"{ours.folder} and other texts: compare runs of one dataset"
        )


def in_order_of(ours: SplitFeatures, theirs: SplitFeatures, ranks: BothRanks) -> BothRanks:
    """The ranks of the other run in the order of this one's captions and videos."""
    row_of = {id_: row for row, id_ in enumerate(theirs.caption_ids)}
    captions = np.array([row_of[id_] for id_ in ours.caption_ids], np.int64)
    place_of = {theirs.video_ids[row]: at for at, row in enumerate(np.unique(theirs.owners))}
    videos = [ours.video_ids[row] for row in np.unique(ours.owners)]
    queries = np.array([place_of[id_] for id_ in videos], np.int64)
    return BothRanks(t2v=_chosen(ranks.t2v, captions), v2t=_chosen(ranks.v2t, queries))


def _chosen(ranks: Ranks, rows: NDArray[np.int64]) -> Ranks:
    return Ranks(better=ranks.better[rows], tied=ranks.tied[rows])


def _differences(ours: Run, theirs: Run) -> dict[str, tuple[Any, Any]]:
    plain = {"head": (ours.head, theirs.head), "seed": (ours.seed, theirs.seed)}
    settings = {
        name: (ours.settings[name], theirs.settings[name])
        for name in ours.settings.keys() & theirs.settings.keys()
    }
    told = plain | dict(sorted(settings.items()))
    return {
        **{name: both for name, both in told.items() if both[0] != both[1]},
        **ours.fingerprint.differences(theirs.fingerprint),
    }
