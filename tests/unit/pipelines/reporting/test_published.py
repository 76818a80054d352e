"""Published numbers, against values copied by hand from the paper's tables."""

import pytest

from vidret.data.catalog import DATASETS
from vidret.heads.catalog import HEADS
from vidret.pipelines.reporting.published import (
    METRICS,
    PAPER,
    datasets_of_paper,
    published_rows,
    remarks_on,
    source_of,
)

TABLE_1 = {
    "s-f": (46.8, 72.2, 82.8),
    "w-f": (46.7, 72.3, 83.0),
    "mgfi": (47.1, 72.8, 82.6),
    "w-f+cmfi": (46.9, 74.0, 83.2),
    "s-f+cmfi": (48.2, 73.0, 82.2),
    "mgfi+cmfi": (48.4, 73.1, 83.6),
}
OURS = {
    "msrvtt-9k": (48.4, 73.1, 83.6, 2.0, 13.3),
    "msvd": (53.5, 81.0, 88.2, 1.0, 7.7),
    "didemo": (46.1, 73.0, 82.6, 2.0, 13.7),
}
CLIP = {"msrvtt-9k": (31.2, 53.7, 64.2), "msvd": (37.0, 64.1, 73.8)}


def of_paper(dataset, head):
    return [row for row in published_rows(dataset) if (row.source, row.head) == (PAPER, head)]


def recalls(row):
    return tuple(row.numbers[metric] for metric in METRICS[:3])


@pytest.mark.parametrize("head", TABLE_1)
def test_the_rows_of_table_1_are_those_of_the_paper(head):
    (row,) = of_paper("msrvtt-9k", head)
    assert recalls(row) == TABLE_1[head]
    assert "Table" in row.table
    assert "1" in row.table


@pytest.mark.parametrize("dataset", OURS)
def test_the_whole_model_has_all_five_numbers_of_the_papers_tables(dataset):
    (row,) = of_paper(dataset, "mgfi+cmfi")
    assert tuple(row.numbers[metric] for metric in METRICS) == OURS[dataset]


@pytest.mark.parametrize("dataset", CLIP)
def test_clip_as_it_comes_is_told_from_the_fine_tuned_base(dataset):
    by_encoders = {row.encoders: row for row in of_paper(dataset, "mean")}
    assert recalls(by_encoders["frozen"]) == CLIP[dataset]
    assert by_encoders["fine-tuned"].numbers["R@1"] > by_encoders["frozen"].numbers["R@1"]


def test_the_base_row_of_table_1_is_clip4clip():
    (row,) = [row for row in of_paper("msrvtt-9k", "mean") if row.encoders == "fine-tuned"]
    assert recalls(row) == (43.1, 70.4, 80.8)
    assert row.numbers["MnR"] == 16.2


def test_x_pool_stands_twice_as_the_paper_and_as_its_authors_print_it():
    found = {
        row.source: row.numbers["R@1"] for row in published_rows("msrvtt-9k") if "X-P" in row.row
    }
    assert found == {"mgfi": 47.2, "xpool": 46.9}


def test_the_paper_knows_three_datasets_and_all_of_them_are_ours():
    assert datasets_of_paper() == ("msrvtt-9k", "msvd", "didemo")
    assert set(datasets_of_paper()) <= set(DATASETS)


@pytest.mark.parametrize("dataset", OURS)
def test_every_row_says_where_it_is_from_and_makes_sense(dataset):
    for row in published_rows(dataset):
        assert source_of(row).link.startswith("https://")
        assert row.head in ("", *HEADS)
        assert row.encoders in ("frozen", "fine-tuned")
        assert set(row.numbers) <= set(METRICS)
        assert row.numbers["R@1"] <= row.numbers.get("R@5", 100) <= row.numbers.get("R@10", 100)


def test_rows_that_need_all_test_queries_at_once_say_so():
    for dataset in OURS:
        (row,) = [row for row in published_rows(dataset) if "DSL" in row.row]
        assert "transductive" in row.note


def test_didemo_by_time_has_the_rows_of_didemo():
    assert published_rows("didemo-by-time") == published_rows("didemo")


def test_the_rows_of_the_paper_come_first():
    sources = [row.source == PAPER for row in published_rows("msrvtt-9k")]
    assert sources == sorted(sources, reverse=True)


def test_what_is_odd_about_a_dataset_is_told_with_it_alone():
    assert any("MSVD has no sound" in text for text in remarks_on("msvd"))
    assert not any("MSVD" in text for text in remarks_on("msrvtt-9k"))
    assert len(remarks_on("synth-540-0")) == 1
