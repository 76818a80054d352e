"""Results as tables: drawn at a terminal, plain aligned text everywhere else."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TextIO

from vidret.pipelines.doctor import DoctorReport

Cell = str | int | float | None

PLAIN_WIDTH = 80
GAP = "  "
NARROWEST = 12
ACROSS = "across"  # what marks a row of a drawing that is a line across all columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table before anyone knows where it will be shown; None shows as a dash.

    A row that is a text is a line across all columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...] | str, ...]
    caption: str = ""


class Raw(str):
    """Names of files for a pipe: the very bytes that they are called by, and no end of line."""

    __slots__ = ()


Rendered = str | Table | Iterable[str | Table]


def show(rendered: Rendered, *, file: TextIO | None = None) -> None:
    """Write what a renderer made: text, tables, or both in turn."""
    file = file or sys.stdout
    for part in [rendered] if isinstance(rendered, str | Table) else rendered:
        if isinstance(part, Raw):
            _write_raw(part, file)
        elif isinstance(part, str):
            file.write(f"{part}\n")
        else:
            print_table(part.title, part.columns, part.rows, caption=part.caption, file=file)


def _write_raw(text: Raw, file: TextIO) -> None:
    """Past the encoding of a stream, which has no sign for some names; a stream may have none."""
    if hasattr(file, "buffer"):
        file.flush()
        file.buffer.write(os.fsencode(text))
        file.buffer.flush()
    else:
        file.write(text)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell] | str],
    *,
    caption: str = "",
    file: TextIO | None = None,
) -> None:
    """Write one table, drawn if `file` is a terminal that may be coloured, else as plain text."""
    file = file or sys.stdout
    texts = [row if isinstance(row, str) else [cell_text(cell) for cell in row] for row in rows]
    if file.isatty() and not os.environ.get("NO_COLOR"):
        _draw(title, columns, texts, caption, file)
    else:
        width = shutil.get_terminal_size().columns if file.isatty() else PLAIN_WIDTH
        file.write(plain_table(title, columns, texts, caption=caption, width=width) + "\n")


def plain_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str] | str],
    *,
    caption: str = "",
    width: int = PLAIN_WIDTH,
) -> str:
    """A table as aligned text; numbers to the right, and long texts in several lines."""
    cells = _cells_of(rows)
    right = [_is_numeric(row[place] for row in cells) for place in range(len(columns))]
    widths = _fit(columns, cells, width)
    lines = [
        line
        for row in [columns, ["-" * width for width in widths], *rows]
        for line in ([row] if isinstance(row, str) else _row_lines(row, widths, right))
    ]
    head = [*textwrap.wrap(title, width), ""] if title else []
    foot = ["", *textwrap.wrap(caption, width)] if caption else []
    return "\n".join([*head, *lines, *foot])


def cell_text(cell: Cell) -> str:
    """A cell as text; numbers with a fraction get one digit behind the point."""
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.1f}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def mean_std(values: Sequence[float], *, digits: int = 1) -> str:
    """`12.3 ± 0.4` for the mean and the sample standard deviation; one value has no spread."""
    if not values:
        return "-"
    middle = f"{mean(values):.{digits}f}"
    return f"{middle} ± {stdev(values):.{digits}f}" if len(values) > 1 else middle


def render_doctor(report: DoctorReport) -> list[str | Table]:
    """One line for every check, the fix below it, and the sum."""
    lines = []
    for check in report.checks:
        lines.append(f"{check.state:<5} {check.what:<17} {check.found}")
        lines += [f"      -> {check.fix}"] if check.fix else []
    return ["\n".join(lines), report.summary]


def _cells_of(rows: Sequence[Sequence[str] | str]) -> list[Sequence[str]]:
    """The rows that have cells, without lines across them."""
    return [row for row in rows if not isinstance(row, str)]


def _draw(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str] | str],
    caption: str,
    file: TextIO,
) -> None:
    from rich.console import Console
    from rich.segment import Segment
    from rich.style import Style
    from rich.table import Table as Drawing
    from rich.text import Text

    drawing = Drawing(
        title=Text(title) if title else None,
        caption=Text(caption) if caption else None,
        title_justify="left",
        caption_justify="left",
        min_width=max((len(row) + 4 for row in rows if isinstance(row, str)), default=None),
    )
    cells = _cells_of(rows)
    for place, column in enumerate(columns):
        numeric = _is_numeric(row[place] for row in cells)
        drawing.add_column(
            Text(column), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric
        )
    for row in rows:
        if isinstance(row, str):  # drawn as an empty row, which the text takes the place of
            drawing.add_row(style=Style(meta={ACROSS: row}))
        else:
            drawing.add_row(*(Text(cell) for cell in row))
    console = Console(file=file)
    for line in console.render_lines(drawing, pad=False):
        across = next((it.style.meta[ACROSS] for it in line if it.style and it.style.meta), None)
        if across is not None:
            room = max(Segment.get_line_length(line) - 4, len(across))
            line = [line[0], Segment(f" {across.ljust(room)} "), line[-1]]
        console.print(Text.assemble(*((it.text, it.style or "") for it in line)), soft_wrap=True)


def _is_numeric(cells: Iterable[str]) -> bool:
    """Whether a column holds numbers, so that it is set to the right and never broken."""
    filled = [cell for cell in cells if cell != "-"]
    return bool(filled) and all(_number(cell.partition(" ± ")[0]) for cell in filled)


def _number(text: str) -> bool:
    return text.lstrip("+-<").replace(",", "").replace(".", "", 1).rstrip("%").isdecimal()


def _fit(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Widths of the columns; the widest gives way until the table fits or all are narrow."""
    widths = [
        max(len(column), *(len(row[place]) for row in rows), 1)
        for place, column in enumerate(columns)
    ]
    room = width - len(GAP) * (len(columns) - 1)
    while sum(widths) > room and max(widths) > NARROWEST:
        widest = widths.index(max(widths))
        widths[widest] = max(NARROWEST, widths[widest] - (sum(widths) - room))
    return widths


def _row_lines(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    cells = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
    height = max(len(cell) for cell in cells)
    lines = []
    for level in range(height):
        parts = [cell[level] if level < len(cell) else "" for cell in cells]
        aligned = [
            part.rjust(width) if to_right else part.ljust(width)
            for part, width, to_right in zip(parts, widths, right, strict=True)
        ]
        lines.append(GAP.join(aligned).rstrip())
    return lines
