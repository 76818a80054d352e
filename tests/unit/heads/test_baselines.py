"""The heads of other papers against transcriptions of them in numpy: values and gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from making.heads import draw_texts, draw_videos, shake
from oracles import baselines
from oracles.of_heads import VARIANTS, inputs_of
from torch.testing import assert_close

from vidret.heads import tight
from vidret.heads.catalog import VIDEO_HEADS, build_retriever, options_of
from vidret.heads.mean import MeanPooling
from vidret.heads.options import HeadOptions
from vidret.heads.scoring import score_in_blocks

DIM, AUDIO_DIM = 6, 5
NAMES = sorted(baselines.SCORES)
ELSEWHERE = {"mean", *VARIANTS, "hcmi"}  # compared in test_equations.py and test_hcmi.py
TEXTS = draw_texts([3, 5, 0, 1], DIM)
VIDEOS = draw_videos([4, 1, 6, 3, 5], DIM, AUDIO_DIM)
CHANGES = {
    "usual": {},
    "at random": {"start": "random"},
    "two layers": {"layers": 2},
    "one layer": {"layers": 1},
    "narrow": {"hidden": 5},
    "gelu": {"activation": "gelu"},
    "relu": {"activation": "relu"},
    "words and end": {"word_set": "words+end"},
}
CASES = [
    (name, change)
    for name in NAMES
    for change, values in CHANGES.items()
    if values.keys() <= options_of(name)
]
IN_ORDER = ["seq-transf", "seq-lstm", "tight-transf", "clip2video", "ea-clip4clip"]
STEP = 1e-5
ENTRIES = 3  # how many entries of each tensor are moved for its gradient


def test_every_head_has_a_transcription():
    assert set(VIDEO_HEADS) - ELSEWHERE == set(NAMES)


@pytest.mark.parametrize(("name", "change"), CASES)
def test_a_head_scores_as_it_is_written_apart(name, change):
    retriever = shaken(name, **CHANGES[change])
    expected = scores_apart(name, retriever, TEXTS, VIDEOS)
    np.testing.assert_allclose(retriever(TEXTS, VIDEOS).detach(), expected, rtol=0, atol=1e-12)
    for memory in (1, 20_000, 2**29):
        scores = score_in_blocks(retriever, TEXTS, VIDEOS, memory=memory)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "frames", "dim"),
    [
        *((name, [80, 3, 77, 78], DIM) for name in IN_ORDER),  # beyond tables of 64 and of 77
        *((name, [1, 1], DIM) for name in NAMES),
        *((name, [4, 2], 128) for name in ["seq-transf", "tight-transf", "clip2video", "xpool"]),
    ],
)
def test_a_head_of_any_shape_scores_as_it_is_written_apart(name, frames, dim):
    retriever = shaken(name, dim=dim, layers=2)
    texts, videos = draw_texts([2, 1], dim), draw_videos(frames, dim, AUDIO_DIM)
    expected = scores_apart(name, retriever, texts, videos)
    np.testing.assert_allclose(retriever(texts, videos).detach(), expected, rtol=0, atol=1e-11)
    blocks = score_in_blocks(retriever, texts, videos)
    np.testing.assert_allclose(blocks, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_learns_as_it_is_written_apart(name):
    retriever, texts, videos = shaken(name, layers=2), TEXTS[1:3], VIDEOS[2:4]
    mix = np.random.default_rng(4).normal(size=(len(texts), len(videos)))
    (retriever(texts, videos) * torch.from_numpy(mix)).sum().backward()
    weights, draw = weights_of(retriever), np.random.default_rng(5)
    for key, parameter in retriever.video_head.named_parameters():
        for _ in range(ENTRIES):
            entry = tuple(int(draw.integers(min(size, 8))) for size in parameter.shape)
            moved = []
            for step in (STEP, -STEP):
                changed = weights | {key: weights[key].copy()}
                changed[key][entry] += step
                moved.append((mix * scores_apart(name, retriever, texts, videos, changed)).sum())
            slope = (moved[0] - moved[1]) / (2 * STEP)
            assert slope == pytest.approx(parameter.grad[entry].item(), abs=1e-6), (key, entry)


@pytest.mark.parametrize("name", NAMES)
def test_padding_gets_no_gradient_and_all_else_gets_some(name):
    retriever = shaken(name)
    texts = replace(
        TEXTS,
        sentence=TEXTS.sentence.clone().requires_grad_(),
        words=TEXTS.words.clone().requires_grad_(),
    )
    videos = replace(VIDEOS, frames=VIDEOS.frames.clone().requires_grad_())
    retriever(texts, videos).square().sum().backward()
    assert not videos.frames.grad[~VIDEOS.frame_mask].any()
    assert videos.frames.grad[VIDEOS.frame_mask].any(-1).all()
    assert texts.sentence.grad.any()
    if texts.words.grad is not None:
        assert not texts.words.grad[~TEXTS.word_mask].any()


@pytest.mark.parametrize("name", ["seq-transf", "seq-lstm", "ea-clip4clip"])
def test_an_untrained_head_of_frames_is_the_mean(name):
    retriever = build_retriever(name, dim=DIM, audio_dim=AUDIO_DIM, logit_scale=1.0).double().eval()
    assert_close(retriever(TEXTS, VIDEOS), MeanPooling()(TEXTS, VIDEOS))


def test_an_untrained_adaclip_is_the_mean_of_frames_as_they_are():
    head = build_retriever("adaclip", dim=DIM, audio_dim=AUDIO_DIM, logit_scale=1.0).double()
    frames = VIDEOS.frames.masked_fill(~VIDEOS.frame_mask[..., None], 0).sum(1)
    expected = torch.cosine_similarity(TEXTS.sentence[:, None], frames, dim=-1)
    assert_close(head(TEXTS, VIDEOS).detach(), expected)


def test_untrained_tokens_all_count_the_same():
    head = build_retriever("wti", dim=DIM, audio_dim=AUDIO_DIM, logit_scale=1.0).double().video_head
    for weights, mask in [
        (head.prepare_texts(TEXTS[:2]).weights, TEXTS[:2].word_mask),
        (head.prepare_videos(VIDEOS).weights.T, VIDEOS.frame_mask),
    ]:
        assert_close(weights, mask / mask.sum(-1, keepdim=True).double())


def test_half_of_an_untrained_clip2video_is_the_mean():
    head = build_retriever("clip2video", dim=DIM, audio_dim=AUDIO_DIM, logit_scale=1.0).double()
    parts = head.eval().parts(TEXTS, VIDEOS)
    assert_close(parts["frames"], MeanPooling()(TEXTS, VIDEOS) / 2)


@pytest.mark.parametrize("name", [name for name in NAMES if "start" in options_of(name)])
def test_a_head_that_starts_as_clip_can_leave_it(name):
    retriever = build_retriever(name, dim=DIM, audio_dim=AUDIO_DIM, logit_scale=1.0).double()
    before = retriever.eval()(TEXTS, VIDEOS).detach()
    (retriever(TEXTS, VIDEOS)[:, 0] - retriever(TEXTS, VIDEOS)[:, 2]).square().sum().backward()
    with torch.no_grad():
        for weight in retriever.video_head.parameters():
            if weight.grad is not None:
                weight -= 0.1 * weight.grad
    assert (retriever(TEXTS, VIDEOS) - before).abs().max() > 1e-6


@pytest.mark.parametrize("name", IN_ORDER)
def test_the_order_of_frames_counts_where_a_head_says_so(name):
    retriever = shaken(name)
    turned = replace(VIDEOS[2:3], frames=VIDEOS.frames[2:3].flip(1))
    assert (retriever(TEXTS, turned) - retriever(TEXTS, VIDEOS[2:3])).abs().max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_frame_weights_are_shares_of_the_real_frames(name):
    weights = shaken(name).frame_weights(TEXTS, VIDEOS)
    assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert (weights >= 0).all()
    assert not weights[:, ~VIDEOS.frame_mask].any()


@pytest.mark.parametrize("name", [name for name in VIDEO_HEADS if not name.endswith("+cmfi")])
def test_a_head_says_whether_its_frames_depend_on_the_text(name):
    head = shaken(name).video_head
    first, second = head.frame_weights(draw_texts([3, 4], DIM), VIDEOS)
    assert head.weighs_by_text == bool((first - second).abs().max() > 1e-6)


@pytest.mark.parametrize("name", [name for name in VIDEO_HEADS if not name.endswith("+cmfi")])
def test_a_head_says_whether_its_frames_depend_on_the_words(name):
    head, texts = shaken(name).video_head, draw_texts([3, 4], DIM)
    others = replace(texts, words=texts.words.flip(-1))
    change = head.frame_weights(texts, VIDEOS) - head.frame_weights(others, VIDEOS)
    assert head.weighs_by_words == bool(change.abs().max() > 1e-6)


def test_the_weights_of_x_pool_and_of_adaclip_make_their_videos():
    for name in ("xpool", "adaclip"):
        head = shaken(name).video_head
        weights = head.frame_weights(TEXTS, VIDEOS)
        if name == "adaclip":
            frames = VIDEOS.frames.masked_fill(~VIDEOS.frame_mask[..., None], 0)
            o = torch.einsum("tvn,vnc->tvc", weights, frames)
        else:
            z = head.norm_pooled(
                torch.einsum("tvn,vnc->tvc", weights, head.prepare_videos(VIDEOS).u)
            )
            o = head.norm_out(z + head.linear(z))
        expected = torch.cosine_similarity(o, TEXTS.sentence[:, None], dim=-1)
        assert_close(head(TEXTS, VIDEOS), expected)


@pytest.mark.parametrize("name", [name for name in NAMES if "dropout" in options_of(name)])
def test_training_drops_and_scoring_does_not(name):
    retriever = shaken(name, dropout=0.9).train()
    torch.manual_seed(0)
    assert (retriever(TEXTS, VIDEOS) - retriever(TEXTS, VIDEOS)).abs().max() > 1e-3
    blocks = score_in_blocks(retriever, TEXTS, VIDEOS)
    assert_close(blocks, retriever.eval()(TEXTS, VIDEOS).detach(), rtol=0, atol=1e-12)


def test_a_tight_transformer_learns_the_same_whether_it_keeps_all_pairs_or_some(monkeypatch):
    gradients = []
    for held in (1024, 7, 1):
        monkeypatch.setattr(tight, "PAIRS_HELD", held)
        retriever = shaken("tight-transf")
        retriever(TEXTS, VIDEOS).square().sum().backward()
        gradients.append([one.grad for one in retriever.video_head.parameters()])
    for others in gradients[1:]:
        assert_close(others, gradients[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_at_full_width_stays_within_a_hundred_thousandth(name):
    """Frames of a video are near one another, as real ones are: what a short sum would lose."""
    dim = 512
    retriever = build_retriever(
        name, dim=dim, audio_dim=AUDIO_DIM, logit_scale=1.0, options=HeadOptions(layers=1)
    )
    shake(retriever.double().eval(), scale=0.02)
    texts, videos = draw_texts([4, 7], dim), draw_videos([12, 9], dim, AUDIO_DIM)
    first = videos.frames[:, :1]
    videos = replace(videos, frames=first + 0.1 * videos.frames)
    exact = retriever(texts, videos).detach()
    single = score_in_blocks(retriever.float(), in_single(texts), in_single(videos))
    assert_close(single.double(), exact, rtol=0, atol=1e-5)


def shaken(name, *, dim=DIM, **options):
    """The head in float64, with no weight left at its starting value."""
    retriever = build_retriever(
        name, dim=dim, audio_dim=AUDIO_DIM, logit_scale=100.0, options=HeadOptions(**options)
    )
    return shake(retriever.double().eval(), scale=0.4 * (DIM / dim) ** 0.5)


def weights_of(retriever):
    return {key: w.detach().numpy().copy() for key, w in retriever.video_head.named_parameters()}


def scores_apart(name, retriever, texts, videos, weights=None):
    """The similarity of every text and video by the transcription."""
    given, head = inputs_of(texts, videos), retriever.video_head
    inside = [getattr(head, "layers", None), getattr(getattr(head, "along", None), "layers", None)]
    layers = next((one for one in inside if one is not None), None)
    of = getattr(head, "weigh", None) if name == "adaclip" else head
    choices = baselines.Choices(
        activation=getattr(layers[0] if layers else of, "activation", "quick_gelu"),
        with_end=getattr(head, "sees_end", False),
        attention_heads=max(1, texts.sentence.shape[1] // 64),
    )
    weights = weights_of(retriever) if weights is None else weights
    score = baselines.SCORES[name]
    return np.array(
        [
            [score(x_t, x_w, x_v, weights, choices) for x_v in given.frames]
            for x_t, x_w in zip(given.sentences, given.words, strict=True)
        ]
    )


def in_single(batch):
    """The batch in float32."""
    values = {name: getattr(batch, name) for name in batch.__slots__}
    return replace(
        batch, **{name: one.float() for name, one in values.items() if one.is_floating_point()}
    )
