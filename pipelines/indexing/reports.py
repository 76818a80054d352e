"""What `vidret index` says of an index, or of the indexes of all shares of a cache together."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidret.data.errors import DamagedError, MismatchError, VidretError
from vidret.data.index.store import IndexHeader
from vidret.pipelines.indexing.building import Changes
from vidret.pipelines.indexing.checking import Agreement
from vidret.pipelines.searching.answers import Differences


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What an index holds after it was built or brought up to date.

    Args:
        folder: it lies in; with shares, the folder of theirs.
        header: its contents page; with shares, all of theirs in one.
        changes: what was done.
        built: whether it was made anew.
        shares: into how many the cache was cut.
    """

    folder: Path
    header: IndexHeader
    changes: Changes
    built: bool
    shares: int = 1

    @property
    def verdict(self) -> VidretError | None:
        """An index is whole, or an error was raised."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatusReport:
    """What is there and what it lacks; `header` is None where there is no index.

    Args:
        behind: what of the cache the index does not know yet.
        changed: how the files differ from the cache.
        problem: why it cannot be used, or empty.
        to_update: the command that takes up what changed; empty where nothing did.
        shares: into how many the cache was cut.
    """

    folder: Path
    cache: Path
    head: str
    videos: int
    header: IndexHeader | None
    behind: Changes
    changed: Differences
    problem: str
    to_update: str = ""
    shares: int = 1

    @property
    def verdict(self) -> VidretError | None:
        """An index that cannot be used."""
        return MismatchError(self.problem) if self.problem else None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexCheckReport:
    """Whether an index is whole, and how often it leads to what an exhaustive search finds.

    With shares each is asked for the best of its own videos, and `agreement` is their mean.

    Args:
        shortlist: how many videos it had.
        problems: files that have other bytes than were written.
        to_build: the command that makes the index anew.
    """

    folder: Path
    header: IndexHeader
    agreement: Agreement
    shortlist: int
    problems: tuple[str, ...]
    to_build: str = "vidret index build"
    shares: int = 1

    @property
    def holds_all(self) -> bool:
        """Whether the shortlist has room for every video, so that the comparison says nothing."""
        return self.shortlist * self.shares >= self.header.videos

    @property
    def verdict(self) -> VidretError | None:
        """A file has other bytes than were written."""
        if not self.problems:
            return None
        return DamagedError(
            f"{self.folder}: {self.problems[0]}: make it again with `{self.to_build}`"
        )

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


def all_built(reports: Sequence[IndexReport]) -> IndexReport:
    """What was done to the indexes of all shares."""
    return replace(
        reports[0],
        folder=reports[0].folder.parent,
        header=_all_headers([report.header for report in reports]),
        changes=_all_changes([report.changes for report in reports]),
        built=all(report.built for report in reports),
        shares=len(reports),
    )


def all_standing(reports: Sequence[IndexStatusReport]) -> IndexStatusReport:
    """How the indexes of all shares stand; where one is missing, there is no header."""
    headers = [report.header for report in reports if report.header is not None]
    return replace(
        reports[0],
        folder=reports[0].folder.parent,
        videos=sum(report.videos for report in reports),
        header=_all_headers(headers) if len(headers) == len(reports) else None,
        behind=_all_changes([report.behind for report in reports]),
        changed=Differences(
            gone=tuple(name for report in reports for name in report.changed.gone),
            changed=tuple(name for report in reports for name in report.changed.changed),
        ),
        problem=next((report.problem for report in reports if report.problem), ""),
        to_update=next((report.to_update for report in reports if report.to_update), ""),
        shares=len(reports),
    )


def all_checked(reports: Sequence[IndexCheckReport]) -> IndexCheckReport:
    """What the checks of all shares found; a share counts as much as its questions are many."""
    told = [report.agreement for report in reports]
    questions = sum(one.questions for one in told)

    def mean(shares: Sequence[dict[int, float]]) -> dict[int, float]:
        each = zip(told, shares, strict=True)
        weighed = [(one.questions / questions, share) for one, share in each]
        return {depth: sum(part * share[depth] for part, share in weighed) for depth in shares[0]}

    return replace(
        reports[0],
        folder=reports[0].folder.parent,
        header=_all_headers([report.header for report in reports]),
        agreement=replace(
            told[0],
            shortlist=mean([one.shortlist for one in told]),
            rerank=mean([one.rerank for one in told]),
            questions=questions,
        ),
        problems=tuple(problem for report in reports for problem in report.problems),
        shares=len(reports),
    )


def _all_headers(headers: Sequence[IndexHeader]) -> IndexHeader:
    """One contents page for all; files are told apart by the number of their share."""
    return replace(
        headers[0],
        kinds={role: kind for one in headers for role, kind in one.kinds.items()},
        videos=sum(one.videos for one in headers),
        built_for=sum(one.built_for for one in headers),
        found=min(one.found for one in headers),
        written=max(one.written for one in headers),
        files={
            f"{number}/{role}": file
            for number, one in enumerate(headers)
            for role, file in one.files.items()
        },
    )


def _all_changes(changes: Sequence[Changes]) -> Changes:
    return Changes(
        added=sum(one.added for one in changes),
        changed=sum(one.changed for one in changes),
        removed=sum(one.removed for one in changes),
    )
