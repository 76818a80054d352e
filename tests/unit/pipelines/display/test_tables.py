from io import StringIO

import pytest

from vidret.pipelines.display.tables import (
    Table,
    cell_text,
    mean_std,
    plain_table,
    print_table,
    render_doctor,
    show,
)
from vidret.pipelines.doctor import Check, DoctorReport, State

COLUMNS = ("head", "R@1", "MdR")
ROWS = (("mean", 43.1, 2), ("s-f + w-f", 7.05, None))


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def printed(file, **changes):
    print_table("Table 1", COLUMNS, ROWS, caption="test split", file=file, **changes)
    return file.getvalue()


def test_off_a_terminal_a_table_is_aligned_text():
    assert printed(StringIO()) == (
        "Table 1\n"
        "\n"
        "head        R@1  MdR\n"
        "---------  ----  ---\n"
        "mean       43.1    2\n"
        "s-f + w-f   7.0    -\n"
        "\n"
        "test split\n"
    )


def test_a_terminal_gets_a_drawing(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    text = printed(Terminal())
    assert "━" in text
    assert all(word in text for word in ("Table 1", "s-f + w-f", "43.1", "test split"))


def test_no_color_makes_a_terminal_plain(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(Terminal()) == printed(StringIO())


def test_brackets_are_not_taken_for_markup(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    print_table("[bold]", ["[red]"], [["[/]"]], caption="[x]", file=terminal)
    assert all(word in terminal.getvalue() for word in ("[bold]", "[red]", "[/]", "[x]"))


def test_a_wide_table_keeps_to_eighty_columns_and_loses_no_word():
    words = [f"word{place}" for place in range(40)]
    text = plain_table("", ["clip", "caption", "R@1"], [["a.mp4", " ".join(words), "12.5"]])
    assert max(map(len, text.splitlines())) <= 80
    assert all(word in text.split() for word in words)
    assert "12.5" in text.split()


def test_a_row_that_is_a_text_goes_across_all_columns(monkeypatch):
    rows = [("a", "1.0", "2"), "--- all that follows is worse ---", ("b", "10.0", "3")]
    assert plain_table("", COLUMNS, rows).splitlines() == [
        "head   R@1  MdR",
        "----  ----  ---",
        "a      1.0    2",
        "--- all that follows is worse ---",
        "b     10.0    3",
    ]
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    print_table("", COLUMNS, rows, file=terminal)
    across = next(line for line in terminal.getvalue().splitlines() if "worse" in line)
    assert across == "│ --- all that follows is worse --- │"


def test_long_titles_and_captions_are_wrapped():
    text = plain_table("title " * 30, ["a"], [["1"]], caption="caption " * 30)
    assert max(map(len, text.splitlines())) <= 80


def test_a_table_without_rows_shows_its_columns():
    assert plain_table("", COLUMNS, []).split()[:3] == list(COLUMNS)


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, "-"), (12.345, "12.3"), (1970, "1,970"), ("a", "a"), (float("inf"), "inf")],
)
def test_a_cell_is_written_for_people(cell, text):
    assert cell_text(cell) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [([], "-"), ([12.34], "12.3"), ([1.0, 3.0], "2.0 ± 1.4"), ([5.0, 5.0, 5.0], "5.0 ± 0.0")],
)
def test_mean_and_spread_over_seeds(values, text):
    assert mean_std(values) == text


def test_means_with_spread_are_set_to_the_right():
    text = plain_table("", ["head", "R@1"], [["a", "9.1 ± 0.2"], ["b", "10.1 ± 0.2"]])
    assert text.splitlines()[2:] == ["a      9.1 ± 0.2", "b     10.1 ± 0.2"]


def test_text_and_tables_are_shown_in_turn():
    stream = StringIO()
    show(["before", Table(title="", columns=("a",), rows=((1,),)), "after"], file=stream)
    assert stream.getvalue().split() == ["before", "a", "-", "1", "after"]


def test_one_text_is_not_taken_apart():
    stream = StringIO()
    show("abc", file=stream)
    assert stream.getvalue() == "abc\n"


def test_results_go_to_stdout(capsys):
    show("result")
    assert capsys.readouterr() == ("result\n", "")


def test_a_doctor_report_names_the_fix_below_what_is_missing():
    checks = (
        Check(state=State.OK, what="python", found="3.11"),
        Check(state=State.MISS, what="PyAV", found="not installed", fix="pip install av"),
    )
    stream = StringIO()
    show(render_doctor(DoctorReport(checks=checks)), file=stream)
    assert stream.getvalue().splitlines() == [
        "ok    python            3.11",
        "miss  PyAV              not installed",
        "      -> pip install av",
        "1 missing",
    ]
