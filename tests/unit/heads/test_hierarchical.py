"""What denoising, the margin and the levels of HCMI's loss do; its formulas are in
test_hcmi_equations.py."""

import math
from dataclasses import replace

import pytest
import torch
from making.heads import draw_texts, draw_videos
from making.scenes import draw_doubles
from torch.testing import assert_close

from vidret.heads.catalog import build_retriever
from vidret.heads.hierarchical import (
    hierarchical_loss,
    level_similarities,
    look_alikes,
    margin_shortfall,
    objective_of,
)
from vidret.heads.loss import info_nce
from vidret.heads.options import HeadOptions

PLAIN = HeadOptions(hcmi_contrast="sum", hcmi_denoise=False, hcmi_margin_weight=0.0)
OFF = {"hcmi_denoise": False, "hcmi_margin_weight": 0.0}
VIDEOS = draw_videos([5] * 6, 8, 2)
SCALE = torch.tensor(3.0)


def found_among_doubles(*, most=3, number=128, **how):
    """Precision and recall of what denoising finds."""
    drawn = draw_doubles(number, **how)
    found = look_alikes(drawn.videos, torch.arange(number), most)
    right = (found & drawn.same).sum().item()
    return right / max(1, found.sum().item()), right / drawn.same.sum().item()


@pytest.mark.parametrize("alike", [0.7, 0.9])
@pytest.mark.parametrize(("drift", "recall"), [(0.0, 1.0), (0.05, 0.98), (0.1, 0.95)])
def test_denoising_finds_planted_doubles_and_nothing_else(alike, drift, recall):
    """A quarter of all pairs only resembles; frames have a cosine of 0.86 with their scene."""
    precision, found = found_among_doubles(alike=alike, noise=0.6, drift=drift, seed=1)
    assert precision == 1.0
    assert found >= recall


def test_denoising_leaves_what_differs_more_than_a_video_does_within():
    assert found_among_doubles(alike=0.7, noise=0.3, drift=0.3, seed=1) == (0.0, 0.0)


def test_videos_that_are_little_like_themselves_find_next_to_nothing():
    drawn = draw_doubles(128, alike=0.9, noise=6.0, drift=0.0, seed=1)
    found = look_alikes(drawn.videos, torch.arange(128), 3)
    unbounded = look_alikes(drawn.videos, torch.arange(128), 128)
    assert unbounded.sum(1).float().mean() > 20
    assert found.sum(1).float().mean() < 0.5


def test_a_video_that_looks_like_more_than_it_may_finds_none():
    drawn = draw_videos([6] * 4, 8, 2, dtype=torch.float32)
    videos = replace(drawn, frames=drawn.frames[:1].repeat(4, 1, 1))
    assert look_alikes(videos, torch.arange(4), 3).sum(1).tolist() == [3] * 4
    assert not look_alikes(videos, torch.arange(4), 2).any()


def test_a_video_is_no_double_of_itself():
    videos = VIDEOS[torch.tensor([0, 0, 1])]
    assert not look_alikes(videos, torch.tensor([7, 7, 8]), 3)[:2, :2].any()


def test_a_video_of_one_frame_finds_no_doubles():
    videos = draw_videos([1, 1], 8, 2)
    same = replace(videos, frames=videos.frames[:1].expand(2, -1, -1))
    assert not look_alikes(same, torch.arange(2), 3).any()


def test_what_denoising_finds_learns_nothing_from_it():
    videos = replace(VIDEOS, frames=VIDEOS.frames.clone().requires_grad_())
    levels = {"one": torch.zeros(6, 6)}
    assert not hierarchical_loss(
        levels, SCALE, videos, torch.arange(6), HeadOptions()
    ).requires_grad


def test_a_denoised_double_is_pulled_where_it_was_pushed_away():
    videos = replace(VIDEOS, frames=VIDEOS.frames.clone())
    videos.frames[1] = videos.frames[0]
    pulls = {}
    for denoise in (True, False):
        level = torch.zeros(6, 6, requires_grad=True)
        options = HeadOptions(hcmi_denoise=denoise, hcmi_margin_weight=0.0)
        hierarchical_loss({"one": level}, SCALE, videos, torch.arange(6), options).backward()
        pulls[denoise] = level.grad
    assert pulls[True][0, 1] < 0 < pulls[False][0, 1]
    assert pulls[True][0, 2] > 0


@pytest.mark.parametrize(("gap", "cost"), [(0.3, 0.0), (0.1, 0.0), (0.04, 0.12), (-0.2, 0.6)])
def test_the_margin_costs_what_the_right_pair_lacks_in_both_directions(gap, cost):
    similarity = torch.full((3, 3), 0.5).fill_diagonal_(0.5 + gap)
    found = margin_shortfall(similarity, ~torch.eye(3, dtype=torch.bool), 0.1)
    assert found.item() == pytest.approx(cost, abs=1e-6)


def test_the_margin_moves_the_hardest_wrong_pairs_alone():
    draw = torch.Generator().manual_seed(1)
    similarity = torch.rand(5, 5, generator=draw).requires_grad_()
    wrong = ~torch.eye(5, dtype=torch.bool)
    margin_shortfall(similarity, wrong, 2.0).backward()
    hardest = torch.zeros(5, 5)
    for row, column in enumerate(similarity.detach().masked_fill(~wrong, -1).argmax(1)):
        hardest[row, column] += 1 / 5
    for column, row in enumerate(similarity.detach().masked_fill(~wrong, -1).argmax(0)):
        hardest[row, column] += 1 / 5
    assert_close(similarity.grad, hardest - torch.eye(5) * 2 / 5)


def test_learning_by_the_margin_brings_every_right_pair_ahead_by_it():
    draw = torch.Generator().manual_seed(2)
    similarity = (torch.rand(8, 8, generator=draw) * 2 - 1).requires_grad_()
    wrong = ~torch.eye(8, dtype=torch.bool)
    step = torch.optim.SGD([similarity], lr=0.05)
    for _ in range(600):
        step.zero_grad()
        margin_shortfall(similarity, wrong, 0.3).backward()
        step.step()
    rivals = similarity.detach().masked_fill(~wrong, -2)
    lead = similarity.detach().diagonal() - torch.maximum(rivals.amax(0), rivals.amax(1))
    assert lead.min() >= 0.3 - 0.02


def test_without_wrong_pairs_the_margin_costs_and_moves_nothing():
    similarity = torch.rand(3, 3).requires_grad_()
    short = margin_shortfall(similarity, torch.zeros(3, 3, dtype=torch.bool), 0.1)
    short.backward()
    assert short.item() == 0
    assert not similarity.grad.any()


def test_a_denoised_double_is_no_hard_negative():
    videos = replace(VIDEOS, frames=VIDEOS.frames.clone())
    videos.frames[1] = videos.frames[0]
    level = torch.zeros(6, 6).fill_diagonal_(0.5)
    level[0, 1] = level[1, 0] = 0.5
    options = HeadOptions(hcmi_margin=0.3)
    costs = [
        hierarchical_loss(
            {"one": level},
            SCALE,
            videos,
            torch.arange(6),
            replace(options, hcmi_denoise=denoise, hcmi_margin_weight=weight),
        )
        for denoise in (True, False)
        for weight in (1.0, 0.0)
    ]
    assert costs[0] == costs[1]
    assert costs[2] - costs[3] == pytest.approx(4 * 0.3 / 6)


@pytest.mark.parametrize("same_video", ["mask", "positive", "negative"])
@pytest.mark.parametrize("directions", ["mean", "sum"])
def test_with_every_switch_off_the_loss_is_that_of_other_heads(same_video, directions):
    levels = drawn_levels(3)
    numbers = torch.tensor([0, 1, 2, 1, 4, 0])
    how = {"same_video": same_video, "directions": directions}
    found = hierarchical_loss(levels, SCALE, VIDEOS, numbers, PLAIN, **how)
    score = sum(levels.values()) / 3
    assert_close(found, info_nce(SCALE * score, numbers, **how))


def test_contrast_on_levels_is_the_sum_of_theirs():
    levels, numbers = drawn_levels(3), torch.arange(6)
    found = hierarchical_loss(levels, SCALE, VIDEOS, numbers, HeadOptions(**OFF))
    assert_close(found, sum(info_nce(SCALE * one, numbers) for one in levels.values()))


def test_a_batch_that_says_nothing_costs_the_logarithm_of_its_size_a_level():
    levels = {name: torch.zeros(6, 6) for name in ("one", "two")}
    loss = hierarchical_loss(levels, SCALE, VIDEOS, torch.arange(6), HeadOptions(**OFF))
    assert loss.item() == pytest.approx(2 * math.log(6))


def test_only_hcmi_without_sound_learns_by_levels():
    def objective(name):
        return objective_of(build_retriever(name, dim=8, audio_dim=2, logit_scale=10.0))

    assert objective("hcmi").hcmi_denoise
    assert [objective(name) for name in ("mgfi", "mean", "wti", "hcmi+cmfi")] == [None] * 4


def test_the_levels_by_themselves_have_the_similarity_as_their_mean():
    retriever = build_retriever("hcmi", dim=8, audio_dim=2, logit_scale=10.0).double().eval()
    texts = draw_texts([3, 2], 8)
    levels = level_similarities(retriever, texts, VIDEOS)
    assert list(levels) == ["frame-word", "clip-phrase", "video-sentence"]
    assert_close(sum(levels.values()) / 3, retriever(texts, VIDEOS))


def drawn_levels(number):
    draw = torch.Generator().manual_seed(4)
    return {f"level {one}": torch.rand(6, 6, generator=draw) * 2 - 1 for one in range(number)}
