"""Line and bar charts as inline SVG: no script, and the colours are those of the page around them.

A page styles the classes `first`, `second` and `faint`; the second series is dashed or hatched as
well, so that it can be told from the first without colour.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

WIDTH, HEIGHT = 360, 236
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 42  # margins that the axes' numbers and labels take
WANTED_TICKS = 5
LETTER = 6.2  # width of a letter of the labels
FLATTEST, FLAT_MARGIN = 1e-6, 0.1  # what counts as one value, and the room about it
BAR_SHARE = 0.8  # of the room of a bin
MOST_FINE = 1000  # up to which a log axis has 1, 2 and 5 of every power of ten

Style = Literal["first", "second", "faint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One direction of a chart.

    Args:
        label: what is shown, with its unit.
        ticks: where numbers stand, and which.
        log: whether equal ratios are equally far.
    """

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def share(self, value: float) -> float:
        """How far along the axis a value is, from 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points that a line joins; `dots` marks each of them."""

    name: str
    points: tuple[tuple[float, float], ...]
    style: Style = "first"
    dots: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A place along the x axis that has a name."""

    x: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """One bar a bin; charts with several have them side by side."""

    name: str
    heights: tuple[float, ...]
    style: Style = "first"


def linear_axis(
    label: str, values: Sequence[float], *, from_zero: bool = False, most: float = math.inf
) -> Axis:
    """An axis that holds all values and begins and ends at round numbers.

    Args:
        label: what is shown, with its unit.
        values: what has to find room.
        from_zero: begin at zero, as bars must.
        most: what no value can be above, so that the axis ends there.
    """
    low, high = min(values), max(values)
    if high - low < FLATTEST * max(1.0, abs(high)):
        margin = FLAT_MARGIN * max(1.0, abs(high))
        low, high = low - margin, min(high + margin, most)
    low = 0.0 if from_zero else low
    step = _round_step((high - low) / WANTED_TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = tuple((n * step, f"{n * step:,.{digits}f}") for n in range(first, last + 1))
    return Axis(label=label, low=ticks[0][0], high=ticks[-1][0], ticks=ticks)


def count_axis(label: str, first: int, last: int) -> Axis:
    """An axis of whole numbers, such as epochs."""
    step = max(1, math.ceil((last - first) / (WANTED_TICKS + 2)))
    ticks = tuple((float(n), f"{n:,}") for n in range(first, last + 1, step))
    margin = 0.5 if first == last else 0.0
    return Axis(label=label, low=first - margin, high=last + margin, ticks=ticks)


def log_axis(label: str, last: int) -> Axis:
    """From 1 to a whole number, equal ratios equally far."""
    powers = range(len(str(last)))
    ticks = [times * 10**power for power in powers for times in (1, 2, 5)]
    if last > MOST_FINE:
        ticks = [10**power for power in powers]
    return Axis(
        label=label,
        low=1,
        high=max(2, last),
        ticks=tuple((float(tick), f"{tick:,}") for tick in ticks if tick <= max(2, last)),
        log=True,
    )


def line_chart(
    title: str, x: Axis, y: Axis, lines: Sequence[Line], marks: Sequence[Mark] = ()
) -> Markup:
    """Lines over a common x axis."""
    body = [*_grid(x, y), *(part for mark in marks for part in _mark(mark, x, y))]
    for line in lines:
        body += _line(line, x, y)
    return _figure(title, x, y, body)


def bar_chart(title: str, label: str, bins: Sequence[str], y: Axis, bars: Sequence[Bars]) -> Markup:
    """Groups of bars, one group a bin."""
    every = max(1, math.ceil(len(bins) * LETTER * (max(map(len, bins)) + 1) / _room()))
    ticks = tuple((n + 0.5, name) for n, name in enumerate(bins) if n % every == 0)
    x = Axis(label=label, low=0, high=len(bins), ticks=ticks)
    body = list(_grid(x, y, upright=False))
    wide = BAR_SHARE / len(bars)
    for place, one in enumerate(bars):
        for number, height in enumerate(one.heights):
            left = number + (1 - BAR_SHARE) / 2 + place * wide
            name = f"{bins[number]}: {height:.1f} % {one.name}"
            body.append(_bar(left, left + wide, height, x, y, one.style, name))
    return _figure(title, x, y, body)


def _round_step(least: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * times for times in (1, 2, 5, 10) if power * times >= least * (1 - 1e-9))


def _room() -> float:
    return WIDTH - LEFT - RIGHT


def _across(x: Axis, value: float) -> float:
    return LEFT + x.share(value) * _room()


def _up(y: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - y.share(value) * (HEIGHT - TOP - BOTTOM)


def _grid(x: Axis, y: Axis, *, upright: bool = True) -> Iterator[Markup]:
    """Axes, their numbers and thin lines behind all else."""
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value, text in y.ticks:
        at = _up(y, value)
        yield Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(LEFT, at, right)
        yield Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
            LEFT - 6, at + 4, text
        )
    for value, text in x.ticks:
        at = _across(x, value)
        if upright:
            yield Markup('<path class="grid" d="M{:.1f} {}V{}"/>').format(at, TOP, floor)
        yield Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            at, floor + 15, text
        )
    yield Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(LEFT, TOP, floor, right)


def _mark(mark: Mark, x: Axis, y: Axis) -> Iterator[Markup]:
    at = _across(x, mark.x)
    on_left = at > WIDTH - RIGHT - LETTER * len(mark.text) - 6
    yield Markup('<path class="mark" d="M{:.1f} {}V{}"/>').format(at, TOP, _up(y, y.low))
    yield Markup('<text class="mark" x="{:.1f}" y="{}" text-anchor="{}">{}</text>').format(
        at + (-4 if on_left else 4), TOP + 9, "end" if on_left else "start", mark.text
    )


def _line(line: Line, x: Axis, y: Axis) -> Iterator[Markup]:
    places = [(_across(x, across), _up(y, up)) for across, up in line.points]
    route = "L".join(f"{across:.1f} {up:.1f}" for across, up in places)
    yield Markup('<path class="line {}" d="M{}"><title>{}</title></path>').format(
        line.style, route, line.name
    )
    if line.dots or len(places) == 1:
        for across, up in places:
            yield Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="2.6"/>').format(
                line.style, across, up
            )


def _bar(
    left: float, right: float, height: float, x: Axis, y: Axis, style: Style, name: str
) -> Markup:
    top, floor = _up(y, height), _up(y, y.low)
    return Markup(
        '<rect class="bar {}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
        "<title>{}</title></rect>"
    ).format(style, _across(x, left), top, _across(x, right) - _across(x, left), floor - top, name)


def _figure(title: str, x: Axis, y: Axis, body: Sequence[Markup]) -> Markup:
    """The drawing around a chart; a reader that cannot see it is told its title."""
    labels = Markup(
        '<text class="label" x="{:.1f}" y="{}" text-anchor="middle">{}</text>'
        '<text class="label" transform="translate(11 {:.1f}) rotate(-90)" text-anchor="middle">'
        "{}</text>"
    ).format(LEFT + _room() / 2, HEIGHT - 6, x.label, (HEIGHT - BOTTOM + TOP) / 2, y.label)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}</svg>').format(
        WIDTH, HEIGHT, title, Markup("").join(body), labels
    )
