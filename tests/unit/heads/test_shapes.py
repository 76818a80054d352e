"""Shapes that are easy to get wrong, against the equations written apart: values and gradients."""

from dataclasses import replace

import numpy as np
import pytest
from making.heads import draw_texts, draw_videos, shake
from oracles.of_heads import inputs_of, named_weights, oracle_scores, oracle_weights

from vidret.heads.catalog import build_retriever
from vidret.heads.options import HeadOptions
from vidret.heads.scoring import score_in_blocks

AUDIO_DIM, STEP = 5, 1e-6
SHAPES = {  # words of each caption, frames of each video, whether each is heard, width, hidden
    "one word": ([1, 1], [3, 2], [True, True], 8, None),
    "one frame": ([3, 2], [1, 1], [True, False], 8, None),
    "one word and one frame": ([1], [1], [True], 8, None),
    "captions without words": ([0, 3, 0], [4, 2], [True, True], 8, None),
    "no caption with words": ([0, 0], [4, 2], [True, True], 8, None),
    "no sound at all": ([3, 2], [4, 2], [False, False], 8, None),
    "64 frames": ([5, 2], [64, 9, 64], [True, False, True], 8, None),
    "77 words": ([77, 3], [4, 2], [True, True], 8, None),
    "a narrow feed-forward": ([3, 2], [4, 2], [True, True], 16, 1),
    "a wide feed-forward": ([3, 2], [4, 2], [True, True], 16, 64),
    "width 100": ([3, 2], [4, 2], [True, False], 100, None),
    "width 512": ([3, 2], [4, 2], [True, False], 512, None),
    "width 1024": ([3, 2], [4, 2], [True, False], 1024, None),
}


@pytest.fixture(params=SHAPES)
def shaped(request):
    """A batch of that shape, and the head for it in float64 with no weight at its start."""
    words, frames, heard, dim, hidden = SHAPES[request.param]
    retriever = build_retriever(
        "mgfi+cmfi",
        dim=dim,
        audio_dim=AUDIO_DIM,
        logit_scale=10.0,
        options=HeadOptions(hidden=hidden, word_weight_scale="sqrt_c"),
    )
    shake(retriever.double().eval(), scale=0.4 * (8 / dim) ** 0.5)
    texts, videos = draw_texts(words, dim), draw_videos(frames, dim, AUDIO_DIM, heard=heard)
    return retriever, texts, videos


def test_values_are_the_papers(shaped):
    retriever, texts, videos = shaped
    expected = expected_scores(retriever, texts, videos)
    np.testing.assert_allclose(retriever(texts, videos).detach(), expected, rtol=0, atol=1e-11)
    blocks = score_in_blocks(retriever, texts, videos)
    np.testing.assert_allclose(blocks, expected, rtol=0, atol=1e-11)


def test_single_precision_stays_within_a_hundred_thousandth(shaped):
    retriever, texts, videos = shaped
    expected = expected_scores(retriever, texts, videos)
    single = score_in_blocks(retriever.float(), in_single(texts), in_single(videos))
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5)


def test_gradients_are_the_papers_in_any_direction(shaped):
    retriever, texts, videos = shaped
    retriever(texts, videos).sum().backward()
    weights, draw = oracle_weights(retriever), np.random.default_rng(3)
    along, slope = {}, 0.0
    for name, parameter, transposed in named_weights(retriever):
        direction = draw.normal(size=weights[name].shape) / weights[name].size ** 0.5
        along[name] = direction
        if parameter.grad is not None:
            gradient = parameter.grad.T if transposed else parameter.grad
            slope += float((gradient.numpy() * direction).sum())
    moved = [
        oracle_scores(
            "mgfi+cmfi",
            retriever,
            weights | {name: weights[name] + step * one for name, one in along.items()},
            inputs_of(texts, videos),
        ).sum()
        for step in (STEP, -STEP)
    ]
    assert (moved[0] - moved[1]) / (2 * STEP) == pytest.approx(slope, rel=1e-5, abs=1e-7)


def expected_scores(retriever, texts, videos):
    """The oracle's; a caption without words has its sentence as its only word."""
    given = inputs_of(texts, videos)
    return oracle_scores("mgfi+cmfi", retriever, oracle_weights(retriever), given)


def in_single(batch):
    """The batch in float32."""
    values = {name: getattr(batch, name) for name in batch.__slots__}
    return replace(
        batch, **{name: one.float() for name, one in values.items() if one.is_floating_point()}
    )
