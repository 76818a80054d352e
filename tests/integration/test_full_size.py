"""One real step at full size: ViT-B/32 and Cnn14 with random weights, in the files they come in."""

import resource

import open_clip
import pytest
import torch
from making.filmed import copy_clips, write_filmed_cache
from making.tuned import QUIET, batch_of, stage_of, start, train_heads
from safetensors.torch import save_file

from vidret.extract.panns import cnn14
from vidret.extract.weights.fitting import build_clip
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT
from vidret.pipelines.training.optimizing import AdamW
from vidret.pipelines.training.tuning import make_learner

BACKBONE = "ViT-B-32-quickgelu"
VIDEOS, FRAMES = 8, 12
MOST_MEMORY = 20 * 2**30
RATES = {"lr": 1e-4, "lr_clip": 1e-6, "lr_audio": 5e-5}
NO_OUTPUT = ("logit_scale", "fc_audioset.", "spectrogram_extractor.", "logmel_extractor.")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Files of weights as publishers write them, a cache made with them, and a run on it."""
    folder = tmp_path_factory.mktemp("full")
    torch.manual_seed(0)
    clip, sound = folder / "open_clip_model.safetensors", folder / "Cnn14.pth"
    state = build_clip(open_clip.get_model_config(BACKBONE)).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, clip)
    torch.save({"iteration": 600_000, "model": cnn14().state_dict()}, sound)
    cache = write_filmed_cache(
        folder / "work",
        copy_clips(folder / "clips"),
        backbone=f"{BACKBONE}@{clip}",
        audio=f"Cnn14@{sound}",
        frames=FRAMES,
        pixels=True,
    )
    train_heads(folder / "work", cache=cache, epochs=1, audio_epochs=1)
    return folder / "work"


def one_caption_each(tuning):
    """The first caption of eight videos."""
    owners = tuning.train.cached.owners.tolist()
    return torch.tensor([owners.index(video) for video in range(VIDEOS)])


@pytest.mark.parametrize(
    ("stage", "parts"), [(VIDEO_TEXT, {"visual": 1e-6, "text": 1e-6}), (AUDIO, {"audio": 5e-5})]
)
def test_a_step_reaches_every_unfrozen_tensor_and_no_frozen_one(work, stage, parts):
    run, tuning = start(work, **RATES, batch_size=VIDEOS)
    learner = make_learner(run, stage_of(run, stage), tuning)
    optimizer = AdamW(learner.groups, lr=1.0, decay_to="zero")
    split, _ = batch_of(learner)
    learner.loss((split, one_caption_each(tuning))).backward()
    encoders = {"clip": tuning.encoders.clip.model, "sound": tuning.encoders.sound.model}
    learns = encoders["sound" if stage == AUDIO else "clip"]
    expected = {
        id(weight) for name, weight in learns.named_parameters() if not name.startswith(NO_OUTPUT)
    }
    for network in encoders.values():
        for name, weight in network.named_parameters():
            assert (weight.grad is not None) == (id(weight) in expected), name
            assert weight.grad is None or weight.grad.norm() > 0, name
    before = {name: one.clone() for name, one in learns.state_dict().items()}
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups if "name" in group}
    assert rates == parts
    assert {group["lr"] for group in optimizer.param_groups if "name" not in group} == {1e-4}
    optimizer.step()
    changed = {
        name for name, one in learns.state_dict().items() if not torch.equal(one, before[name])
    }
    assert changed == {name for name, one in learns.named_parameters() if id(one) in expected}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < MOST_MEMORY


@pytest.mark.parametrize(
    ("choices", "count"),
    [
        ({"unfreeze": ("visual", "last:2")}, 2 * 12 + 3),
        ({"unfreeze": ("text", "norms")}, 12 * 4 + 2),
        ({"lora": 4, "unfreeze": ("visual", "text")}, 2 * 12 * 4 * 2),
    ],
)
def test_a_part_of_the_towers_is_as_many_tensors_as_its_architecture_says(work, choices, count):
    run, tuning = start(work, **RATES, **choices)
    learner = make_learner(run, stage_of(run, VIDEO_TEXT), tuning)
    assert sum(len(group["params"]) for group in learner.groups if "name" in group) == count


def test_blocks_of_the_sound_network_are_its_convolutions(work):
    run, tuning = start(work, unfreeze=("audio", "last:2"), **QUIET | RATES)
    learner = make_learner(run, stage_of(run, AUDIO), tuning)
    learning = {id(one) for group in learner.groups for one in group["params"]}
    named = tuning.encoders.sound.model.named_parameters()
    names = {name for name, one in named if id(one) in learning}
    assert {name.split(".")[0] for name in names} == {"conv_block5", "conv_block6", "fc1"}
