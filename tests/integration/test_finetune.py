"""Fine-tuning as users meet it: from a run that is there to a backbone of one's own."""

import json
import re
import shutil
import signal

import pytest
from making.processes import (
    continuing_command,
    interrupt,
    run_vidret,
    started,
    succeed,
    wait_until,
)

HEADS = "picture-and-sound"
OPTIONS = ("--e2e", "--epochs", "1", "--audio-epochs", "1", "--lr-clip", "1e-4", "--lr", "1e-3")
ON_TRAIN = ("--select-on", "train")  # where learning shows for sure

pytestmark = pytest.mark.slow


@pytest.fixture
def fitted(tmp_path, trained):
    """A folder of one's own with a complete cache and a run on it."""
    shutil.copytree(trained / "vidret-work", tmp_path / "vidret-work")
    return tmp_path


def test_from_a_run_to_a_backbone_and_its_numbers(fitted):
    told = succeed("finetune", *OPTIONS, *ON_TRAIN, "--init", HEADS, "--name", "mine", cwd=fitted)
    after = re.search(r"R@1 on train: .* before, (\S+) after", told)[1]
    refused = run_vidret("evaluate", "--run", "mine", cwd=fitted)
    assert (refused.returncode, "extract --backbone run:mine" in refused.stderr) == (4, True)
    command = re.search(r"vidret (extract --backbone run:mine .*)", told)[1]
    succeed(*command.split(), cwd=fitted)
    scored = succeed("evaluate", "--run", "mine", "--split", "train", "--json", cwd=fitted)
    assert f"{json.loads(scored)['scores']['t2v']['R@1']:.1f}" == after
    found = succeed("search", "a bell rings", "--run", "mine", "--format", "paths", cwd=fitted)
    assert len(found.splitlines()) == 10


def test_a_fine_tuning_that_was_killed_goes_on_to_the_same_bits(fitted, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(fitted / "vidret-work", other / "vidret-work")
    command = ("finetune", *OPTIONS, *ON_TRAIN, "--name", "mine")
    succeed(*command, cwd=fitted)
    run = other / "vidret-work" / "runs" / "mine"
    with started(*command, cwd=other) as process:
        wait_until((run / "state.pt").exists, process)
        process.send_signal(signal.SIGKILL)
    succeed(*command, cwd=other)
    whole = fitted / "vidret-work" / "runs" / "mine"
    weights = [path.name for path in whole.glob("*.safetensors")]
    assert {"heads.safetensors", "clip.safetensors"} <= set(weights)
    assert all((run / name).read_bytes() == (whole / name).read_bytes() for name in weights)


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(fitted):
    run = fitted / "vidret-work" / "runs" / "mine"
    with started("finetune", *OPTIONS, "--name", "mine", cwd=fitted) as process:
        wait_until((run / "state.pt").exists, process)
        code, _, talk = interrupt(process)
    assert code == 130
    assert "run -> vidret-work/runs/mine" in succeed(*continuing_command(talk), cwd=fitted)


def test_a_missing_video_is_named(encoded):
    """Once the dataset lies in this folder, and not where it was when it was cached."""
    manifest = next((encoded / "vidret-work").glob("cache/*/manifest.json"))
    values = json.loads(manifest.read_text())
    here = next((encoded / "vidret-work").glob("synth/*"))
    values["settings"]["root"] = str(here)
    manifest.write_text(json.dumps(values))
    succeed("train-heads", "--epochs", "1", "--audio-epochs", "0", cwd=encoded)
    clip = here / "videos" / "clip_00000.mp4"
    clip.unlink()
    result = run_vidret("finetune", *OPTIONS, cwd=encoded)
    assert result.returncode == 4
    assert f"{clip} is not there" in result.stderr
    assert f"the dataset's folder {here}" in result.stderr


def test_without_a_run_the_way_is_told(tmp_path):
    result = run_vidret("finetune", "--e2e", cwd=tmp_path)
    assert (result.returncode, "vidret train-heads" in result.stderr) == (4, True)
