"""`kill -9` and Ctrl-C at any moment, then the same command: nothing is lost."""

import signal
from pathlib import Path

import pytest
from making.processes import (
    continuing_command,
    interrupt,
    kill_group,
    run_vidret,
    started,
    succeed,
    wait_for_orphans,
    wait_until,
)

from vidret.data.manifest import MANIFEST
from vidret.data.upkeep.check import verify_cache

EXTRACT = ("extract", "--clips", "54")
WORK = "vidret-work"

pytestmark = pytest.mark.xdist_group("crash")


def count(folder: Path, pattern: str) -> int:
    return len(list((folder / WORK).glob(pattern)))


MOMENTS = {
    "while drawing": lambda folder: count(folder, "synth/*/videos/*.mp4") >= 8,
    "while encoding": lambda folder: count(folder, "cache/*/videos-*.h5") >= 1,
    "near the end": lambda folder: count(folder, "cache/*/videos-*.h5") >= 4,
}
VICTIMS = {"all processes": kill_group, "the parent alone": lambda process: process.kill()}


def kill_at(moment: str, victim: str, folder: Path) -> int:
    """Kill an extraction at a moment, and return the group of its processes, some still alive."""
    with started(*EXTRACT, cwd=folder, leave_orphans=True) as process:
        wait_until(lambda: MOMENTS[moment](folder), process)
        VICTIMS[victim](process)
        assert process.wait() == -signal.SIGKILL
    return process.pid


def content_of_cache(folder: Path) -> dict[str, bytes]:
    """Every file of the one cache below a folder, wherever that folder lies."""
    (cache,) = (folder / WORK / "cache").iterdir()
    files = {path.name: path.read_bytes() for path in cache.iterdir() if path.name != ".lock"}
    here = str((folder / WORK).resolve()).encode()
    return files | {MANIFEST: files[MANIFEST].replace(here, b"HERE")}


def assert_equal_to_uninterrupted(folder: Path, extracted: Path) -> None:
    expected, found = content_of_cache(extracted), content_of_cache(folder)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert list((folder / WORK).rglob("*.part")) == []
    (cache,) = (folder / WORK / "cache").iterdir()
    assert verify_cache(cache) == []


@pytest.mark.slow
def test_the_uninterrupted_extraction_is_what_it_should_be(extracted):
    files = content_of_cache(extracted)
    assert sorted(files) == [
        "captions-00000.h5",
        MANIFEST,
        *(f"videos-{number:05d}.h5" for number in range(4)),
    ]
    assert b'"complete": true' in files[MANIFEST]


@pytest.mark.slow
def test_an_extraction_killed_at_three_moments_ends_as_if_it_had_not_been(tmp_path, extracted):
    kill_at("while drawing", "all processes", tmp_path)
    assert count(tmp_path, "cache/*/*.h5") == 0
    orphans = kill_at("while encoding", "the parent alone", tmp_path)
    assert count(tmp_path, "cache/*/captions-*.h5") == 0
    kill_at("near the end", "all processes", tmp_path)
    refused = run_vidret("train-heads", cwd=tmp_path)
    assert refused.returncode == 4
    assert "has not finished: give the same `vidret extract` again" in refused.stderr
    succeed(*EXTRACT, cwd=tmp_path)
    wait_for_orphans(orphans)
    assert_equal_to_uninterrupted(tmp_path, extracted)
    assert "is whole" in succeed("cache", "verify", cwd=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_an_extraction_killed_once_ends_as_if_it_had_not_been(tmp_path, extracted, moment, victim):
    orphans = kill_at(moment, victim, tmp_path)
    succeed(*EXTRACT, cwd=tmp_path)
    wait_for_orphans(orphans)
    assert_equal_to_uninterrupted(tmp_path, extracted)


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_names_the_command_that_continues(drawn, extracted):
    with started(*EXTRACT, "--workers", "2", cwd=drawn) as process:
        wait_until(lambda: MOMENTS["while encoding"](drawn), process)
        code, printed, talk = interrupt(process)
    assert (code, printed) == (130, "")
    assert "Traceback" not in talk
    assert "Error" not in talk
    again = continuing_command(talk)
    assert again == [*EXTRACT, "--workers", "2"]
    assert 1 <= count(drawn, "cache/*/videos-*.h5") <= 4
    assert " 54 skipped" not in talk
    report = succeed(*again, cwd=drawn)
    assert "(54 tried in this run)" not in report
    assert_equal_to_uninterrupted(drawn, extracted)


@pytest.mark.slow
def test_lost_captions_of_a_drawn_set_are_written_again(drawn, extracted):
    """A kill right after the last clip was drawn leaves none."""
    (captions,) = (drawn / WORK / "synth").glob("*/captions.jsonl")
    expected = captions.read_bytes()
    captions.unlink()
    succeed(*EXTRACT, cwd=drawn)
    assert captions.read_bytes() == expected
    assert_equal_to_uninterrupted(drawn, extracted)
