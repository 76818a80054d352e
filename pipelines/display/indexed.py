"""What an index holds, lacks, and is worth, as the lines and tables that people read."""

from vidret.data.words import counted, size_text
from vidret.pipelines.display.tables import Rendered, Table
from vidret.pipelines.indexing.building import Changes
from vidret.pipelines.indexing.reports import IndexCheckReport, IndexReport, IndexStatusReport
from vidret.pipelines.searching.shortlist import EXHAUSTIVE_BELOW

KINDS = {"flat": "compared one by one", "lists": "in lists"}


def render_index(report: IndexReport) -> Rendered:
    """What was done, and what the index holds now."""
    if report.built:
        done = f"indexed {counted(report.header.videos, 'video')}"
    else:
        done = f"{counted(report.header.videos, 'video')}: {_changes(report.changes)}"
    return "\n".join([done, f"{report.header.cache}, head {report.header.head}", *_held(report)])


def render_index_status(report: IndexStatusReport) -> Rendered:
    """What is there, and what it lacks."""
    videos = counted(report.videos, "video")
    lines = [f"{report.cache.name}, head {report.head}: {videos}"]
    if report.problem:
        lines.append("there is an index, and it cannot be used")
    elif report.header is None:
        lines.append("no index: every video is scored")
    else:
        lines += _held(report)
        lines.append(
            f"written {report.header.written}; in the cache since: {_changes(report.behind)}"
        )
        lines.append("its files are as long as they were; `vidret index check` reads them whole")
    if report.videos <= EXHAUSTIVE_BELOW * report.shares:
        each = "" if report.shares == 1 else " of a share"
        lines.append(
            f"up to {EXHAUSTIVE_BELOW:,} videos{each} are all scored, with an index or without"
        )
    changed = report.changed
    if changed:
        same = "" if report.shares == 1 else " and the same --scheduler"
        lines.append(f"on the disk since: {changed}")
        if changed.leave_none_of(report.videos):
            lines.append("none is left: bring them back, such as by connecting a drive")
        else:
            lines.append(f"take it up with `{report.to_update}`{same}")
    return "\n".join(lines)


def render_index_check(report: IndexCheckReport) -> Rendered:
    """How often the shortlist leads to what an exhaustive search finds."""
    told = report.agreement
    each = report.header.videos // report.shares
    rows = tuple(
        (f"the best {depth}", f"{told.shortlist[depth]:.1%}", f"{told.rerank[depth]:.1%}")
        for depth in told.shortlist
    )
    asked = counted(told.questions, told.asked.removesuffix("s"))
    if report.shares == 1:
        caption = (
            f"{asked} of the cache, a shortlist of {report.shortlist:,} of "
            f"{report.header.videos:,} videos"
        )
    else:
        caption = (
            f"each of {report.shares:,} shares searched by itself, with {asked} in all: a "
            f"shortlist of {report.shortlist:,} of about {each:,} videos"
        )
    if not report.problems:
        caption += "; every file is as it was written"
    if report.holds_all:
        caption += (
            "; a shortlist that has room for every video agrees whatever the index is worth: give "
            f"--shortlist below {each:,} to learn something"
        )
    elif report.shortlist < (deepest := min(max(told.shortlist), each)):
        caption += (
            f"; of the best {deepest} it has room for {report.shortlist / deepest:.1%} at the most"
        )
    table = Table(
        title=f"Agreement with an exhaustive search, head {report.header.head}",
        columns=("of", "in the shortlist", "after re-ranking"),
        rows=rows,
        caption=caption,
    )
    return [table, *report.problems]


def _held(report: IndexReport | IndexStatusReport) -> list[str]:
    header = report.header
    if header is None:
        return []
    size = sum(int(one["bytes"]) for one in header.files.values())
    what = ", ".join(f"{role} vectors {KINDS[kind]}" for role, kind in header.kinds.items())
    found = ""
    if "lists" in header.kinds.values():
        found = f", which find {header.found:.1%} of the nearest"
    cut = "" if report.shares == 1 else f" in {counted(report.shares, 'share')}"
    return [f"{what}{found}, {size_text(size)}{cut} -> {report.folder}"]


def _changes(changes: Changes) -> str:
    told = [
        f"{count:,} {name}"
        for name, count in (
            ("new", changes.added),
            ("changed", changes.changed),
            ("gone", changes.removed),
        )
        if count
    ]
    return ", ".join(told) or "nothing new"
