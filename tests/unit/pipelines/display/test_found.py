import io
import re
from pathlib import Path

import pytest

from vidret.pipelines.display.found import render_search
from vidret.pipelines.display.tables import show
from vidret.pipelines.search import Hit, SearchReport


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def a_hit(rank, *, weaker):
    return Hit(
        rank=rank,
        id=f"summer/beach/IMG_{rank:04}.mov",
        path=f"/films/summer/beach/IMG_{rank:04}.mov",
        score=0.5,
        probability=0.9 / rank**3,
        weaker=weaker,
        parts={"sentence": 0.2, "words": 0.2, "audio": 0.1},
        start=41.0,
        end=46.5,
        peak=43.0,
        duration=60.0,
        sound="ok",
        rank_without_sound=rank,
    )


REPORT = SearchReport(
    query="a dog barks",
    head="mgfi+cmfi",
    cache=Path("/cache"),
    searched=12_347,
    failed=0,
    truncated=False,
    hits=tuple(a_hit(rank, weaker=rank > 2) for rank in range(1, 11)),
    matches=2,
)


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("no_color", ["", "1"])
def test_the_line_above_weaker_matches_is_one_line(columns, no_color, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_color)
    terminal = Terminal()
    show(render_search(REPORT), file=terminal)
    lines = [without_colours(line) for line in terminal.getvalue().splitlines()]
    (line,) = [line for line in lines if "weaker matches below" in line]
    assert line.strip("│ ") == "--- weaker matches below (12,345) ---"
    assert len(line) <= columns


def without_colours(line):
    return re.sub("\x1b\\[[0-9;]*m", "", line)


def test_off_a_terminal_the_line_is_one_line_too():
    out = io.StringIO()
    show(render_search(REPORT), file=out)
    lines = out.getvalue().splitlines()
    assert "--- weaker matches below (12,345) ---" in lines
    assert max(map(len, lines)) <= 80


def test_the_line_stands_between_matches_and_weaker_ones():
    rows = render_search(REPORT).rows
    assert [row if isinstance(row, str) else row[0] for row in rows][:4] == [
        1,
        2,
        "--- weaker matches below (12,345) ---",
        3,
    ]
