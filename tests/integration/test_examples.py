"""Every script of examples/ as a newcomer runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("examples")  # one worker makes what they share

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_example_is_run():
    assert [path.name for path in sorted(EXAMPLES.glob("*.py"))] == ["your_own_features.py"]


@pytest.fixture(scope="module")
def printed() -> str:
    """What the example about arrays prints."""
    finished = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "your_own_features.py")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert finished.stderr == ""
    return finished.stdout


@pytest.mark.parametrize("way", ["text to video", "video to text"])
def test_a_head_that_learned_from_plain_arrays_ranks_better_than_before(printed, way):
    before, after = (
        float(re.search(rf"{when}, {way}: R@1 ([\d.]+)", printed)[1])
        for when in ("before", "after")
    )
    assert after > before + 5


def test_the_example_shows_what_every_part_adds(printed):
    assert re.search(r"sentence -?\d\.\d+, words -?\d\.\d+, audio -?\d\.\d+\n", printed)
