"""What datasets are and what of them is there, as people read it; torch stays out of it."""

import textwrap
from collections.abc import Iterable

from vidret.data.datasets.assembling import Count
from vidret.data.printable import printable
from vidret.data.words import counted
from vidret.pipelines.datasets import DatasetReport, DatasetsReport, SplitHoldings, VerifyReport
from vidret.pipelines.display.tables import Rendered, Table

NAMED = 10
WIDTH = 88
MARGIN = 12


def render_datasets(report: DatasetsReport) -> Rendered:
    """A line a dataset."""
    rows = []
    for name, entry in report.entries.items():
        published = entry.published
        protocol = published.protocol if published else ""
        rows.append((name, entry.summary, protocol))
    return Table(
        title="",
        columns=("name", "what it is", "protocol"),
        rows=tuple(rows),
        caption="synth is drawn on the spot; your own videos are folder:PATH. More on one: vidret "
        "datasets show NAME.",
    )


def render_dataset(report: DatasetReport) -> Rendered:
    """Everything that is known of one dataset."""
    published = report.entry.published
    if published is None:
        return "\n".join(
            [*_fact(report.name, report.entry.summary), *_fact("holds", report.entry.holds)]
        )
    lines = [
        *_fact(report.name, published.title),
        *_fact("protocol", published.protocol),
        *_facts("splits", (_split(name, count) for name, count in published.splits.items())),
        *_facts("files", published.layouts),
        *_fact("videos", published.videos),
        *_fact("sound", published.sound),
        *_facts("known", published.gaps),
        *_fact("terms", published.terms),
        *_fact("from", published.source),
        "",
        "vidret fetches none of it. Name its folder in ./vidret.toml, then check it:",
        "",
        f"  [datasets.{report.name}]",
        f'  root = "/path/to/{report.name}"',
        "",
        f"  vidret datasets verify {report.name}",
    ]
    return "\n".join(lines)


def render_holdings(report: VerifyReport) -> Rendered:
    """A row a split, then names, then what it means."""
    columns = ["split", "videos", "as published", "captions", "as published", "found", "missing"]
    columns += ["unreadable", "no sound"] if report.looked else []
    rows = tuple(_row(name, split, report) for name, split in report.splits.items())
    parts: list[str | Table] = [
        Table(
            title=f"{report.name} in {report.root}, protocol {report.protocol}",
            columns=tuple(columns),
            rows=rows,
        )
    ]
    lines = [line for name, split in report.splits.items() for line in _names(name, split)]
    if report.sources:
        lines.append(f"read: {', '.join(_source(file, report) for file in report.sources)}")
    lines += [f"note: {note}" for note in report.notes]
    if report.published:
        lines.append(f"sound: {report.published.sound}")
    lines.append(_meaning(report))
    return [*parts, "\n".join(["", *lines])]


def _row(name: str, split: SplitHoldings, report: VerifyReport) -> tuple[str | int | None, ...]:
    count = report.published.splits.get(name) if report.published else None
    published = (None, None) if count is None else (count.videos, count.captions)
    found = split.videos - len(split.missing)
    row = (
        name,
        split.videos,
        published[0],
        split.captions,
        published[1],
        found,
        len(split.missing),
    )
    return (*row, len(split.unreadable), len(split.silent)) if report.looked else row


def _names(name: str, split: SplitHoldings) -> Iterable[str]:
    """The first of those that lack something."""
    yield from _some(f"missing in {name}", split.missing)
    for id_, reason in list(split.unreadable.items())[:NAMED]:
        yield f"unreadable in {name}: {printable(id_)}: {reason}"
    if len(split.unreadable) > NAMED:
        yield f"... and {len(split.unreadable) - NAMED:,} more"
    yield from _some(f"no sound in {name}", split.silent)


def _some(what: str, ids: tuple[str, ...]) -> Iterable[str]:
    if ids:
        names = ", ".join(map(printable, ids[:NAMED]))
        more = f" and {len(ids) - NAMED:,} more" if len(ids) > NAMED else ""
        yield f"{what}: {names}{more}"


def _source(file: str, report: VerifyReport) -> str:
    whose = report.copies.get(file)
    if whose is None:
        return printable(file)
    return f"{printable(file)} ({f'as {whose} has it' if whose else 'no copy that vidret knows'})"


def _meaning(report: VerifyReport) -> str:
    """What the gaps do to a result."""
    if not report.usable:
        return f"! no video of {report.measured_on} is there, so nothing can be measured"
    if not report.lacking:
        opened = "opened, not decoded" if report.looked else "not opened"
        return (
            f"{report.measured_on} is complete: a result is over {counted(report.usable, 'video')} "
            f"({opened}: `vidret extract` finds what is damaged further in)"
        )
    return (
        f"! a result would be over {report.usable:,} of "
        f"{counted(report.usable + report.lacking, 'video')} of "
        f"{report.measured_on}, and without the captions of the others: fewer candidates make "
        "every number look better, so it does not compare with one over all"
    )


def _split(name: str, count: Count) -> str:
    videos = "" if count.videos is None else f"{counted(count.videos, 'video')}, "
    return f"{name:<6}{videos}{counted(count.captions, 'caption')}"


def _facts(name: str, texts: Iterable[str]) -> list[str]:
    lines: list[str] = []
    for text in texts:
        lines += _fact("" if lines else name, text)
    return lines


def _fact(name: str, text: str) -> list[str]:
    hanging = " " * MARGIN
    wrapped = textwrap.wrap(text, WIDTH - MARGIN, break_long_words=False, break_on_hyphens=False)
    head = f"{name:<{MARGIN}}" if len(name) < MARGIN else f"{name}  "
    return [f"{head if number == 0 else hanging}{line}" for number, line in enumerate(wrapped)]
