import math

import pytest
import torch
from making.heads import draw_texts, draw_videos, shake
from torch.testing import assert_close

from vidret.data.errors import ConfigError
from vidret.heads.catalog import build_retriever
from vidret.heads.cmfi import CMFI
from vidret.heads.mean import MeanPooling
from vidret.heads.options import HeadOptions
from vidret.heads.retriever import Retriever

TEXTS = draw_texts([3, 5, 1, 2, 9, 4, 4], 8, dtype=torch.float32)
VIDEOS = draw_videos(
    [4, 1, 6, 3, 2], 8, 5, heard=[True, False, True, True, False], dtype=torch.float32
)


def shaken(name: str = "mgfi+cmfi", **options) -> Retriever:
    retriever = build_retriever(
        name, dim=8, audio_dim=5, logit_scale=100.0, options=HeadOptions(**options)
    )
    return shake(retriever).eval()


def test_sound_is_added_to_sight():
    retriever = shaken()
    expected = retriever.video_head(TEXTS, VIDEOS) + retriever.audio_head(TEXTS, VIDEOS)
    assert_close(retriever(TEXTS, VIDEOS), expected)


def test_the_frame_weights_are_the_video_heads():
    retriever = shaken()
    assert_close(
        retriever.frame_weights(TEXTS, VIDEOS), retriever.video_head.frame_weights(TEXTS, VIDEOS)
    )


def test_the_logits_are_the_similarity_at_clips_scale():
    retriever = Retriever(MeanPooling(), CMFI(5, 8), logit_scale=14.3)
    assert_close(retriever.logits(TEXTS, VIDEOS), 14.3 * retriever(TEXTS, VIDEOS))


def test_a_temperature_that_grew_too_far_is_clamped():
    retriever = Retriever(MeanPooling(), None, logit_scale=50.0)
    with torch.no_grad():
        retriever.tau.add_(3)
    retriever.clamp_temperature()
    assert retriever.tau.exp().item() == pytest.approx(100, rel=1e-6)
    assert retriever.tau.requires_grad


def test_a_temperature_in_bounds_is_left_alone():
    retriever = Retriever(MeanPooling(), None, logit_scale=50.0)
    retriever.clamp_temperature()
    assert retriever.tau.exp().item() == pytest.approx(50)


def test_a_scale_above_the_bound_starts_at_the_bound():
    retriever = Retriever(MeanPooling(), None, logit_scale=117.3)
    assert retriever.tau.exp().item() == pytest.approx(100, rel=1e-6)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan])
def test_a_scale_without_logarithm_is_refused(scale):
    with pytest.raises(ConfigError, match="logit_scale"):
        Retriever(MeanPooling(), None, logit_scale=scale)


def test_the_gradient_reaches_every_weight():
    retriever = shaken().train()
    retriever.logits(TEXTS, VIDEOS).square().sum().backward()
    assert all(weight.grad.any() for weight in retriever.parameters())


def test_in_the_second_stage_the_sound_alone_learns():
    retriever = shaken().train()
    retriever.freeze_video_head()
    retriever.logits(TEXTS, VIDEOS).square().sum().backward()
    learning = {name for name, weight in retriever.named_parameters() if weight.grad is not None}
    assert learning == {f"audio_head.{name}" for name, _ in retriever.audio_head.named_parameters()}


def test_in_the_second_stage_nothing_is_dropped():
    retriever = shaken(dropout=0.9)
    expected = retriever(TEXTS, VIDEOS)
    retriever.freeze_video_head()
    retriever.train()
    assert retriever.audio_head.training
    assert_close(retriever(TEXTS, VIDEOS), expected)


def test_a_head_without_sound_has_no_second_stage():
    with pytest.raises(ConfigError, match=r"\+cmfi"):
        shaken("mgfi").freeze_video_head()
