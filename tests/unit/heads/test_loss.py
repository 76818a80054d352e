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
