from dataclasses import replace

import torch
from making.heads import draw_texts, draw_videos, shake
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from vidret.heads.cmfi import CMFI

TEXTS = draw_texts([3, 5, 1], 8)
VIDEOS = draw_videos([2, 2, 2, 2], 8, 5, heard=[True, False, True, False])
HEAD = shake(CMFI(5, 8).double())


def test_videos_without_sound_take_the_learned_vector():
    scores = HEAD(TEXTS, VIDEOS)
    expected = cosine_similarity(TEXTS.sentence, HEAD.null[None])
    assert_close(scores[:, 1], expected)
    assert_close(scores[:, 3], expected)


def test_a_gallery_without_sound_ranks_as_if_there_were_no_head():
    silent = replace(VIDEOS, audio_mask=torch.zeros(4, dtype=torch.bool))
    scores = HEAD(TEXTS, silent)
    assert_close(scores, scores[:, :1].expand(3, 4))


def test_what_stands_where_no_sound_is_may_be_anything():
    broken = VIDEOS.audio.where(VIDEOS.audio_mask[:, None], torch.nan)
    assert_close(HEAD(TEXTS, replace(VIDEOS, audio=broken)), HEAD(TEXTS, VIDEOS))


def test_sound_that_is_missing_in_all_videos_leaves_finite_gradients():
    head = shake(CMFI(5, 8).double())
    silent = replace(VIDEOS, audio_mask=torch.zeros(4, dtype=torch.bool))
    head(TEXTS, silent).sum().backward()
    assert head.null.grad.abs().sum() > 0
    assert not head.linear.weight.grad.any()


def test_the_learned_vector_starts_with_a_direction():
    null = CMFI(5, 512).null
    assert 0.8 < null.norm().item() < 1.2
