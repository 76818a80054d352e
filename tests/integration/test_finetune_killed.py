"""A fine-tuning that is killed at its worst moments goes on to the bits of one that was not."""

import json
import shutil
import signal

import pytest
from making.processes import started, succeed, wait_until

OPTIONS = (
    *("--e2e", "--epochs", "2", "--audio-epochs", "1", "--lr-clip", "1e-4", "--lr", "1e-3"),
    *("--select-on", "train", "--augment", "flip"),
)
HOW = ("--chunk", "5", "--checkpointing", "--log-every", "1")
COMMAND = ("finetune", *OPTIONS, *HOW, "--name", "mine")
EVERY_STEP = ("--save-every", "1e-6")

pytestmark = pytest.mark.slow


def run_in(folder):
    return folder / "vidret-work" / "runs" / "mine"


def weights(folder):
    run = run_in(folder)
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*.safetensors")}


def steps(folder, epoch):
    """How many steps of an epoch the log has."""
    path = run_in(folder) / "log.jsonl"
    lines = path.read_text().splitlines()[:-1] if path.exists() else []
    told = [json.loads(line) for line in lines]
    return sum(one["kind"] == "step" and one["epoch"] == epoch for one in told)


MOMENTS = {
    "encoding what picks the epoch": lambda folder: (run_in(folder) / "log.jsonl").exists(),
    "a step of the first epoch": lambda folder: steps(folder, 1) > 0,
    "a step of the second epoch": lambda folder: steps(folder, 2) > 0,
    "saving": lambda folder: any(run_in(folder).glob("state.pt.*.part")),
    "writing the last weights": lambda folder: (run_in(folder) / "last-video-text").exists(),
}


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory):
    """What comes out where nothing goes wrong."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(trained / "vidret-work", folder / "vidret-work")
    succeed(*COMMAND, cwd=folder)
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_changes_no_bit_of_what_comes_out(moment, trained, whole, tmp_path):
    shutil.copytree(trained / "vidret-work", tmp_path / "vidret-work")
    with started(*COMMAND, *EVERY_STEP, cwd=tmp_path) as process:
        wait_until(lambda: MOMENTS[moment](tmp_path), process)
        process.send_signal(signal.SIGKILL)
    again = ("finetune", "--resume", "mine", *HOW) if "step" in moment else COMMAND
    succeed(*again, *EVERY_STEP, cwd=tmp_path)
    assert weights(tmp_path).keys() == weights(whole).keys()
    assert weights(tmp_path) == weights(whole)
    first, second = (
        json.loads((run_in(folder) / "run.json").read_text())["history"]
        for folder in (tmp_path, whole)
    )
    assert first == second
    assert not list(run_in(tmp_path).rglob("*.part"))


def test_the_weights_of_a_stages_last_epoch_are_a_run_too(whole, tmp_path):
    shutil.copytree(whole / "vidret-work", tmp_path / "vidret-work")
    command = ("finetune", "--init", "mine/last-audio", "--epochs", "1", "--name", "on")
    succeed("extract", "--clips", "54", "--backbone", "run:mine/last-audio", cwd=tmp_path)
    history = json.loads((run_in(tmp_path) / "run.json").read_text())["history"]
    scored = succeed(
        "evaluate", "--run", "mine/last-audio", "--split", "train", "--json", cwd=tmp_path
    )
    found = json.loads(scored)["scores"]["t2v"]["R@1"]
    assert found == pytest.approx(history["audio"][-1]["R@1"], abs=1e-6)
    succeed(*command, "--audio-epochs", "0", cwd=tmp_path)
