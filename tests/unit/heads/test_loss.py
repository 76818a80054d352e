import math

import numpy as np
import pytest
import torch
from oracles import paper
from torch.testing import assert_close

from vidret.heads.loss import info_nce


@pytest.mark.parametrize("videos", [[0, 1, 2, 3, 4], [7, 3, 7, 7, 3], [1, 1, 1, 1, 1]])
def test_the_loss_is_equations_12_to_14(videos):
    draw = np.random.default_rng(0)
    s_vt, s_at = draw.normal(size=(2, 5, 5))
    logits = torch.from_numpy(math.exp(0.7) * (s_vt + s_at))
    assert info_nce(logits, torch.tensor(videos)).item() == pytest.approx(
        paper.loss(s_vt, s_at, 0.7, videos), abs=1e-12
    )


def test_a_batch_that_says_nothing_costs_the_logarithm_of_its_size():
    loss = info_nce(torch.zeros(8, 8), torch.arange(8))
    assert loss.item() == pytest.approx(math.log(8))


def test_texts_of_one_video_do_not_push_one_another_away():
    logits = torch.zeros(3, 3, requires_grad=True)
    info_nce(logits, torch.tensor([4, 9, 4])).backward()
    assert logits.grad[0, 2] == logits.grad[2, 0] == 0
    assert logits.grad[0, 1] > 0


def test_turning_texts_and_videos_around_changes_nothing():
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    videos = torch.tensor([0, 1, 1, 2])
    assert_close(info_nce(logits, videos), info_nce(logits.T.contiguous(), videos))


def test_the_logits_stay_as_they_were():
    logits = torch.zeros(2, 2)
    info_nce(logits, torch.tensor([1, 1]))
    assert_close(logits, torch.zeros(2, 2))


def by_numpy(logits, videos, same_video):
    """Both directions as plain sums over pairs, in double precision: (text to video, the other)."""
    videos, losses = np.asarray(videos), []
    for scores in (logits, logits.T):
        total = 0.0
        for row, scored in enumerate(scores):
            together = np.flatnonzero(videos == videos[row])
            others = np.flatnonzero(videos != videos[row])
            if same_video == "mask":
                counted, right = [row, *others], [row]
            elif same_video == "positive":
                counted, right = [*together, *others], together
            else:
                counted, right = range(len(scored)), [row]
            normalizer = math.log(sum(math.exp(scored[place]) for place in counted))
            total += sum(normalizer - scored[place] for place in right) / len(right)
        losses.append(total / len(logits))
    return losses


@pytest.mark.parametrize("videos", [[0, 1, 2, 3, 4], [7, 3, 7, 7, 3], [1, 1, 1, 1, 1]])
@pytest.mark.parametrize("same_video", ["mask", "positive", "negative"])
def test_pairs_of_the_same_video_are_left_out_or_right_or_wrong(same_video, videos):
    logits = np.random.default_rng(1).normal(scale=3, size=(5, 5))
    one, other = by_numpy(logits, videos, same_video)
    found = info_nce(torch.from_numpy(logits), torch.tensor(videos), same_video=same_video)
    assert found.item() == pytest.approx((one + other) / 2, abs=1e-12)


@pytest.mark.parametrize("same_video", ["mask", "positive", "negative"])
def test_the_sum_of_both_directions_is_what_equation_14_prints(same_video):
    logits = np.random.default_rng(2).normal(size=(4, 4))
    videos = [5, 5, 0, 1]
    found = info_nce(
        torch.from_numpy(logits), torch.tensor(videos), same_video=same_video, directions="sum"
    )
    assert found.item() == pytest.approx(sum(by_numpy(logits, videos, same_video)), abs=1e-12)


def test_right_answers_that_share_a_video_are_pulled_alike():
    logits = torch.zeros(3, 3, requires_grad=True)
    info_nce(logits, torch.tensor([4, 9, 4]), same_video="positive").backward()
    assert logits.grad[0, 2] == logits.grad[0, 0] < 0
    assert logits.grad[0, 1] > 0
