"""Every head against the paper's equations, written apart in numpy: values and gradients."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from making.heads import draw_texts, draw_videos, shake
from oracles.of_heads import (
    VARIANTS,
    Inputs,
    inputs_of,
    named_weights,
    oracle_scores,
    oracle_weights,
    variant_scores,
)

from vidret.heads.catalog import build_retriever
from vidret.heads.options import HeadOptions
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import score_in_blocks

DIM, AUDIO_DIM, HIDDEN = 6, 7, 5
TEXTS = draw_texts([3, 5, 1], DIM)
VIDEOS = draw_videos([4, 1, 6, 3], DIM, AUDIO_DIM, heard=[True, False, True, True])
OPTIONS = {
    "literal": {},
    "sqrt_c": {"word_weight_scale": "sqrt_c"},
    "learnable": {"word_weight_scale": "learnable"},
    "own feed-forward": {"feed_forward": "own"},
    "own norms": {"norms": "own"},
    "biases": {"projection_bias": True},
    "gelu": {"activation": "gelu"},
    "relu": {"activation": "relu"},
    "words and end": {"word_set": "words+end"},
    "text-mean": {"missing_audio": "text-mean"},
    "all of them": {
        "word_weight_scale": "sqrt_c",
        "feed_forward": "own",
        "norms": "own",
        "projection_bias": True,
        "activation": "gelu",
        "word_set": "words+end",
        "missing_audio": "text-mean",
        "start": "random",
    },
}
NAMES = [name + sound for name in ("mean", *VARIANTS) for sound in ("", "+cmfi")]
STEP = 1e-5
ENTRIES = 3  # how many entries of each tensor are moved for its gradient


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_head_scores_as_the_paper_writes_it(name, options):
    retriever = shaken(name, **OPTIONS[options])
    expected = oracle_scores(name, retriever, oracle_weights(retriever), inputs())
    np.testing.assert_allclose(retriever(TEXTS, VIDEOS).detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_scoring_in_blocks_is_as_the_paper_writes_it(name, options):
    retriever = shaken(name, **OPTIONS[options])
    expected = oracle_scores(name, retriever, oracle_weights(retriever), inputs())
    for memory in (1, 2000, 2**20):
        scores = score_in_blocks(retriever, TEXTS, VIDEOS, memory=memory)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", [one for one in OPTIONS if one != "learnable"], ids=str)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "mean"])
def test_every_weight_learns_as_the_paper_writes_it(name, options):
    retriever = shaken(name, **OPTIONS[options])
    weights = oracle_weights(retriever)
    mix = mixture()
    (retriever(TEXTS, VIDEOS) * torch.from_numpy(mix)).sum().backward()
    gradients = oracle_gradients(retriever)
    assert gradients.keys() == weights.keys() - unused(retriever)
    assert count_parameters(retriever) == sum(gradient.size for gradient in gradients.values())
    for key, gradient in gradients.items():
        for entry in drawn_entries(gradient.shape):

            def moved(step, key=key, entry=entry):
                changed = weights | {key: nudged(weights[key], entry, step)}
                return float((mix * oracle_scores(name, retriever, changed, inputs())).sum())

            assert slope(moved) == pytest.approx(gradient[entry], abs=1e-6), (key, entry)


@pytest.mark.parametrize("name", NAMES)
def test_every_input_has_the_gradient_that_the_paper_implies(name):
    retriever = shaken(name)
    weights = oracle_weights(retriever)
    mix = mixture()
    texts = replace(TEXTS, sentence=leaf(TEXTS.sentence), words=leaf(TEXTS.words))
    videos = replace(VIDEOS, frames=leaf(VIDEOS.frames), audio=leaf(VIDEOS.audio))
    (retriever(texts, videos) * torch.from_numpy(mix)).sum().backward()
    tensors = {
        "sentences": texts.sentence,
        "words": texts.words,
        "frames": videos.frames,
        "audio": videos.audio,
    }
    for key, tensor in tensors.items():
        for row, x in enumerate(getattr(inputs(), key)):
            gradient = gradient_rows(tensor, row, x)
            for entry in drawn_entries(() if x is None else x.shape):

                def moved(step, key=key, row=row, entry=entry):
                    given = inputs()
                    getattr(given, key)[row] = nudged(getattr(given, key)[row], entry, step)
                    return float((mix * oracle_scores(name, retriever, weights, given)).sum())

                expected = 0.0 if x is None else slope(moved)
                assert gradient[entry] == pytest.approx(expected, abs=1e-6), (key, row, entry)


@pytest.mark.parametrize("name", ["w-f", "mgfi"])
def test_a_learnable_scale_of_the_words_has_the_oracles_gradient(name):
    retriever = shaken(name, word_weight_scale="learnable")
    weights, mix = oracle_weights(retriever), mixture()
    (retriever(TEXTS, VIDEOS) * torch.from_numpy(mix)).sum().backward()
    scale = retriever.video_head.word_log_scale

    def moved(step):
        variant = replace(VARIANTS[name], word_scale=float((scale.detach() + step).exp()))
        return float((mix * variant_scores(variant, weights, inputs())).sum())

    assert slope(moved) == pytest.approx(scale.grad.item(), abs=1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mean"])
def test_padding_gets_no_gradient(name):
    retriever = shaken(name)
    texts = replace(TEXTS, words=leaf(TEXTS.words))
    videos = replace(VIDEOS, frames=leaf(VIDEOS.frames), audio=leaf(VIDEOS.audio))
    retriever(texts, videos).square().sum().backward()
    for tensor, mask in [
        (texts.words, texts.word_mask),
        (videos.frames, videos.frame_mask),
        (videos.audio, videos.audio_mask),
    ]:
        if tensor.grad is not None:
            assert not tensor.grad[~mask].any()


def test_the_scales_of_equation_7_are_different_models():
    literal, sqrt_c = (
        shaken("w-f", word_weight_scale=scale)(TEXTS, VIDEOS) for scale in ("literal", "sqrt_c")
    )
    assert (literal - sqrt_c).abs().max() > 1e-2


def shaken(name: str, **options) -> Retriever:
    """The head in float64 without dropout, with no weight left at its starting value."""
    retriever = build_retriever(
        name,
        dim=DIM,
        audio_dim=AUDIO_DIM,
        logit_scale=100.0,
        options=HeadOptions(hidden=HIDDEN, **options),
    )
    return shake(retriever.double().eval())


def oracle_gradients(retriever: Retriever) -> dict[str, np.ndarray]:
    """The gradients of the same, in the same layout."""
    return {
        name: parameter.grad.numpy().T if transposed else parameter.grad.numpy()
        for name, parameter, transposed in named_weights(retriever)
    }


def unused(retriever: Retriever) -> set[str]:
    """The oracle's weights that the retriever's variant has none of."""
    return {name for name, array in oracle_weights(retriever).items() if array.size == 0}


def count_parameters(retriever: Retriever) -> int:
    """How many numbers the similarity learns; the temperature is the loss's."""
    return sum(p.numel() for name, p in retriever.named_parameters() if name != "tau")


def inputs() -> Inputs:
    """The batch as the oracle takes it."""
    return inputs_of(TEXTS, VIDEOS)


def mixture() -> np.ndarray:
    """Weights that make one number of all similarities."""
    return np.random.default_rng(4).normal(size=(len(TEXTS), len(VIDEOS)))


def drawn_entries(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Some entries of an array, the same ones each time; the one index of a scalar."""
    draw = np.random.default_rng(5)
    return [tuple(int(draw.integers(size)) for size in shape) for _ in range(ENTRIES)]


def nudged(array: np.ndarray, entry: tuple[int, ...], step: float) -> np.ndarray:
    """A copy with one entry moved."""
    array = array.copy()
    array[entry] += step
    return array


def slope(moved: Callable[[float], float]) -> float:
    """The central difference at 0."""
    return (moved(STEP) - moved(-STEP)) / (2 * STEP)


def leaf(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that collects a gradient."""
    return tensor.clone().requires_grad_()


def gradient_rows(tensor: torch.Tensor, row: int, x: np.ndarray | None) -> np.ndarray:
    """The gradient of one caption's or video's own entries; its sum where there are none."""
    gradient = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
    if x is None:
        return np.abs(gradient[row]).sum()
    return gradient[row][: len(x)]
