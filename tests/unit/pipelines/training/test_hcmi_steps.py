"""Steps of the head `hcmi`: alone, and with the encoders below it."""

import shutil

import pytest
import torch
from making.heads import draw_texts, draw_videos, shake
from making.tuned import batch_of, finetune, make_work, stage_of, start

from vidret.heads.catalog import build_retriever
from vidret.heads.hierarchical import hierarchical_loss, level_similarities
from vidret.heads.options import HeadOptions
from vidret.pipelines.training.learners import batch_loss
from vidret.pipelines.training.loop import AUDIO, VIDEO_TEXT, Stage, backward
from vidret.pipelines.training.optimizing import learning_weights
from vidret.pipelines.training.tuning import make_learner

TEXTS = draw_texts([3, 5, 2, 4], 8, dtype=torch.float32)
VIDEOS = draw_videos([4, 6, 3, 5], 8, 5, dtype=torch.float32)
OWNERS = torch.tensor([0, 1, 2, 1])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of `hcmi+cmfi` to start from: only to look at."""
    folder = tmp_path_factory.mktemp("tuned")
    return make_work(folder, train={"head": "hcmi+cmfi", "layers": 1})


def stage(name=VIDEO_TEXT, **changes):
    return Stage(name=name, epochs=1, batch_size=4, lr=1e-3, weight_decay=0.0, **changes)


def head(name="hcmi"):
    retriever = build_retriever(
        name, dim=8, audio_dim=5, logit_scale=20.0, options=HeadOptions(layers=1)
    )
    return shake(retriever, scale=0.2).eval()


@pytest.mark.parametrize("same_video", ["mask", "positive", "negative"])
@pytest.mark.parametrize("directions", ["mean", "sum"])
def test_a_batch_learns_by_the_levels_as_its_stage_says(same_video, directions):
    retriever, how = head(), {"same_video": same_video, "directions": directions}
    expected = hierarchical_loss(
        level_similarities(retriever, TEXTS, VIDEOS),
        retriever.tau.exp(),
        VIDEOS,
        OWNERS,
        HeadOptions(),
        **how,
    )
    assert torch.equal(batch_loss(retriever, stage(**how), TEXTS, VIDEOS, OWNERS), expected)


def test_a_batch_in_bfloat16_has_nearly_the_same_loss_in_float32():
    exact = batch_loss(head(), stage(), TEXTS, VIDEOS, OWNERS)
    rough = batch_loss(head(), stage(precision="bfloat16"), TEXTS, VIDEOS, OWNERS)
    assert rough.dtype == torch.float32
    assert 0 < abs(rough - exact) < 0.05 * exact


def test_the_temperature_learns_with_the_levels():
    retriever = head()
    batch_loss(retriever, stage(), TEXTS, VIDEOS, OWNERS).backward()
    assert retriever.tau.grad


def test_the_second_stage_learns_as_behind_any_head():
    retriever = head("hcmi+cmfi")
    retriever.freeze_video_head()
    batch_loss(retriever, stage(AUDIO), TEXTS, VIDEOS, OWNERS).backward()
    learned = {name for name, weight in retriever.named_parameters() if weight.grad is not None}
    assert learned == {f"audio_head.{name}" for name, _ in retriever.audio_head.named_parameters()}


@pytest.mark.parametrize("name", [VIDEO_TEXT, AUDIO])
def test_encoders_below_it_learn_the_same_in_parts(made, name):
    found = []
    for chunk in (0, 3):
        run, tuning = start(made, chunk=chunk)
        learner = make_learner(run, stage_of(run, name), tuning)
        torch.manual_seed(0)
        learner.retriever.train()
        loss = backward(learner, batch_of(learner))
        gradients = [one.grad.flatten() for one in learning_weights(learner.groups)]
        found.append((loss.detach(), torch.cat(gradients)))
    (loss, whole), (same_loss, parts) = found
    torch.testing.assert_close(same_loss, loss, rtol=1e-4, atol=1e-6)
    assert (parts - whole).norm() < 1e-4 * whole.norm()


def test_a_fine_tuning_ends_in_a_run_of_it(made, tmp_path):
    work = shutil.copytree(made, tmp_path / "work")
    report = finetune(work, name="tuned", epochs=1, audio_epochs=0, unfreeze=("visual",))
    assert report.run.complete
    assert report.run.head == "hcmi+cmfi"
