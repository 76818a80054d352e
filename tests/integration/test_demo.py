"""`vidret demo`: the whole way, on the smallest set."""

import re
import shlex
import shutil

import pytest
from making.processes import run_vidret, succeed

pytestmark = pytest.mark.xdist_group("demo")

ROWS = ("base", "s-f", "w-f", "s-f + w-f", "w-f + a-s", "s-f + a-s", "s-f + w-f + a-s")
DEMO = ("demo", "--clips", "54", "--seeds", "0")


@pytest.fixture(scope="module")
def demo(tmp_path_factory, extracted):
    """A folder in which the demo ran, and what it printed; its clips were cached before."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(extracted / "vidret-work", folder / "vidret-demo")
    return folder, succeed(*DEMO, cwd=folder)


def test_the_demo_shows_every_row_in_both_directions(demo):
    _, printed = demo
    for direction in ("text to video", "video to text"):
        table = printed.partition(f"{direction}: ")[2].partition(": ")[0]
        for row in ROWS:
            assert re.search(rf"^{re.escape(row)} +\d", table, re.MULTILINE), (direction, row)


def test_the_demo_says_what_its_numbers_are_measured_on(demo):
    words = " ".join(demo[1].split())
    assert "split test, 18 videos, 72 captions" in words
    assert "epochs picked on val; chance R@1 5.56" in words
    assert "synthetic: a demonstration and a test bed, not a benchmark" in words
    assert "what decides the caption" in words


def test_the_demo_answers_a_query(demo):
    printed = demo[1]
    assert re.search(r"^ *1 +clip_\d{5}", printed, re.MULTILINE)
    assert printed.rstrip().splitlines()[-1].startswith("Done in ")


@pytest.mark.slow
def test_the_demo_ends_soon_when_it_is_run_again(demo):
    folder, printed = demo
    runs = folder / "vidret-demo" / "runs"
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.safetensors")}
    again = succeed(*DEMO, cwd=folder)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (
        again.partition("2/3")[2].partition("Done")[0]
        == (printed.partition("2/3")[2].partition("Done")[0])
    )


def test_the_demo_touches_nothing_but_its_own_folder(demo):
    assert [path.name for path in demo[0].iterdir()] == ["vidret-demo"]


@pytest.mark.slow
def test_each_step_is_a_command_that_does_the_same(demo):
    folder, printed = demo
    steps = dict(re.findall(r"^([123])/3  vidret (.*)$", printed, re.MULTILINE))
    assert list(steps) == ["1", "2", "3"]
    shown = succeed(*shlex.split(steps["3"]), cwd=folder)
    assert shown.strip() in printed


def test_too_few_clips_are_refused(tmp_path):
    result = run_vidret("demo", "--clips", "12", cwd=tmp_path)
    assert result.returncode == 2
    assert "ask for 54 or more" in result.stderr
