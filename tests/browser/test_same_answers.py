"""`vidret search --json`, the API and the page: the same order and the same scores."""

import json
from itertools import pairwise
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from click.testing import CliRunner
from making.browsing import look_for, until

from vidret.pipelines.cli import cli

SHOWN = 25  # on a page of the table
TIE = 1e-5


def of_command(world, text, weight, where):
    filters = [part for glob in where for part in ("--where", glob)]
    options = ["--run", "run", "--top", "500", "--audio-weight", str(weight), "--device", "cpu"]
    asked = ["search", text, "--work", str(world.work), "--json", *options, *filters]
    told = CliRunner().invoke(cli, asked)
    assert told.exit_code == 0, told.output
    hits = json.loads(told.stdout)["hits"]
    return [(spelt(hit["path"].rpartition("/")[2]), hit["score"]) for hit in hits]


def of_api(address, text, weight, where):
    asked = [("q", text), ("head", "run"), ("top", 500), ("audio_weight", weight)]
    query = urlencode([*asked, *(("where", glob) for glob in where)])
    with urlopen(f"{address}/api/search?{query}") as response:
        hits = json.load(response)["hits"]
    return [(hit["name"], hit["score"]) for hit in hits]


def of_page(page, text, weight, where):
    page.fill("#where", where[0] if where else "")
    page.evaluate("weight => { document.getElementById('sound').value = weight; }", weight)
    look_for(page, text)
    until(page, "() => document.getElementById('results').ariaBusy !== 'true'")
    page.get_by_role("button", name="Show as table").click()
    return [
        (row.locator(".open").inner_text(), float(row.locator(".number").nth(2).inner_text()))
        for row in page.locator(".plain tbody tr").all()
    ]


@pytest.mark.parametrize(
    ("text", "weight", "where"),
    [
        ("a red star", 1, ()),
        ("a red star", 0.5, ()),
        ("a red star", 0, ()),
        ("a blue cross", 1, ("**/1?.mp4",)),
        ("a dog barks", 0, ("2*.mp4",)),
    ],
)
def test_all_three_give_the_same(page, address, world, text, weight, where):
    command = of_command(world, text, weight, where)
    api = of_api(address, text, weight, where)
    assert [name for name, _ in api[:SHOWN]] == [name for name, _ in command[:SHOWN]]
    same_but_for_ties(api, command)
    rows = of_page(page, text, weight, where)
    assert len(rows) >= min(len(api), SHOWN)
    assert [name for name, _ in rows] == [name for name, _ in api[: len(rows)]]
    written = [score for _, score in api[: len(rows)]]
    assert [score for _, score in rows] == pytest.approx(written, abs=0.51e-4)


def same_but_for_ties(api, command):
    """The same scores; the same order, too, but for what float32 cannot tell apart.

    The first question of a process and later ones are computed in different ways.
    """
    api_scores, command_scores = dict(api), dict(command)
    assert api_scores == pytest.approx(command_scores, abs=TIE / 2)
    for (_, better), (name, _) in pairwise(api):
        assert command_scores[name] < better + TIE


def spelt(name):
    """As the page and its API write signs that no screen shows."""
    return name.replace("\u202e", "\\u202e")


def test_without_its_weight_the_sound_changes_nothing_and_with_it_something(address):
    orders = {w: [name for name, _ in of_api(address, "a red star", w, ())] for w in (0, 0.5, 1)}
    assert len({tuple(order) for order in orders.values()}) == 3
