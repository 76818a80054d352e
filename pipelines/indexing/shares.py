"""The indexes of the shares of a cache, each made by the worker of a cluster that will ask it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vidret.data.errors import MissingError
from vidret.extract.schedule import require_shared
from vidret.pipelines.display.progress import OnProgress, Progress
from vidret.pipelines.indexing.places import index_place, remove_other_shares, shares_indexed
from vidret.pipelines.indexing.reports import (
    IndexCheckReport,
    IndexReport,
    IndexStatusReport,
    all_built,
    all_checked,
    all_standing,
)
from vidret.pipelines.indexing.upkeep import bring_up_to_date, check, look_at, make_anew
from vidret.pipelines.searching.crew import Crew
from vidret.pipelines.searching.cutting import parts_of, parts_that_know_each_other
from vidret.pipelines.searching.known import index_command
from vidret.pipelines.searching.parts import look, scene_of
from vidret.pipelines.searching.ranker import Ranker
from vidret.pipelines.searching.scene import Part

if TYPE_CHECKING:
    from distributed import Client

Report = TypeVar("Report", IndexReport, IndexCheckReport)


class SharedIndex:
    """The index of a cache for a head, cut into shares.

    Args:
        client: of the cluster.
        work: the work folder, which every worker sees.
        cache: folder of the cache.
        head: name of the run, or `mean`.
        run_folder: of the run; None for the untrained mean.
        device: where heads compute.
        shares: into how many to cut; None leaves it as it is, or takes one for each worker.
    """

    def __init__(
        self,
        client: "Client",
        *,
        work: Path,
        cache: Path,
        head: str,
        run_folder: Path | None,
        device: str = "auto",
        shares: int | None = None,
    ) -> None:
        require_shared(client, work.absolute())
        self.work, self.cache, self.head, self.crew = work, cache, head, Crew(client)
        bare = parts_of(
            work,
            [cache],
            {head: run_folder},
            workers=len(client.nthreads()),
            shares=shares,
            device=device,
        )
        looks = self.crew.ask(bare, look)
        self.videos = sum(one.videos for one in looks)
        self.parts = parts_that_know_each_other(bare, looks)

    def build(self, *, every_frame: bool, on_progress: OnProgress = lambda _: None) -> IndexReport:
        """Make all indexes anew; those of another number of shares go when these are there."""
        report = all_built(self._on_videos(_build, every_frame, on_progress))
        remove_other_shares(self.work, self.cache, self.head, len(self.parts))
        return report

    def update(self, *, every_frame: bool, on_progress: OnProgress = lambda _: None) -> IndexReport:
        """Take in what is new, and forget what is gone."""
        return all_built(self._on_videos(_update, every_frame, on_progress))

    def status(self) -> IndexStatusReport:
        """Say what is indexed, and what is not yet."""
        return all_standing(self.crew.ask(self.parts, _status))

    def check(
        self, *, questions: int, shortlist: int, on_progress: OnProgress = lambda _: None
    ) -> IndexCheckReport:
        """Compare each share's shortlist with an exhaustive search of it.

        Raises:
            MissingError: some share has no index.
        """
        if shares_indexed(self.work, self.cache, self.head) is None:
            command = index_command("build", cache=self.cache, work=self.work, head=self.head)
            raise MissingError(
                f"{index_place(self.work, self.cache, self.head)} holds no index of shares: make "
                f"one with `{command}` and the same --scheduler"
            )
        tell = _telling(len(self.parts) * questions, _asked, on_progress)
        return all_checked(self.crew.ask(self.parts, _check, questions, shortlist, on_answer=tell))

    def _on_videos(
        self,
        task: Callable[[Part, bool], IndexReport],
        every_frame: bool,  # noqa: FBT001 - as the crew hands it on
        on_progress: OnProgress,
    ) -> list[IndexReport]:
        tell = _telling(self.videos, lambda report: report.header.videos, on_progress)
        return self.crew.ask(self.parts, task, every_frame, on_answer=tell)


def _asked(report: IndexCheckReport) -> int:
    return report.agreement.questions


def _telling(
    total: int, count: Callable[[Report], int], on_progress: OnProgress
) -> Callable[[Report], None]:
    """Tells how far the shares are, report by report."""
    progress = Progress(total=total)

    def tell(report: Report) -> None:
        nonlocal progress
        progress = replace(progress, done=progress.done + count(report))
        on_progress(progress)

    return tell


def _build(part: Part, every_frame: bool) -> IndexReport:  # noqa: FBT001 - as the crew hands it on
    return make_anew(part.work, _ranker(part), every_frame=every_frame)


def _update(part: Part, every_frame: bool) -> IndexReport:  # noqa: FBT001 - as the crew hands it on
    return bring_up_to_date(part.work, _ranker(part), every_frame=every_frame)


def _status(part: Part) -> IndexStatusReport:
    return look_at(part.work, _ranker(part))


def _check(part: Part, questions: int, shortlist: int) -> IndexCheckReport:
    return check(part.work, _ranker(part), questions=questions, shortlist=shortlist)


def _ranker(part: Part) -> Ranker:
    return scene_of(part).ranker(None)
