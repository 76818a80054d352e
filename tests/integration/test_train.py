"""Training as a process: stopped or killed anywhere, the same command ends in the same bits."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from making.planted import write_planted_cache
from making.processes import (
    PATIENCE,
    continuing_command,
    interrupt,
    run_vidret,
    started,
    succeed,
    wait_until,
)

from vidret.data.storage.locks import LOCK
from vidret.pipelines.training.checkpoints import STATE, load_state
from vidret.pipelines.training.costs import MEMORY
from vidret.pipelines.training.journal import LOG, read_log
from vidret.pipelines.training.runs import RUN, WEIGHTS, read_run

TRAIN = ("train-heads", "--cache", "planted", "--epochs", "25", "--audio-epochs", "25")
TRAIN = (*TRAIN, "--batch-size", "16", "--name", "mine")
ABLATE = ("ablate", "--cache", "planted", "--heads", "mean,mgfi,mgfi+cmfi", "--seeds", "0,1")
ABLATE = (*ABLATE, "--epochs", "12", "--audio-epochs", "12", "--json")

pytestmark = pytest.mark.xdist_group("train")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a run that nothing stopped: only to look at."""
    folder = tmp_path_factory.mktemp("whole")
    write_planted_cache(folder / "planted")
    succeed(*TRAIN, cwd=folder)
    return folder


@pytest.fixture
def here(tmp_path):
    write_planted_cache(tmp_path / "planted")
    return tmp_path


def run_of(folder: Path) -> Path:
    return folder / "vidret-work" / "runs" / "mine"


def epochs_done(folder: Path, stage: str) -> int:
    """How many epochs of a stage are safe on disk."""
    state = load_state(run_of(folder)) if (run_of(folder) / STATE).exists() else None
    return state["epoch"] if state and state["stage"] == stage else 0


def assert_equal_to_uninterrupted(folder: Path, whole: Path) -> None:
    found, expected = run_of(folder), run_of(whole)
    assert (found / WEIGHTS).read_bytes() == (expected / WEIGHTS).read_bytes()
    numbers, wanted = (json.loads((one / RUN).read_text()) for one in (found, expected))
    assert numbers["history"] == wanted["history"]
    assert sorted(path.name for path in found.iterdir()) == [
        LOCK,
        WEIGHTS,
        LOG,
        MEMORY,
        RUN,
    ]
    places, wanted_places = (
        [(line["kind"], line["stage"], line["epoch"], line["step"]) for line in read_log(one)]
        for one in (found, expected)
    )
    assert places == wanted_places


@pytest.mark.parametrize("stage", [pytest.param("video-text", marks=pytest.mark.slow), "audio"])
def test_ctrl_c_keeps_the_epochs_and_names_the_command_that_continues(here, whole, stage):
    with started(*TRAIN, cwd=here) as process:
        wait_until(lambda: epochs_done(here, stage) >= 2, process)
        code, printed, talk = interrupt(process)
    assert (code, printed) == (130, "")
    assert "Traceback" not in talk
    done = epochs_done(here, stage)
    assert 2 <= done < 25
    again = continuing_command(talk)
    assert again == list(TRAIN)
    result = run_vidret(*again, cwd=here)
    assert result.returncode == 0
    assert_equal_to_uninterrupted(here, whole)


def test_a_killed_training_goes_on_by_its_name(here, whole):
    with started(*TRAIN, cwd=here) as process:
        wait_until(lambda: epochs_done(here, "video-text") >= 3, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
    refused = run_vidret("evaluate", "--run", "mine", cwd=here)
    assert refused.returncode == 4
    assert "go on with `vidret train-heads --resume mine`" in refused.stderr
    succeed("train-heads", "--resume", "mine", cwd=here)
    assert_equal_to_uninterrupted(here, whole)


@pytest.mark.slow
def test_the_same_command_in_another_process_gives_the_same_bits(here, whole):
    succeed(*TRAIN, cwd=here)
    assert_equal_to_uninterrupted(here, whole)


@pytest.mark.slow
def test_a_stopped_table_goes_on_with_the_rows_that_are_missing(here, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    write_planted_cache(other / "planted")
    expected = json.loads(succeed(*ABLATE, cwd=other))
    runs = here / "vidret-work" / "runs"
    with started(*ABLATE, cwd=here) as process:
        wait_until(lambda: len(list(runs.glob(f"*/{WEIGHTS}"))) >= 3, process)
        code, _, talk = interrupt(process)
    assert code == 130
    finished = {
        path: path.stat().st_mtime_ns
        for path in runs.glob(f"*/{WEIGHTS}")
        if read_run(path.parent).complete
    }
    table = json.loads(succeed(*continuing_command(talk), cwd=here))
    assert table == expected
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


def test_a_work_folder_that_moved_still_works(tmp_path, trained):
    shutil.copytree(trained / "vidret-work", tmp_path / "elsewhere")
    (file,) = (tmp_path / "elsewhere" / "runs").glob(f"*/{RUN}")
    run = json.loads(file.read_text())
    run["cache"] = f"/gone/{Path(run['cache']).name}"
    file.write_text(json.dumps(run))
    report = json.loads(succeed("evaluate", "--work", "elsewhere", "--json", cwd=tmp_path))
    assert report["run"] == run["name"]


def test_other_settings_beside_resume_are_refused(tmp_path, trained):
    shutil.copytree(trained / "vidret-work", tmp_path / "vidret-work")
    result = run_vidret(
        "train-heads", "--resume", "picture-and-sound", "--epochs", "9", cwd=tmp_path
    )
    assert result.returncode == 2
    assert "epochs is 9, and run picture-and-sound has 4" in result.stderr
