"""HCMI and its loss against their formulas, written apart in loops: values and gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from making.heads import draw_texts, draw_videos, shake
from oracles import hcmi as oracle
from oracles.of_heads import inputs_of

from vidret.heads.hcmi import HCMI
from vidret.heads.hierarchical import hierarchical_loss, level_similarities, look_alikes
from vidret.heads.options import HeadOptions
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import score_in_blocks
from vidret.heads.temporal import count_heads

DIM, AUDIO_DIM, SCALE, STEP = 6, 3, 5.0, 1e-6
TEXTS = draw_texts([5, 7, 1, 0, 4], DIM)
VIDEOS = draw_videos([7, 9, 1, 2, 4], DIM, AUDIO_DIM)
FEW = TEXTS[:2], VIDEOS[:2]  # for gradients: they are looked at from both sides of each weight
VARIANTS = {
    "density": {},
    "soft": {"hcmi_clustering": "soft"},
    "even": {"hcmi_clustering": "even"},
    "no attention": {"hcmi_frame_attention": False, "hcmi_word_layers": 0},
    "one clip, many phrases": {"hcmi_clips": 1, "hcmi_phrases": 5},
    "two blocks each": {"layers": 2, "hcmi_word_layers": 2},
    "frames": {"hcmi_levels": "frame"},
    "clips": {"hcmi_levels": "clip"},
    "videos": {"hcmi_levels": "video"},
    "frames and videos": {"hcmi_levels": "frame+video"},
    "relu, narrow, words and end": {"activation": "relu", "hidden": 4, "word_set": "words+end"},
    "gelu, random start": {"activation": "gelu", "start": "random"},
}
OBJECTIVES = {
    "all": {},
    "sum": {"hcmi_contrast": "sum"},
    "no denoising": {"hcmi_denoise": False},
    "one positive": {"hcmi_positives": 1},
    "no margin": {"hcmi_margin_weight": 0.0},
    "wide margin": {"hcmi_margin": 0.7, "hcmi_margin_weight": 2.5},
    "nothing": {"hcmi_contrast": "sum", "hcmi_denoise": False, "hcmi_margin_weight": 0.0},
}
NUMBERS = [0, 1, 2, 1, 4]  # two pairs have the same video


def shaken(**options) -> Retriever:
    """The head in float64 without dropout, with no weight left at its starting value."""
    head = HCMI(DIM, options=HeadOptions(**{"layers": 1} | options))
    return shake(Retriever(head, None, logit_scale=SCALE).double().eval(), scale=0.3)


def weights_of(retriever):
    return {name: w.detach().numpy().copy() for name, w in retriever.video_head.named_parameters()}


def variant_of(options: HeadOptions) -> oracle.Variant:
    return oracle.Variant(
        heads=count_heads(DIM),
        frame_layers=options.layers if options.hcmi_frame_attention else 0,
        word_layers=options.hcmi_word_layers,
        clustering=options.hcmi_clustering,
        clips=options.hcmi_clips,
        phrases=options.hcmi_phrases,
        levels=HCMI(DIM, options=options).levels,
        activation=options.activation,
        with_end=options.word_set == "words+end",
    )


def expected_levels(retriever, weights=None, texts=TEXTS, videos=VIDEOS):
    given = inputs_of(texts, videos)
    return oracle.similarities(
        given.sentences,
        given.words,
        given.frames,
        weights or weights_of(retriever),
        variant_of(retriever.video_head.options),
    )


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_each_level_is_as_the_formulas_have_it(options):
    retriever = shaken(**options)
    expected = expected_levels(retriever)
    found = level_similarities(retriever, TEXTS, VIDEOS)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].detach(), values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("memory", [1, 2**22])
def test_scoring_in_blocks_is_the_mean_of_the_levels(options, memory):
    retriever = shaken(**options)
    expected = np.mean(list(expected_levels(retriever).values()), axis=0)
    scores = score_in_blocks(retriever, TEXTS, VIDEOS, memory=memory)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dim", [8, 64, 128])
def test_single_precision_stays_within_a_hundred_thousandth(dim):
    texts, videos = draw_texts([5, 3], dim), draw_videos([4, 8], dim, AUDIO_DIM)
    head = HCMI(dim, options=HeadOptions(layers=1))
    shake(head.double().eval(), scale=0.4 / dim**0.5)
    exact = head(texts, videos)
    retriever = Retriever(head.float(), None, logit_scale=1.0)
    single = score_in_blocks(retriever, halved(texts), halved(videos))
    np.testing.assert_allclose(single, exact.detach(), rtol=0, atol=1e-5)


def test_every_weight_learns_as_the_formulas_have_it():
    """Along a drawn direction of each weight, which moves all of its numbers at once."""
    retriever, mix = shaken(), mixture()
    (retriever(*FEW) * torch.from_numpy(mix)).sum().backward()
    weights, draw = weights_of(retriever), np.random.default_rng(5)
    for name, weight in retriever.video_head.named_parameters():
        way = {name: directions(draw, weights[name])}
        expected = slope_of(lambda step, way=way: mixed(retriever, weights, way, step, mix))
        assert gradient_along(weight, way[name]) == pytest.approx(expected, abs=1e-6), name


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_all_weights_together_learn_as_the_formulas_have_it(options):
    retriever, mix = shaken(**options), mixture()
    (retriever(*FEW) * torch.from_numpy(mix)).sum().backward()
    weights, draw = weights_of(retriever), np.random.default_rng(5)
    ways = {name: directions(draw, weight) for name, weight in weights.items()}
    expected = slope_of(lambda step: mixed(retriever, weights, ways, step, mix))
    found = sum(
        gradient_along(weight, ways[name])
        for name, weight in retriever.video_head.named_parameters()
    )
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("side", ["frames", "words", "sentence"])
def test_every_input_has_the_gradient_that_the_formulas_imply(side):
    retriever, draw = shaken(), np.random.default_rng(6)
    mix = draw.normal(size=(len(TEXTS), len(VIDEOS)))
    batch = VIDEOS if side == "frames" else TEXTS
    mask = {"frames": VIDEOS.frame_mask, "words": TEXTS.word_mask}.get(side)
    leaf = getattr(batch, side).clone().requires_grad_()
    texts, videos = (replaced(one, side, leaf) for one in (TEXTS, VIDEOS))
    (retriever(texts, videos) * torch.from_numpy(mix)).sum().backward()
    if mask is not None:
        assert not leaf.grad[~mask].any()
    way = torch.from_numpy(draw.normal(size=leaf.shape))

    def moved(step):
        nudged = leaf.detach() + step * way
        given = (replaced(one, side, nudged) for one in (TEXTS, VIDEOS))
        levels = expected_levels(retriever, None, *given)
        return float((mix * np.mean(list(levels.values()), axis=0)).sum())

    expected = float((leaf.grad * way).sum())
    assert slope_of(moved) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
@pytest.mark.parametrize("same_video", ["mask", "positive", "negative"])
def test_the_loss_is_as_the_formulas_have_it(options, same_video):
    levels, videos = drawn_levels(), alike_videos()
    expected = expected_loss(levels, videos, options, same_video)
    assert loss_of(levels, videos, options, same_video).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("options", OBJECTIVES.values(), ids=OBJECTIVES)
def test_the_levels_have_the_gradient_that_the_loss_implies(options):
    levels, videos, draw = drawn_levels(), alike_videos(), np.random.default_rng(8)
    leaves = [one.clone().requires_grad_() for one in levels]
    loss_of(leaves, videos, options, "mask").backward()
    ways = [draw.normal(size=one.shape) for one in levels]

    def moved(step):
        nudged = [one + step * torch.from_numpy(way) for one, way in zip(levels, ways, strict=True)]
        return expected_loss(nudged, videos, options, "mask")

    expected = sum(gradient_along(leaf, way) for leaf, way in zip(leaves, ways, strict=True))
    assert slope_of(moved) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("most", "any_found"), [(0, False), (1, False), (2, True), (9, True)])
def test_look_alikes_are_found_as_the_formulas_have_it(most, any_found):
    videos = alike_videos()
    frames = inputs_of(TEXTS, videos).frames
    found = look_alikes(videos, torch.tensor(NUMBERS), most)
    expected = oracle.look_alikes(frames, NUMBERS, most)
    assert [set(row.nonzero()[:, 0].tolist()) for row in found] == expected
    assert bool(found.any()) == any_found


def test_the_sum_of_both_directions_is_twice_the_mean():
    levels, videos = drawn_levels(), alike_videos()
    mean = loss_of(levels, videos, {}, "mask")
    both = loss_of(levels, videos, {}, "mask", directions="sum")
    assert both.item() == pytest.approx(2 * mean.item(), abs=1e-12)


def mixture():
    """Weights that make one number of the similarities of few texts and videos."""
    return np.random.default_rng(4).normal(size=(len(FEW[0]), len(FEW[1])))


def mixed(retriever, weights, ways, step, mix):
    """That number, after some weights have gone a step on their ways."""
    changed = weights | {name: weights[name] + step * way for name, way in ways.items()}
    levels = expected_levels(retriever, changed, *FEW)
    return float((mix * np.mean(list(levels.values()), axis=0)).sum())


def directions(draw, weight):
    way = draw.normal(size=weight.shape)
    return way / np.linalg.norm(way)


def gradient_along(weight, way):
    return 0.0 if weight.grad is None else float((weight.grad.numpy() * way).sum())


def slope_of(moved):
    return (moved(STEP) - moved(-STEP)) / (2 * STEP)


def drawn_levels():
    draw = torch.Generator().manual_seed(7)
    return [torch.rand(5, 5, generator=draw, dtype=torch.float64) * 2 - 1 for _ in range(3)]


def alike_videos():
    """Videos of which the first, the third and the last are much alike."""
    videos = draw_videos([7, 9, 6, 2, 4], DIM, AUDIO_DIM)
    frames = videos.frames.clone()
    common = torch.randn(DIM, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for row, strength in ((0, 1.5), (2, 1.0), (4, 2.0)):
        frames[row] += strength * common
    return replaced(videos, "frames", frames)


def loss_of(levels, videos, options, same_video, *, directions="mean"):
    return hierarchical_loss(
        {f"level {number}": one for number, one in enumerate(levels)},
        torch.tensor(SCALE, dtype=torch.float64),
        videos,
        torch.tensor(NUMBERS),
        HeadOptions(**options),
        same_video=same_video,
        directions=directions,
    )


def expected_loss(levels, videos, options, same_video):
    told = {name.removeprefix("hcmi_"): value for name, value in options.items()}
    return oracle.loss(
        [one.numpy() for one in levels],
        SCALE,
        inputs_of(TEXTS, videos).frames,
        NUMBERS,
        oracle.Objective(same_video=same_video, **told),
    )


def replaced(batch, name, values):
    """The batch with other values, where it has such."""
    return replace(batch, **{name: values}) if name in batch.__slots__ else batch


def halved(batch):
    """The batch in float32."""
    values = {name: getattr(batch, name) for name in batch.__slots__}
    floats = {name: one.float() for name, one in values.items() if one.is_floating_point()}
    return replace(batch, **floats)
