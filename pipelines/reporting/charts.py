"""The charts of a report: how a stage learned, how ranks are spread, how recall grows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from vidret.pipelines.reporting.contents import StageHistory
from vidret.pipelines.reporting.distributions import RankBin, RecallPoint
from vidret.pipelines.reporting.plots import (
    Bars,
    Line,
    Mark,
    bar_chart,
    count_axis,
    line_chart,
    linear_axis,
    log_axis,
)

T2V, V2T = "text to video", "video to text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawing and the sentence below it.

    Args:
        keys: style and name of each series, where there are several.
        of_bars: whether the series are bars, and not lines.
    """

    svg: Markup
    caption: str
    keys: tuple[tuple[str, str], ...] = ()
    of_bars: bool = False


def stage_charts(stage: StageHistory, select_on: str) -> list[Chart]:
    """Loss, recall of the split that picks the epoch, and the scale of the loss, over epochs."""
    wanted = (
        ("loss", "loss", math.inf, "Loss, mean of an epoch."),
        ("R@1", f"R@1 on {select_on} (%)", 100.0, "R@1, text to video, which picks the epoch."),
        ("tau", "scale exp(τ)", 100.0, "What the loss multiplies similarities by; at most 100."),
    )
    charts = []
    for key, label, most, caption in wanted:
        points = _points(stage.epochs, key)
        if points:
            svg = _over_epochs(stage, label, points, most)
            charts.append(Chart(svg=svg, caption=f"{caption} {_ends(points)}"))
    return charts


def histogram_chart(bins: Sequence[RankBin]) -> Chart:
    """The share of queries in each bin of ranks."""
    heights = [share for one in bins for share in (one.t2v, one.v2t)]
    svg = bar_chart(
        "Histogram of the ranks of the right answers, in both directions",
        "rank of the right answer",
        [bin_name(one) for one in bins],
        linear_axis("queries (%)", heights, from_zero=True, most=100.0),
        (
            Bars(name=T2V, heights=tuple(one.t2v for one in bins)),
            Bars(name=V2T, heights=tuple(one.v2t for one in bins), style="second"),
        ),
    )
    return Chart(
        svg=svg,
        caption="How many queries have their right answer at which rank; from 3 on each bin is "
        "twice as wide as the one before.",
        keys=(("first", T2V), ("second", V2T)),
        of_bars=True,
    )


def recall_chart(curve: Sequence[RecallPoint], candidates: int) -> Chart:
    """R@K over K, and what guessing would give."""
    last = max(2, curve[-1].k)
    svg = line_chart(
        "R@K over K, in both directions, and of guessing",
        log_axis("K (ranks looked at)", last),
        linear_axis("R@K (%)", [0.0, 100.0]),
        (
            Line(
                name="guessing",
                points=tuple((one.k, min(100.0, 100 * one.k / candidates)) for one in curve),
                style="faint",
            ),
            Line(name=V2T, points=tuple((one.k, one.v2t) for one in curve), style="second"),
            Line(name=T2V, points=tuple((one.k, one.t2v) for one in curve)),
        ),
    )
    return Chart(
        svg=svg,
        caption="The share of queries whose right answer is among the first K. Guessing is that of "
        "text to video.",
        keys=(("first", T2V), ("second", V2T), ("faint", "guessing")),
    )


def bin_name(one: RankBin) -> str:
    """`1`, `2`, `3-4`, `5-8`."""
    return f"{one.first:,}" if one.first == one.last else f"{one.first:,}-{one.last:,}"


def _points(epochs: Sequence[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    """A number over the epochs that have it; the temperature as the factor that it stands for."""
    found = [(one["epoch"], one[key]) for one in epochs if one.get(key) is not None]
    if key == "tau":
        found = [(epoch, math.exp(value)) for epoch, value in found]
    return [(float(epoch), float(value)) for epoch, value in found if math.isfinite(value)]


def _over_epochs(
    stage: StageHistory, label: str, points: list[tuple[float, float]], most: float
) -> Markup:
    first, last = int(stage.epochs[0]["epoch"]), int(stage.epochs[-1]["epoch"])
    return line_chart(
        f"Stage {stage.name}: {label} over {len(stage.epochs)} epochs, epoch {stage.kept} kept",
        count_axis("epoch", first, last),
        linear_axis(label, [value for _, value in points], most=most),
        [Line(name=label, points=tuple(points), dots=len(points) <= 30)],
        [Mark(x=stage.kept, text="kept")],
    )


def _ends(points: list[tuple[float, float]]) -> str:
    """What the curve begins and ends with, for those who cannot see it."""
    return f"From {points[0][1]:.4g} to {points[-1][1]:.4g}."
