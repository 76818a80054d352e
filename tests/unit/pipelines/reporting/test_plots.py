import math
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from vidret.pipelines.reporting.plots import (
    HEIGHT,
    WIDTH,
    Bars,
    Line,
    Mark,
    bar_chart,
    count_axis,
    line_chart,
    linear_axis,
    log_axis,
)


def parsed(svg):
    return ET.fromstring(str(svg))


def texts(svg):
    return [one.text for one in parsed(svg).iter("text")]


@pytest.mark.parametrize(
    "values", [(0.31, 0.79), (24.81, 24.88), (3, 1200), (-2.5, 4), (1e-5, 3e-5), (66.7, 66.7)]
)
def test_an_axis_holds_all_values_between_a_few_round_numbers(values):
    axis = linear_axis("loss", values)
    assert axis.low <= min(values) + 1e-9 * abs(min(values))
    assert axis.high >= max(values) * (1 - 1e-9)
    assert 3 <= len(axis.ticks) <= 8
    steps = {round((b - a) / (axis.high - axis.low), 6) for (a, _), (b, _) in pairwise(axis.ticks)}
    assert len(steps) == 1
    assert [float(text.replace(",", "")) for _, text in axis.ticks] == pytest.approx(
        [value for value, _ in axis.ticks]
    )


def test_an_axis_of_percentages_ends_at_a_hundred():
    assert linear_axis("R@1", [100.0, 100.0], most=100.0).high == 100


def test_an_axis_from_zero_begins_there():
    assert linear_axis("queries", [40.0, 55.0], from_zero=True).low == 0


def test_equal_ratios_are_equally_far_on_a_log_axis():
    axis = log_axis("K", 1000)
    assert (axis.share(1), axis.share(1000)) == (0, 1)
    assert axis.share(10) == pytest.approx(1 / 3)
    assert [text for _, text in axis.ticks] == (
        ["1", "2", "5", "10", "20", "50", "100", "200", "500", "1,000"]
    )


def test_a_log_axis_over_many_powers_names_the_powers_alone():
    assert [text for _, text in log_axis("K", 27_763).ticks] == (
        ["1", "10", "100", "1,000", "10,000"]
    )


@pytest.mark.parametrize("last", [1, 2, 7, 30, 400])
def test_a_count_axis_names_whole_numbers_and_not_too_many(last):
    axis = count_axis("epoch", 1, last)
    assert all(value == int(value) for value, _ in axis.ticks)
    assert 1 <= len(axis.ticks) <= 8
    assert axis.low < axis.high


def test_a_line_runs_through_its_points():
    x, y = count_axis("epoch", 0, 10), linear_axis("loss", [0.0, 10.0])
    svg = line_chart("t", x, y, [Line(name="loss", points=((0, 0), (5, 5), (10, 10)))])
    (path,) = [one for one in parsed(svg).iter("path") if "line" in one.get("class", "")]
    places = [tuple(map(float, one.split())) for one in path.get("d")[1:].split("L")]
    (first, middle, last) = places
    assert middle == pytest.approx([(a + b) / 2 for a, b in zip(first, last, strict=True)], abs=0.1)
    assert first[0] < last[0]
    assert first[1] > last[1], "up is up"


def test_a_line_of_one_point_is_a_dot():
    x, y = count_axis("epoch", 1, 1), linear_axis("loss", [0.3])
    svg = line_chart("t", x, y, [Line(name="loss", points=((1, 0.3),))])
    (dot,) = parsed(svg).iter("circle")
    assert 0 < float(dot.get("cx")) < WIDTH
    assert 0 < float(dot.get("cy")) < HEIGHT


def test_a_bar_is_as_tall_as_its_share_of_the_axis():
    y = linear_axis("queries (%)", [50.0, 25.0], from_zero=True)
    svg = bar_chart("t", "rank", ["1", "2"], y, [Bars(name="one way", heights=(50.0, 25.0))])
    first, second = (float(one.get("height")) for one in parsed(svg).iter("rect"))
    assert first == pytest.approx(2 * second, abs=0.2)
    assert [one.find("title").text for one in parsed(svg).iter("rect")] == (
        ["1: 50.0 % one way", "2: 25.0 % one way"]
    )


def test_two_series_stand_side_by_side():
    y = linear_axis("queries (%)", [50.0], from_zero=True)
    bars = [Bars(name="a", heights=(50.0, 50.0)), Bars(name="b", heights=(50.0, 50.0))]
    boxes = sorted(
        (float(one.get("x")), float(one.get("width")))
        for one in parsed(bar_chart("t", "rank", ["1", "2"], y, bars)).iter("rect")
    )
    for (left, width), (next_left, _) in pairwise(boxes):
        assert left + width <= next_left + 0.11


def test_names_of_many_bins_do_not_run_into_each_other():
    names = [f"{2**n + 1:,}-{2 ** (n + 1):,}" for n in range(16)]
    y = linear_axis("queries (%)", [50.0], from_zero=True)
    svg = bar_chart("t", "rank", names, y, [Bars(name="a", heights=(1.0,) * 16)])
    shown = [one for one in texts(svg) if one in names]
    assert 2 <= len(shown) < len(names)
    assert len(list(parsed(svg).iter("rect"))) == len(names)


def test_the_name_of_a_mark_stays_inside_the_chart():
    x, y = count_axis("epoch", 1, 10), linear_axis("loss", [0.0, 1.0])
    for at, side in ((1, "start"), (10, "end")):
        svg = parsed(line_chart("t", x, y, [], [Mark(x=at, text="kept")]))
        (text,) = [one for one in svg.iter("text") if one.text == "kept"]
        assert text.get("text-anchor") == side


def test_text_of_a_chart_is_escaped_and_its_title_is_told_to_those_who_cannot_see_it():
    x, y = count_axis("<epoch>", 1, 2), linear_axis('"&', [0.0, 1.0])
    svg = line_chart('a "title" <b>', x, y, [Line(name="<i>", points=((1, 0), (2, 1)))])
    assert parsed(svg).get("aria-label") == 'a "title" <b>'
    assert parsed(svg).get("role") == "img"
    assert {"<epoch>", '"&'} <= set(texts(svg))
    assert not re.search(r"<(b|i|epoch)>", str(svg))


def test_everything_drawn_lies_inside_the_drawing():
    curve = tuple((k, 100 * math.log(k) / math.log(999)) for k in range(1, 1000, 37))
    svg = line_chart(
        "t",
        log_axis("K", 999),
        linear_axis("R@K (%)", [0.0, 100.0]),
        [Line(name="a", points=curve)],
    )
    path = next(one for one in parsed(svg).iter("path") if "line" in one.get("class", ""))
    for place in path.get("d")[1:].split("L"):
        across, up = map(float, place.split())
        assert 0 <= across <= WIDTH
        assert 0 <= up <= HEIGHT
