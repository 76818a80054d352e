"""A run beside what the paper and others published of the same dataset."""

from collections.abc import Mapping
from dataclasses import dataclass

from vidret.pipelines.reporting.deviations import (
    Deviation,
    Subject,
    encoders_of,
    find_deviations,
)
from vidret.pipelines.reporting.published import (
    METRICS,
    PAPER,
    SAME_VIDEOS,
    SPLIT,
    PublishedRow,
    Source,
    datasets_of_paper,
    published_rows,
    remarks_on,
    source_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A published row, and how far the run is from it.

    Args:
        gap: the run's number less the published one, for a row of the same head alone.
    """

    published: PublishedRow
    source: Source
    gap: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperComparison:
    """What there is to say about a run and the paper.

    Args:
        reason: why there are no rows; empty where there are some.
        ours: the run's own numbers, text to video.
        same_head: rows of the head of this run, that of the paper and of like encoders first.
        others: rows of other heads and methods.
        sources: where all of these were read.
        deviations: how the run differs from what the paper did.
        remarks: what is odd about the paper itself.
    """

    reason: str
    ours: dict[str, float]
    same_head: tuple[Compared, ...]
    others: tuple[Compared, ...]
    sources: tuple[Source, ...]
    deviations: tuple[Deviation, ...]
    remarks: tuple[str, ...]


def compare_with_paper(subject: Subject, t2v: Mapping[str, float]) -> PaperComparison:
    """Set the numbers of a run beside the published ones, where there are any to compare."""
    setting, run = subject.setting, subject.run
    reason = _why_not(setting.dataset, setting.split)
    rows = () if reason else published_rows(setting.dataset)
    own = [row for row in rows if row.head == run.head]
    own.sort(key=lambda row: (row.source != PAPER, row.encoders != encoders_of(run)))
    if not reason and not any(row.source == PAPER for row in own):
        reason = (
            f"The paper has no row for {run.head} on {setting.dataset}, so no gap to it is given."
        )
    return PaperComparison(
        reason=reason,
        sources=tuple(dict.fromkeys(map(source_of, rows))),
        ours={metric: t2v[metric] for metric in METRICS},
        same_head=tuple(_compared(row, t2v) for row in own),
        others=tuple(_compared(row, {}) for row in rows if row.head != run.head),
        deviations=find_deviations(subject),
        remarks=remarks_on(setting.dataset),
    )


def _why_not(dataset: str, split: str) -> str:
    """Why nothing published can be set beside a run; empty where something can."""
    known = datasets_of_paper()
    if SAME_VIDEOS.get(dataset, dataset) not in known:
        return (
            f"The paper has no numbers of {dataset}: it reports {', '.join(known)}, so there is "
            "nothing to compare and no gap."
        )
    if split != SPLIT:
        return (
            f"The paper's numbers are of the {SPLIT} split, and these are of {split}, so there is "
            "nothing to compare and no gap."
        )
    return ""


def _compared(row: PublishedRow, ours: Mapping[str, float]) -> Compared:
    gap = {metric: ours[metric] - its for metric, its in row.numbers.items() if metric in ours}
    return Compared(published=row, source=source_of(row), gap=gap)
