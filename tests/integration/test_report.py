"""`vidret report` as it is typed, on clips that were drawn, encoded and trained on."""

import json
import re

from making.processes import run_vidret, succeed


def test_a_page_shows_the_clips_and_is_small_and_complete(trained, tmp_path):
    work, page = ("--work", trained / "vidret-work"), tmp_path / "page.html"
    options = (*work, "--out", page, "--against", "paper", "--json")
    told = json.loads(succeed("report", *options, cwd=tmp_path))
    text = page.read_text("utf-8")
    assert told["bytes"] == page.stat().st_size < 2_000_000
    assert any("synthetic" in warning for warning in told["warnings"])
    assert told["paper"]["reason"].startswith("The paper has no numbers of synth-54-0")
    shown = [query for kind in ("hardest", "random") for query in told[kind]]
    assert len(re.findall("<article", text)) == len(shown) > 6
    assert text.count("data:image/jpeg;base64,") == 2 * len(shown)
    assert all(query["text"] in text for query in shown)
    assert told["absent"] == {}


def test_a_run_that_is_not_there_ends_with_4_and_writes_nothing(trained, tmp_path):
    place = ("--work", trained / "vidret-work", "--out", tmp_path / "page.html")
    result = run_vidret("report", "--run", "nobody", *place, cwd=tmp_path)
    assert result.returncode == 4
    assert result.stderr.startswith("vidret: no run 'nobody'")
    assert list(tmp_path.iterdir()) == []
