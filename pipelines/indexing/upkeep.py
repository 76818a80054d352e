"""The index of what one head ranks: made, brought up to date, looked at, checked."""

from pathlib import Path
from typing import TypedDict

from vidret.data.errors import DamagedError, MismatchError, MissingError
from vidret.data.index.store import open_index, read_header, verify_index
from vidret.pipelines.display.progress import OnProgress
from vidret.pipelines.indexing.building import (
    Changes,
    build_index,
    differences,
    require_fitting,
    update_index,
)
from vidret.pipelines.indexing.checking import agreement_of
from vidret.pipelines.indexing.places import index_folder
from vidret.pipelines.indexing.reports import IndexCheckReport, IndexReport, IndexStatusReport
from vidret.pipelines.searching.known import (
    index_command,
    naming_what_to_build,
    update_command,
)
from vidret.pipelines.searching.ranker import Ranker


def make_anew(
    work: Path, ranker: Ranker, *, every_frame: bool, on_progress: OnProgress = lambda _: None
) -> IndexReport:
    """Make the index anew; the old one answers until it is whole."""
    folder = index_folder(work, ranker)
    header = build_index(folder, ranker, every_frame=every_frame, on_progress=on_progress)
    return IndexReport(
        folder=folder, header=header, changes=Changes(added=header.videos), built=True
    )


def bring_up_to_date(
    work: Path, ranker: Ranker, *, every_frame: bool, on_progress: OnProgress = lambda _: None
) -> IndexReport:
    """Take in what is new, and forget what is gone; make the index where there is none."""
    folder = index_folder(work, ranker)
    with naming_what_to_build(**_named(work, ranker)):
        try:
            read_header(folder)
        except MissingError:
            return make_anew(work, ranker, every_frame=every_frame, on_progress=on_progress)
        header, changes = update_index(folder, ranker, on_progress=on_progress)
    return IndexReport(folder=folder, header=header, changes=changes, built=False)


def look_at(work: Path, ranker: Ranker) -> IndexStatusReport:
    """Say what is indexed, and what is not yet."""
    folder, behind, header, problem = index_folder(work, ranker), Changes(), None, ""
    try:
        with naming_what_to_build(**_named(work, ranker)):
            stored = open_index(folder)
            require_fitting(stored.header, ranker)
        header = stored.header
        _, _, behind = differences(stored.entries, ranker)
    except MissingError:
        behind = Changes(added=len(ranker.corpus))
    except (MismatchError, DamagedError) as error:
        problem = str(error)
    changed = ranker.corpus.differences()
    return IndexStatusReport(
        folder=folder,
        cache=ranker.corpus.cache.folder,
        head=ranker.name,
        videos=len(ranker.corpus),
        header=header,
        behind=behind,
        changed=changed,
        problem=problem,
        to_update=update_command(**_named(work, ranker)) if changed else "",
    )


def check(
    work: Path,
    ranker: Ranker,
    *,
    questions: int,
    shortlist: int,
    on_progress: OnProgress = lambda _: None,
) -> IndexCheckReport:
    """Compare the shortlist with an exhaustive search, and every file with its checksum."""
    folder = index_folder(work, ranker)
    with naming_what_to_build(**_named(work, ranker)):
        problems = verify_index(folder)
        stored = open_index(folder)
        require_fitting(stored.header, ranker)
    return IndexCheckReport(
        folder=folder,
        header=stored.header,
        agreement=agreement_of(
            stored, ranker, questions=questions, shortlist=shortlist, on_progress=on_progress
        ),
        shortlist=shortlist,
        problems=tuple(problems),
        to_build=index_command("build", **_named(work, ranker)),
    )


class _Named(TypedDict):
    cache: Path
    work: Path
    head: str


def _named(work: Path, ranker: Ranker) -> _Named:
    """What a command has to name so that it is about the index of a head."""
    return _Named(cache=ranker.corpus.cache.folder, work=work, head=ranker.name)
