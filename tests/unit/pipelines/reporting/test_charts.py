import math
from xml.etree import ElementTree as ET

import pytest
from making.contents import an_epoch

from vidret.pipelines.reporting.charts import (
    bin_name,
    histogram_chart,
    recall_chart,
    stage_charts,
)
from vidret.pipelines.reporting.contents import StageHistory
from vidret.pipelines.reporting.distributions import RankBin, RecallPoint


def a_stage(*epochs, kept=2):
    return StageHistory(name="video-text", kept=kept, epochs=epochs)


def parsed(chart):
    return ET.fromstring(str(chart.svg))


def styles(chart, tag):
    return [one.get("class") for one in parsed(chart).iter(tag) if "grid" not in one.get("class")]


def test_a_stage_shows_loss_recall_and_the_scale_with_their_units():
    charts = stage_charts(a_stage(an_epoch(1), an_epoch(2)), "val")
    labels = [{one.text for one in parsed(chart).iter("text")} for chart in charts]
    assert "loss" in labels[0]
    assert "R@1 on val (%)" in labels[1]
    assert "scale exp(τ)" in labels[2]
    assert all("epoch" in one for one in labels)


def test_the_temperature_is_shown_as_the_factor_that_it_stands_for():
    epochs = (an_epoch(1, tau=math.log(20.0)), an_epoch(2, tau=math.log(100.0)))
    _, _, scale = stage_charts(a_stage(*epochs), "val")
    assert scale.caption.endswith("From 20 to 100.")


def test_the_kept_epoch_is_marked_where_it_is():
    for kept in (1, 3):
        for chart in stage_charts(a_stage(*map(an_epoch, (1, 2, 3, 4)), kept=kept), "val"):
            (mark,) = [one for one in parsed(chart).iter("path") if one.get("class") == "mark"]
            dots = [float(one.get("cx")) for one in parsed(chart).iter("circle")]
            across = float(mark.get("d")[1:].split()[0])
            assert across == pytest.approx(dots[kept - 1], abs=0.1)


def test_an_epoch_without_a_number_leaves_a_gap_and_no_error():
    start = {"epoch": 0, "tau": 3.0, "R@1": 5.0, "MnR": 4.0, "loss": None}
    loss, recall, _ = stage_charts(a_stage(start, an_epoch(1), kept=0), "val")
    assert len(list(parsed(loss).iter("circle"))) == 1
    assert len(list(parsed(recall).iter("circle"))) == 2


def test_a_number_that_no_epoch_has_gets_no_chart():
    bare = {"epoch": 1, "tau": 3.0, "R@1": 5.0, "MnR": 4.0}
    assert len(stage_charts(a_stage(bare, kept=1), "val")) == 2


def test_many_epochs_are_a_line_without_dots():
    chart = stage_charts(a_stage(*map(an_epoch, range(1, 200))), "val")[0]
    assert not list(parsed(chart).iter("circle"))


def test_the_histogram_has_a_bar_for_each_bin_and_direction():
    bins = [RankBin(first=1, last=1, t2v=70, v2t=40), RankBin(first=2, last=2, t2v=30, v2t=60)]
    chart = histogram_chart(bins)
    assert styles(chart, "rect") == ["bar first"] * 2 + ["bar second"] * 2
    assert {"1", "2", "queries (%)"} <= {one.text for one in parsed(chart).iter("text")}
    assert chart.of_bars


def test_the_recall_curve_stands_beside_guessing():
    curve = [RecallPoint(k=k, t2v=10.0 * k, v2t=9.0 * k) for k in range(1, 11)]
    chart = recall_chart(curve, 10)
    lines = {one.find("title").text: one.get("d") for one in parsed(chart).iter("path") if len(one)}
    assert set(lines) == {name for _, name in chart.keys}
    assert lines["guessing"] == lines["text to video"], "ten points of a hundred at each rank"
    assert lines["video to text"] != lines["text to video"]


def test_a_recall_curve_of_one_video_can_be_drawn():
    assert parsed(recall_chart([RecallPoint(k=1, t2v=100.0, v2t=100.0)], 1)) is not None


@pytest.mark.parametrize(
    ("first", "last", "name"), [(1, 1, "1"), (3, 4, "3-4"), (1025, 2048, "1,025-2,048")]
)
def test_a_bin_is_called_by_its_ranks(first, last, name):
    assert bin_name(RankBin(first=first, last=last, t2v=0, v2t=0)) == name
