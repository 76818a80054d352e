"""Every head against the paper's equations, written apart in numpy: values and gradients."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch
from making.heads import draw_texts, draw_videos, shake
from oracles import paper

from vidret.heads.catalog import build_retriever, head_names
from vidret.heads.retriever import Retriever, score_in_blocks

DIM, AUDIO_DIM, HIDDEN = 6, 7, 5
TEXTS = draw_texts([3, 5, 1], DIM)
VIDEOS = draw_videos([4, 1, 6, 3], DIM, AUDIO_DIM, heard=[True, False, True, True])
STEP = 1e-5
ENTRIES = 3  # how many entries of each tensor are moved for its gradient

VARIANTS = {
    "mean-ff": paper.Variant(sentence_frame=False, word_frame=False),
    "s-f": paper.Variant(word_frame=False),
    "w-f": paper.Variant(sentence_frame=False),
    "mgfi": paper.Variant(),
}


@dataclass(frozen=True)
class Inputs:
    """What the oracle reads, unpadded; each list has one array a caption or video."""

    sentences: list
    words: list
    frames: list
    audio: list


def test_every_head_is_compared():
    compared = [name + sound for name in ["mean", *VARIANTS] for sound in ("", "+cmfi")]
    assert sorted(compared) == sorted(head_names())


@pytest.mark.parametrize("scale", ["literal", "sqrt_c", "learnable"])
@pytest.mark.parametrize("name", head_names())
def test_a_head_scores_as_the_paper_writes_it(name, scale):
    retriever = shaken(name, scale)
    expected = oracle_scores(name, retriever, oracle_weights(retriever), inputs())
    np.testing.assert_allclose(retriever(TEXTS, VIDEOS).detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", head_names())
def test_scoring_in_blocks_is_as_the_paper_writes_it(name):
    retriever = shaken(name)
    expected = oracle_scores(name, retriever, oracle_weights(retriever), inputs())
    for memory in (1, 2000, 2**20):
        scores = score_in_blocks(retriever, TEXTS, VIDEOS, memory=memory)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", ["literal", "sqrt_c"])
@pytest.mark.parametrize("name", [name for name in head_names() if name != "mean"])
def test_every_weight_learns_as_the_paper_writes_it(name, scale):
    retriever = shaken(name, scale)
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


@pytest.mark.parametrize("name", head_names())
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
    retriever = shaken(name, "learnable")
    weights, mix = oracle_weights(retriever), mixture()
    (retriever(TEXTS, VIDEOS) * torch.from_numpy(mix)).sum().backward()
    scale = retriever.video_head.word_log_scale

    def moved(step):
        variant = replace(VARIANTS[name], word_scale=float((scale.detach() + step).exp()))
        return float((mix * variant_scores(variant, weights, inputs())).sum())

    assert slope(moved) == pytest.approx(scale.grad.item(), abs=1e-6)


@pytest.mark.parametrize("name", [name for name in head_names() if name != "mean"])
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
    literal, sqrt_c = (shaken("w-f", scale)(TEXTS, VIDEOS) for scale in ("literal", "sqrt_c"))
    assert (literal - sqrt_c).abs().max() > 1e-2


def shaken(name: str, scale: str = "literal") -> Retriever:
    """The head in float64 without dropout, with no weight left at its starting value."""
    retriever = build_retriever(
        name,
        dim=DIM,
        audio_dim=AUDIO_DIM,
        logit_scale=100.0,
        hidden=HIDDEN,
        word_weight_scale=scale,
    )
    return shake(retriever.double().eval())


def inputs() -> Inputs:
    """The batch without its padding, copied."""
    return Inputs(
        sentences=[row.numpy().copy() for row in TEXTS.sentence],
        words=[
            row[mask].numpy().copy() for row, mask in zip(TEXTS.words, TEXTS.word_mask, strict=True)
        ],
        frames=[
            row[mask].numpy().copy()
            for row, mask in zip(VIDEOS.frames, VIDEOS.frame_mask, strict=True)
        ],
        audio=[
            row.numpy().copy() if heard else None
            for row, heard in zip(VIDEOS.audio, VIDEOS.audio_mask, strict=True)
        ],
    )


def named_weights(retriever: Retriever) -> Iterator[tuple[str, torch.nn.Parameter, bool]]:
    """The oracle's name of each parameter, and whether the oracle holds it transposed."""
    names = {
        "video_head.norm1.weight": "norm1_weight",
        "video_head.norm1.bias": "norm1_bias",
        "video_head.query.weight": "w_q",
        "video_head.word_query.weight": "w_q_words",
        "video_head.key.weight": "w_k",
        "video_head.value.weight": "w_v",
        "video_head.out.weight": "w_o",
        "video_head.norm2.weight": "norm2_weight",
        "video_head.norm2.bias": "norm2_bias",
        "video_head.first.weight": "ff_w1",
        "video_head.first.bias": "ff_b1",
        "video_head.second.weight": "ff_w2",
        "video_head.second.bias": "ff_b2",
        "audio_head.norm.weight": "norm_weight",
        "audio_head.norm.bias": "norm_bias",
        "audio_head.linear.weight": "linear_w",
        "audio_head.linear.bias": "linear_b",
        "audio_head.null": "null",
    }
    for name, parameter in retriever.named_parameters():
        if name not in {"tau", "video_head.word_log_scale"}:
            yield names[name], parameter, parameter.ndim == 2


def oracle_weights(retriever: Retriever) -> dict[str, np.ndarray]:
    """The retriever's weights by the oracle's names; empty ones for what a variant lacks."""
    missing = [*fields(paper.MGFIWeights), *fields(paper.CMFIWeights)]
    weights = {field.name: np.empty(0) for field in missing}
    for name, parameter, transposed in named_weights(retriever):
        array = parameter.detach().numpy().copy()
        weights[name] = array.T if transposed else array
    return weights


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


def oracle_scores(
    name: str, retriever: Retriever, weights: dict[str, np.ndarray], given: Inputs
) -> np.ndarray:
    """The similarity of every text and video by the oracle."""
    pooling, _, sound = name.partition("+")
    if pooling == "mean":
        scores = np.array(
            [
                [paper.mean_pooling_similarity(x_t, x_v) for x_v in given.frames]
                for x_t in given.sentences
            ]
        )
    else:
        scale = float(retriever.video_head.word_log_scale.detach().exp())
        scores = variant_scores(replace(VARIANTS[pooling], word_scale=scale), weights, given)
    if sound:
        chosen = {field.name: weights[field.name] for field in fields(paper.CMFIWeights)}
        scores = scores + paper.audio_text_similarities(
            given.sentences, given.audio, paper.CMFIWeights(**chosen)
        )
    return scores


def variant_scores(
    variant: paper.Variant, weights: dict[str, np.ndarray], given: Inputs
) -> np.ndarray:
    """Equation 10 of one variant by the oracle."""
    chosen = {field.name: weights[field.name] for field in fields(paper.MGFIWeights)}
    return paper.video_text_similarities(
        given.sentences, given.words, given.frames, paper.MGFIWeights(**chosen), variant
    )


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
