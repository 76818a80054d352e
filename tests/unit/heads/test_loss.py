import math

import numpy as np
import pytest
import torch
from oracles import paper
from torch.testing import assert_close

from vidret.heads.loss import info_nce
from vidret.heads.teaching import Teacher


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


def with_prior(logits, videos, same_video, scale):
    """CAMoE's prior as loops: for each row the logits that its own cross entropy is taken of."""
    changed = []
    for scores in (logits, logits.T):
        out = scores.copy()
        for item in range(len(scores)):
            asking = [
                query
                for query in range(len(scores))
                if same_video != "mask" or query == item or videos[query] != videos[item]
            ]
            total = sum(math.exp(scale * scores[query, item]) for query in asking)
            for query in asking:
                share = math.exp(scale * scores[query, item]) / total
                out[query, item] = scores[query, item] * share * len(asking)
        changed.append(out)
    return changed


@pytest.mark.parametrize("videos", [[0, 1, 2, 3, 4], [7, 3, 7, 7, 3]])
@pytest.mark.parametrize("same_video", ["mask", "positive", "negative"])
def test_the_dual_softmax_is_camoes(same_video, videos):
    logits = np.random.default_rng(3).normal(scale=2, size=(5, 5))
    of_texts, of_videos = with_prior(logits, videos, same_video, 0.4)
    expected = (
        by_numpy(of_texts, videos, same_video)[0] + by_numpy(of_videos, videos, same_video)[0]
    )
    found = info_nce(
        torch.from_numpy(logits), torch.tensor(videos), same_video=same_video, dual_softmax=0.4
    )
    assert found.item() == pytest.approx(expected / 2, abs=1e-12)


def test_a_prior_of_no_scale_is_none():
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    videos = torch.tensor([0, 1, 1, 2])
    assert_close(info_nce(logits, videos, dual_softmax=1e-12), info_nce(logits, videos))


def test_the_gradient_of_the_dual_softmax_is_that_of_central_differences():
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    videos = torch.tensor([0, 1, 1, 2])
    torch.autograd.gradcheck(
        lambda one: info_nce(one, videos, dual_softmax=0.5), logits.requires_grad_(), atol=1e-6
    )


def taught_by_numpy(logits, videos, same_video, likeness, share, scale):
    """Both directions with a target of which a teacher decides a share, as loops."""
    total = 0.0
    for scores, alike in ((logits, likeness[0]), (logits.T, likeness[1])):
        for row, scored in enumerate(scores):
            counted = [
                item
                for item in range(len(scored))
                if same_video != "mask" or item == row or videos[item] != videos[row]
            ]
            right = [
                item
                for item in counted
                if item == row or (same_video == "positive" and videos[item] == videos[row])
            ]
            soft = {item: math.exp(scale * alike[row, item]) for item in counted}
            for item in counted:
                target = (1 - share) * (item in right) / len(right)
                target += share * soft[item] / sum(soft.values())
                said = scored[item] - math.log(sum(math.exp(scored[other]) for other in counted))
                total -= target * said / len(scores)
    return total / 2


@pytest.mark.parametrize("videos", [[0, 1, 2, 3, 4], [7, 3, 7, 7, 3]])
@pytest.mark.parametrize("same_video", ["mask", "positive", "negative"])
def test_a_teacher_decides_its_share_of_the_target(same_video, videos):
    draw = np.random.default_rng(4)
    logits, of_texts, of_videos = draw.normal(size=(3, 5, 5))
    teacher = Teacher(
        of_texts=torch.from_numpy(of_texts),
        of_videos=torch.from_numpy(of_videos),
        share=0.3,
        scale=2.0,
    )
    found = info_nce(
        torch.from_numpy(logits), torch.tensor(videos), same_video=same_video, teacher=teacher
    )
    expected = taught_by_numpy(logits, videos, same_video, (of_texts, of_videos), 0.3, 2.0)
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_a_teacher_without_a_share_changes_nothing():
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    videos, alike = torch.tensor([0, 1, 1, 2]), torch.zeros(4, 4, dtype=torch.float64)
    teacher = Teacher(of_texts=alike, of_videos=alike, share=0.0, scale=1.0)
    assert_close(info_nce(logits, videos, teacher=teacher), info_nce(logits, videos))
