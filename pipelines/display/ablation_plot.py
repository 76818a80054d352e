"""A table of heads as a picture: every seed, and the distance from the base row."""

import io
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from vidret.pipelines.ablation.report import AblateReport
from vidret.pipelines.display.ablation_words import LEAD, protocol_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WAY = "t2v"
DARK, MIDDLE, LIGHT = "#1b3a57", "#6b7f90", "#d5dbe1"  # told apart in grey as well
WIDTH, ROW_HEIGHT, FRAME_HEIGHT = 9.0, 0.36, 1.9  # inches
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a dollar is a dollar
    "font.size": 9,
    "svg.fonttype": "none",  # text stays text: it can be searched and read aloud
    "svg.hashsalt": "vidret",  # the same table gives the same bytes
}
METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {},
}


def plotted(report: AblateReport, form: str) -> bytes:
    """The picture as svg, png or pdf.

    On the left each seed is a ring, their mean a dot, their standard deviation a bar. On the right
    the difference from the base row is a dot, and its 95 % interval over test videos a bar.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # no pyplot, so no window and no state

    file = io.BytesIO()
    with rc_context(STYLE):
        height = FRAME_HEIGHT + ROW_HEIGHT * len(report.rows)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        compared = any(row.against_base for row in report.rows)
        axes = figure.subplots(1, 2 if compared else 1, sharey=True, squeeze=False)[0]
        figure.suptitle(protocol_line(report).replace("; ", ";\n", 1), fontsize=8)
        _draw_seeds(axes[0], report)
        if compared:
            _draw_differences(axes[1], report)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=7)
        figure.savefig(file, format=form, dpi=160, metadata=METADATA[form])
    return file.getvalue()


def _draw_seeds(axes: "Axes", report: AblateReport) -> None:
    """Every seed of every row, their mean and spread."""
    _prepare(axes, report, f"{LEAD} text to video (%)")
    axes.axvline(report.setting.chance, color=MIDDLE, linewidth=0.8, linestyle=":", label="chance")
    said: set[str] = set()
    for place, row in enumerate(report.rows):
        values = row.values(WAY, LEAD)
        if len(values) > 1:
            axes.errorbar(
                mean(values),
                place,
                xerr=stdev(values),
                color=MIDDLE,
                linewidth=4,
                zorder=1,
                label=_once("standard deviation of seeds", said),
            )
        axes.plot(
            values,
            [place] * len(values),
            "o",
            markersize=6,
            markerfacecolor="none",
            markeredgecolor=DARK,
            zorder=2,
            label=_once("a seed", said),
        )
        axes.plot(mean(values), place, "o", markersize=4, color=DARK, label=_once("mean", said))


def _draw_differences(axes: "Axes", report: AblateReport) -> None:
    """How far every row is from the base row, and how far that could be the choice of videos."""
    _prepare(axes, report, "difference to the base row (points)")
    axes.axvline(0, color=MIDDLE, linewidth=0.8, linestyle="--", label=report.base)
    said: set[str] = set()
    for place, row in enumerate(report.rows):
        if row.against_base:
            its = row.against_base[WAY][LEAD]
            axes.plot(
                [its.low, its.high],
                [place, place],
                "|-",
                color=MIDDLE,
                linewidth=2,
                markersize=8,
                zorder=1,
                label=_once("95 % interval over test videos", said),
            )
            label = _once("difference", said)
            axes.plot(its.difference, place, "o", markersize=4, color=DARK, label=label)


def _prepare(axes: "Axes", report: AblateReport, name: str) -> None:
    """Rows from the top down, and nothing that is no data in dark ink."""
    axes.set_yticks(range(len(report.rows)), [row.label for row in report.rows])
    axes.set_ylim(len(report.rows) - 0.5, -0.5)
    axes.set_xlabel(name)
    axes.grid(axis="x", color=LIGHT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _once(name: str, said: set[str]) -> str:
    """A name for the legend, which leaves out what begins with an underscore."""
    if name in said:
        return f"_{name}"
    said.add(name)
    return name
