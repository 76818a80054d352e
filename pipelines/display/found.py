"""What a search found, as the table, the csv or the paths that people and pipes read."""

import csv
import io
from collections.abc import Sequence

from vidret.data.printable import printable
from vidret.data.words import counted
from vidret.heads.catalog import told_name
from vidret.pipelines.display.edl import hits_as_edl
from vidret.pipelines.display.progress import clock_text
from vidret.pipelines.display.tables import Cell, Raw, Rendered, Table
from vidret.pipelines.search import Hit, SearchReport

SOUNDS = {"silent": " (silent)", "no-stream": " (no sound)", "failed": " (sound unreadable)"}
ENDS = {"paths": "\n", "paths0": "\0"}  # of bare paths; a name may hold a line end, but no NUL


def render_search(report: SearchReport, form: str = "table", *, rate: float = 25.0) -> Rendered:
    """The hits as a table, as csv, as an edit list, or as bare paths with what ends each."""
    if form in ENDS:
        return Raw("".join(f"{hit.path}{ENDS[form]}" for hit in report.hits))
    names = list(report.hits[0].parts) if report.hits else []
    if form == "csv":
        return _hits_as_csv(report.hits, names)
    if form == "edl":
        return hits_as_edl(report.query, report.hits, rate)
    calibrated = report.matches is not None
    columns = ("", "clip", "moment", *(["chance"] if calibrated else []), "score", *names)
    rows: list[tuple[Cell, ...] | str] = [
        _row(hit, names, calibrated=calibrated) for hit in report.hits
    ]
    first = next((place for place, hit in enumerate(report.hits) if hit.weaker), None)
    if first is not None:
        rows.insert(first, f"--- weaker matches below ({report.weaker:,}) ---")
    return Table(
        title=f'"{printable(report.query)}"',
        columns=columns,
        rows=tuple(rows),
        caption=_told(report),
    )


def moment_text(start: float, end: float) -> str:
    """A span of time, as in 0:41.0-0:46.5."""
    return f"{_seconds(start)}-{_seconds(end)}"


def _told(report: SearchReport) -> str:
    """What was searched with what, and what is to be known about it."""
    caption = f"{counted(report.searched, 'clip')} searched with {told_name(report.head)}"
    if not report.exhaustive:
        caption += ", which ranked a shortlist of the index"
    caption += "; the parts add up to the score"
    if report.matches is not None:
        caption += "; chance and weaker matches as learned on validation"
    if report.failed:
        caption += f"; {report.failed:,} could not be read: see {report.cache / 'failures.md'}"
    if report.truncated:
        caption += "; the query is longer than the model reads, its end was cut"
    if not report.searched:
        caption += "; no clip was read that fits --where, --since and --with-sound"
    exported = [hit.clip for hit in report.hits if hit.clip is not None]
    if exported:
        caption += f"; {counted(len(exported), 'clip')} written to {exported[0].parent}"
    return caption


def _row(hit: Hit, names: Sequence[str], *, calibrated: bool) -> tuple[Cell, ...]:
    chance = [] if not calibrated else [percent_text(hit.probability)]
    return (
        hit.rank,
        printable(hit.id) + SOUNDS.get(hit.sound, ""),
        moment_text(hit.start, hit.end),
        *chance,
        number_text(hit.score),
        *(number_text(hit.parts[name], sign="+") for name in names),
    )


def number_text(value: float, *, digits: int = 3, sign: str = "") -> str:
    """A score or a part of one; what is rounded to 0 is not below it."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def percent_text(chance: float | None) -> str:
    """How likely something is; what may be is never said to be impossible."""
    if chance is None:
        return "-"
    return "<1%" if chance < 0.01 else f"{chance:.0%}"


def _seconds(time: float) -> str:
    whole, tenth = divmod(round(time * 10), 10)
    hours, minutes, seconds = clock_text(whole).split(":")
    clock = f"{hours}:{minutes}:{seconds}" if hours != "0" else f"{int(minutes)}:{seconds}"
    return f"{clock}.{tenth}"


def _hits_as_csv(hits: Sequence[Hit], names: Sequence[str]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["rank", "id", "path", "start", "end", "peak", "score", *names]
    writer.writerow([*head, "probability", "weaker", "clip"])
    for hit in hits:
        times = [f"{time:.2f}" for time in (hit.start, hit.end, hit.peak)]
        values = [
            number_text(value, digits=6)
            for value in (hit.score, *(hit.parts[name] for name in names))
        ]
        chance = "" if hit.probability is None else f"{hit.probability:.6f}"
        worth = [chance, str(hit.weaker).lower(), hit.clip or ""]
        writer.writerow([hit.rank, hit.id, hit.path, *times, *values, *worth])
    return out.getvalue().rstrip("\n")
