import shutil

import pytest
import torch
from making.tuned import files, finetune, make_work
from safetensors.torch import load_file

from vidret.extract.clip import load_clip
from vidret.pipelines.training.checkpoints import STATE
from vidret.pipelines.training.fitting import best_epoch
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT
from vidret.pipelines.training.runs import (
    CLIP_WEIGHTS,
    LAST,
    SOUND_WEIGHTS,
    WEIGHTS,
    encoders_of_run,
    load_weights,
    newest_run,
    read_run,
)

WORSE = {"lr": 0.1, "lr_clip": 1e-3, "lr_audio": 1e-2, "lr_lora": 0.1, "select_on": "val"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run to start from: only to look at."""
    return make_work(tmp_path_factory.mktemp("tuned"))


@pytest.fixture
def work(tmp_path, made):
    """A work folder of one's own with it."""
    return shutil.copytree(made, tmp_path / "work")


@pytest.mark.parametrize("changes", [{}, {"save": "delta"}, {"lora": 2}], ids=str)
def test_the_weights_of_the_last_epoch_are_kept_where_the_start_was_best(work, changes):
    states = []

    def look(progress):
        if progress.note:
            return
        path = work / "runs" / "mine" / STATE
        states.append(torch.load(path, weights_only=True)["weights"])

    report = finetune(work, name="mine", epochs=2, on_progress=look, **WORSE, **changes)
    assert report.kept == {VIDEO_TEXT: 0, AUDIO: 0}
    assert files(report.folder) == files(work / "runs" / "heads")
    seen, heard = (report.folder / f"{LAST}{stage}" for stage in (VIDEO_TEXT, AUDIO))
    assert set(files(seen)) == {WEIGHTS, CLIP_WEIGHTS}
    assert set(files(heard)) == {WEIGHTS, SOUND_WEIGHTS}
    for folder, state in ((seen, states[1]), (heard, states[2])):
        for name, tensor in load_file(folder / WEIGHTS).items():
            assert torch.equal(tensor, state[f"heads.{name}"])
    backbone, _ = encoders_of_run(work, f"mine/{seen.name}")
    last, start = (load_clip(spec).model.state_dict() for spec in (backbone, "tiny"))
    block = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    assert not torch.equal(last[block], start[block])
    if not changes:
        assert torch.equal(last[block], states[1][f"encoder.{block.replace('.', '/')}"])


def test_it_is_a_run_that_nothing_takes_unasked(work):
    report = finetune(work, name="mine", e2e=False, unfreeze=("all",))
    folder = report.folder / f"{LAST}{AUDIO}"
    last = read_run(folder)
    assert (last.name, last.complete) == ("mine/last-audio", True)
    assert best_epoch(last.history[AUDIO]) == report.run.history[AUDIO][-1]
    load_weights(folder, last)
    assert newest_run(work) == report.folder
    again = finetune(work, name="on", init=last.name, e2e=False, unfreeze=("all",))
    assert again.run.origin.run == last.name


def test_a_stage_without_epochs_has_no_last_one(work):
    report = finetune(work, name="mine", e2e=False, unfreeze=("all",), epochs=0, audio_epochs=0)
    assert not list(report.folder.glob(f"{LAST}*"))
