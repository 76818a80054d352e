"""Accuracy against cost as a picture, with a line along the heads that no other one beats."""

import io
from statistics import mean, stdev
from typing import TYPE_CHECKING

from vidret.pipelines.ablation.report import AblateReport, Row
from vidret.pipelines.display.ablation_plot import DARK, LIGHT, METADATA, MIDDLE, STYLE, WAY
from vidret.pipelines.display.ablation_words import LEAD, costed, protocol_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT, FRAME_HEIGHT, LINE_HEIGHT = 10.0, 5.0, 1.2, 0.15  # inches
ABOUT = 1.25


def cost_plotted(report: AblateReport, form: str) -> bytes:
    """The picture as svg, png or pdf.

    Each head is a numbered dot at the time of a pair and its R@1. A line joins the heads for
    which no other is both as good and as quick.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows, file = costed(report), io.BytesIO()
    with rc_context(STYLE):
        height = max(HEIGHT, FRAME_HEIGHT + LINE_HEIGHT * len(rows))
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes, names = figure.subplots(1, 2, width_ratios=(3, 1))
        figure.suptitle(protocol_line(report).replace("; ", ";\n", 1), fontsize=8)
        _prepare(axes, report, _place(rows))
        _draw(axes, rows)
        _name(names, rows)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=7)
        figure.savefig(file, format=form, dpi=160, metadata=METADATA[form])
    return file.getvalue()


def _prepare(axes: "Axes", report: AblateReport, place: str) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel(f"time of a prepared pair, {place} (µs)")
    axes.set_ylabel(f"{LEAD} text to video (%)")
    axes.grid(color=LIGHT, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    chance = report.setting.chance
    axes.axhline(chance, color=MIDDLE, linewidth=0.8, linestyle=":", label="chance")


def _draw(axes: "Axes", rows: list[Row]) -> None:
    """A numbered dot for each row, and the line along those that none beats."""
    best = frontier(rows)
    axes.step(
        [_micro(row) for row in best],
        [_recall(row) for row in best],
        where="post",
        color=MIDDLE,
        linewidth=1.2,
        label="nothing as quick is better",
    )
    for number, row in enumerate(rows, 1):
        spread = stdev(row.values(WAY, LEAD)) if len(row.scores) > 1 else 0.0
        axes.errorbar(
            _micro(row),
            _recall(row),
            yerr=spread,
            fmt="o",
            color=DARK,
            markerfacecolor=DARK if row in best else "white",
            ecolor=MIDDLE,
            elinewidth=0.8,
            markersize=4,
            label="mean, standard deviation of seeds" if number == 1 else None,
        )
        axes.annotate(
            str(number),
            (_micro(row), _recall(row)),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=6.5,
        )


def _name(axes: "Axes", rows: list[Row]) -> None:
    """Which head each number is; names beside the dots would lie on one another."""
    axes.axis("off")
    lines = [f"{number:>2}  {row.label}" for number, row in enumerate(rows, 1)]
    axes.text(
        0, 1, "\n".join(lines), fontsize=7, va="top", linespacing=1.5, transform=axes.transAxes
    )


def frontier(rows: list[Row]) -> list[Row]:
    """The rows that no other row beats in R@1 in about the same time or less, the quickest first.

    What takes up to a quarter longer counts as the same: a clock tells no finer.
    """

    def beats(other: Row, row: Row) -> bool:
        if _recall(other) == _recall(row):
            return _micro(other) < _micro(row)
        return _recall(other) > _recall(row) and _micro(other) <= ABOUT * _micro(row)

    return sorted((row for row in rows if not any(beats(other, row) for other in rows)), key=_micro)


def _place(rows: list[Row]) -> str:
    assert rows[0].cost is not None
    return rows[0].cost.place


def _micro(row: Row) -> float:
    assert row.cost is not None
    return 1e6 * row.cost.score.pair_seconds


def _recall(row: Row) -> float:
    return mean(row.values(WAY, LEAD))
