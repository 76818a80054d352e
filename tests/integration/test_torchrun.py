"""A fine-tuning in several processes, as torchrun starts them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
from making.processes import PATIENCE, PROGRAM, clean_environment, kill_group, succeed, wait_until
from making.together import free_port
from safetensors.torch import load_file

TORCHRUN = Path(sys.executable).with_name("torchrun")
OPTIONS = (
    # Adam takes steps of full length along gradients that are nothing but rounding, as that of the
    # keys' bias is: lower rates keep what comes of it small.
    *("--e2e", "--epochs", "1", "--audio-epochs", "1", "--lr-clip", "1e-5", "--lr", "1e-4"),
    *("--select-on", "train", "--batch-size", "31", "--log-every", "1", "--device", "cpu"),
)
COMMAND = ("finetune", *OPTIONS, "--name", "mine")

pytestmark = pytest.mark.slow


@pytest.fixture
def fitted(tmp_path, trained):
    """A folder of one's own with a complete cache and a run on it."""
    shutil.copytree(trained / "vidret-work", tmp_path / "vidret-work")
    return tmp_path


def run_in(folder):
    return folder / "vidret-work" / "runs" / "mine"


@contextmanager
def together(*arguments, size=2, module=False, cwd):
    """The command in so many processes, as a shell would start it."""
    program = ["-m", "vidret.pipelines.program"] if module else ["--no-python", str(PROGRAM)]
    port = ["--master-port", str(free_port())]
    with subprocess.Popen(
        [TORCHRUN, *port, "--nproc-per-node", str(size), *program, *arguments],
        cwd=cwd,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            kill_group(process)


def run_together(*arguments, **how):
    with together(*arguments, **how) as process:
        printed, talk = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, talk
    return printed


def weights(folder):
    run = run_in(folder)
    return {str(path.relative_to(run)): load_file(path) for path in run.rglob("*.safetensors")}


def said(talk):
    """What vidret said to its user; torchrun says more."""
    return [line for line in talk.splitlines() if line.startswith(("vidret: ", "Stopped. "))]


def test_two_processes_come_to_the_weights_of_one(fitted, tmp_path_factory):
    alone = tmp_path_factory.mktemp("alone")
    shutil.copytree(fitted / "vidret-work", alone / "vidret-work")
    succeed(*COMMAND, cwd=alone)
    printed = run_together(*COMMAND, "--chunk", "4", module=True, cwd=fitted)
    assert printed.count("R@1 on train") == 1
    expected, found = weights(alone), weights(fitted)
    lasts = {f"last-{one}.safetensors" for one in ("video-text/clip", "audio/sound", "audio/heads")}
    assert lasts <= set(expected)
    assert found.keys() == expected.keys()
    for name, tensors in expected.items():
        for part, tensor in tensors.items():
            torch.testing.assert_close(found[name][part], tensor, rtol=0, atol=1e-5)
    lines = (run_in(fitted) / "log.jsonl").read_text().splitlines()
    same = (run_in(alone) / "log.jsonl").read_text().splitlines()
    places = [[json.loads(one)[name] for name in ("kind", "epoch", "step")] for one in lines]
    assert places == [[json.loads(one)[name] for name in ("kind", "epoch", "step")] for one in same]
    losses = [[json.loads(one)["loss"] for one in own] for own in (lines, same)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_a_process_that_is_killed_ends_all_and_the_command_goes_on(fitted, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole")
    shutil.copytree(fitted / "vidret-work", whole / "vidret-work")
    run_together(*COMMAND, cwd=whole)
    with together(*COMMAND, cwd=fitted) as process:
        wait_until((run_in(fitted) / "state.pt").exists, process)
        ranks = {
            int(child.environ()["RANK"]): child
            for child in psutil.Process(process.pid).children(recursive=True)
            if "RANK" in child.environ()
        }
        os.kill(ranks[1].pid, signal.SIGKILL)
        _, talk = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    (told,) = said(talk)  # torchrun ends the others too, and may be the first to reach them
    assert "another of the 2 processes of this fit is gone" in told or "Continue with: " in told
    run_together(*COMMAND, cwd=fitted)
    first, second = weights(fitted), weights(whole)
    for name, tensors in first.items():
        assert all(torch.equal(tensor, second[name][part]) for part, tensor in tensors.items())


def test_an_error_is_said_once(fitted):
    shutil.rmtree(fitted / "vidret-work" / "runs")
    with together(*COMMAND, cwd=fitted) as process:
        _, talk = process.communicate(timeout=PATIENCE)
    (told,) = said(talk)
    assert "make one with `vidret train-heads`" in told


def test_ctrl_c_names_the_command_that_starts_as_many(fitted):
    with together(*COMMAND, size=3, cwd=fitted) as process:
        wait_until((run_in(fitted) / "log.jsonl").exists, process)
        os.killpg(process.pid, signal.SIGINT)
        _, talk = process.communicate(timeout=PATIENCE)
    (told,) = said(talk)
    expected = "torchrun --nproc-per-node 3 --no-python vidret finetune --e2e"
    assert f"Continue with: {expected}" in told
