from dataclasses import replace

import pytest
import torch
from making.heads import draw_texts, draw_videos, shake
from torch.nn.functional import cosine_similarity, layer_norm
from torch.testing import assert_close

from vidret.data.batches import Texts
from vidret.data.errors import DamagedError
from vidret.heads.mgfi import MGFI, quick_gelu
from vidret.heads.options import HeadOptions

DIM = 8
TEXTS = draw_texts([3, 5, 1], DIM)
VIDEOS = draw_videos([4, 1, 6, 3], DIM, 2)
SWITCHES = [(True, False), (False, True), (True, True), (False, False)]


def shaken(*, sentence_frame=True, word_frame=True, **options) -> MGFI:
    head = MGFI(
        DIM,
        sentence_frame=sentence_frame,
        word_frame=word_frame,
        options=HeadOptions(**options),
    )
    return shake(head.double().eval())


def wordless(texts: Texts) -> Texts:
    return replace(texts, word_mask=torch.zeros_like(texts.word_mask))


@pytest.mark.parametrize(("sentence_frame", "word_frame"), SWITCHES)
def test_the_untrained_head_is_text_conditioned_pooling_in_clips_space(sentence_frame, word_frame):
    head = MGFI(DIM, sentence_frame=sentence_frame, word_frame=word_frame).double().eval()
    weights = head.frame_weights(TEXTS, VIDEOS)
    frames = layer_norm(VIDEOS.frames, (DIM,))
    for text, sentence in enumerate(TEXTS.sentence):
        pooled = torch.stack([w @ x for w, x in zip(weights[text], frames, strict=True)])
        expected = cosine_similarity(pooled, sentence[None])
        assert_close(head(TEXTS, VIDEOS)[text], expected)


def test_the_untrained_sentence_weighs_frames_by_their_cosine():
    head = MGFI(DIM, word_frame=False).double().eval()
    sentence = layer_norm(TEXTS.sentence[0], (DIM,))
    frames = layer_norm(VIDEOS.frames[2], (DIM,))
    expected = (frames @ sentence / DIM**0.5).softmax(0)
    assert_close(head.frame_weights(TEXTS, VIDEOS)[0, 2], expected)


def test_a_word_counts_by_its_best_frame():
    head = (
        MGFI(DIM, sentence_frame=False, options=HeadOptions(word_weight_scale="sqrt_c"))
        .double()
        .eval()
    )
    words = layer_norm(TEXTS.words[0, :3], (DIM,))
    frames = layer_norm(VIDEOS.frames[0, :4], (DIM,))
    scores = words @ frames.T / DIM**0.5
    expected = scores.amax(1).softmax(0) @ scores.softmax(1)
    assert_close(head.frame_weights(TEXTS, VIDEOS)[0, 0, :4], expected)


@pytest.mark.parametrize(("sentence_frame", "word_frame"), SWITCHES)
def test_the_parts_sum_to_the_similarity(sentence_frame, word_frame):
    head = shaken(sentence_frame=sentence_frame, word_frame=word_frame)
    parts = head.parts(TEXTS, VIDEOS)
    assert_close(sum(parts.values()), head(TEXTS, VIDEOS), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("switches", "names"),
    list(zip(SWITCHES, [["sentence"], ["words"], ["sentence", "words"], ["frames"]], strict=True)),
)
def test_the_parts_are_named_after_their_branches(switches, names):
    head = shaken(sentence_frame=switches[0], word_frame=switches[1])
    assert list(head.parts(TEXTS, VIDEOS)) == names


def test_the_parts_of_both_branches_are_their_shares_of_equation_10():
    head = shaken()
    o1, o2 = (
        layer_by_layer(head, branch.frame_weights(TEXTS, VIDEOS))
        for branch in (one_branch(head, words=False), one_branch(head, words=True))
    )
    length = ((o1 + o2) / 2).norm(dim=-1) * TEXTS.sentence.norm(dim=-1)[:, None]
    parts = head.parts(TEXTS, VIDEOS)
    assert_close(parts["sentence"], torch.einsum("tvc,tc->tv", o1 / 2, TEXTS.sentence) / length)
    assert_close(parts["words"], torch.einsum("tvc,tc->tv", o2 / 2, TEXTS.sentence) / length)


@pytest.mark.parametrize(("sentence_frame", "word_frame"), SWITCHES)
def test_frame_weights_sum_to_one_and_leave_padding_out(sentence_frame, word_frame):
    head = shaken(sentence_frame=sentence_frame, word_frame=word_frame)
    weights = head.frame_weights(TEXTS, VIDEOS)
    assert_close(weights.sum(-1), torch.ones(3, 4, dtype=torch.float64))
    assert not weights[:, ~VIDEOS.frame_mask].any()


def test_the_controls_frame_weights_are_uniform():
    head = shaken(sentence_frame=False, word_frame=False)
    expected = torch.tensor([1 / 3, 1 / 3, 1 / 3, 0, 0, 0], dtype=torch.float64)
    assert_close(head.frame_weights(TEXTS, VIDEOS)[:, 3], expected.expand(3, -1))


def test_the_control_learns_nothing_that_weighs_frames():
    names = {name for name, _ in MGFI(DIM, sentence_frame=False, word_frame=False).named_modules()}
    assert not names & {"query", "word_query", "key"}


def test_one_word_that_is_the_sentence_makes_both_branches_one():
    head = shaken()
    head.word_query.load_state_dict(head.query.state_dict())
    texts = Texts(
        sentence=TEXTS.sentence,
        words=TEXTS.sentence[:, None],
        word_mask=torch.ones(3, 1, dtype=torch.bool),
    )
    parts = head.parts(texts, VIDEOS)
    assert_close(parts["sentence"], parts["words"])


@pytest.mark.parametrize("word_frame", [True, False])
def test_a_video_of_one_frame_looks_the_same_to_every_text(word_frame):
    head = shaken(word_frame=word_frame)
    alone = VIDEOS[slice(1, 2)]
    same_sentence = replace(TEXTS, sentence=TEXTS.sentence[:1].expand(3, -1))
    scores = head(same_sentence, alone)
    assert_close(scores, scores[:1].expand(3, 1))


def test_a_caption_without_words_is_its_own_only_word():
    head = shaken()
    spoken = Texts(
        sentence=TEXTS.sentence,
        words=TEXTS.sentence[:, None],
        word_mask=torch.ones(3, 1, dtype=torch.bool),
    )
    assert_close(head(wordless(TEXTS), VIDEOS), head(spoken, VIDEOS))


def test_a_caption_without_words_changes_no_other():
    head = shaken()
    mask = TEXTS.word_mask.clone()
    mask[1] = False
    scores = head(replace(TEXTS, word_mask=mask), VIDEOS)
    assert_close(scores[[0, 2]], head(TEXTS, VIDEOS)[[0, 2]])


def test_captions_without_words_learn_finite_gradients():
    head = shaken()
    head(wordless(TEXTS), VIDEOS).sum().backward()
    assert all(weight.grad.isfinite().all() for weight in head.parameters())


def test_padding_may_even_hold_nan():
    head = shaken()
    texts = replace(TEXTS, words=TEXTS.words.where(TEXTS.word_mask[..., None], torch.nan))
    videos = replace(VIDEOS, frames=VIDEOS.frames.where(VIDEOS.frame_mask[..., None], torch.nan))
    assert_close(head(texts, videos), head(TEXTS, VIDEOS))


def test_a_video_without_frames_is_refused_by_its_row():
    mask = VIDEOS.frame_mask.clone()
    mask[2] = False
    with pytest.raises(DamagedError, match="row 2 of a batch of 4 videos has no frames"):
        shaken()(TEXTS, replace(VIDEOS, frame_mask=mask))


def test_training_drops_from_the_similarity_but_not_from_the_parts():
    head = shaken(dropout=0.5)
    still = head(TEXTS, VIDEOS)
    head.train()
    assert (head(TEXTS, VIDEOS) - still).abs().max() > 1e-3
    assert_close(sum(head.parts(TEXTS, VIDEOS).values()), still)


def test_the_fixed_scales_are_no_parameters_but_travel_with_the_weights():
    head = shaken(word_weight_scale="sqrt_c")
    assert "word_log_scale" not in dict(head.named_parameters())
    literal = shaken(word_weight_scale="literal")
    literal.load_state_dict(head.state_dict())
    assert_close(literal(TEXTS, VIDEOS), head(TEXTS, VIDEOS))


def test_the_learnable_scale_starts_as_the_square_root():
    learnable, sqrt_c = (
        MGFI(DIM, options=HeadOptions(word_weight_scale=s)).double().eval()
        for s in ("learnable", "sqrt_c")
    )
    assert_close(learnable(TEXTS, VIDEOS), sqrt_c(TEXTS, VIDEOS))


def test_a_head_without_words_has_no_scale_to_learn():
    names = dict(
        MGFI(
            DIM, word_frame=False, options=HeadOptions(word_weight_scale="learnable")
        ).named_parameters()
    )
    assert "word_log_scale" not in names


def test_float32_is_near_float64():
    head = shaken()
    exact = head(TEXTS, VIDEOS)
    texts = replace(TEXTS, sentence=TEXTS.sentence.float(), words=TEXTS.words.float())
    videos = replace(VIDEOS, frames=VIDEOS.frames.float(), audio=VIDEOS.audio.float())
    assert_close(head.float()(texts, videos).double(), exact, rtol=0, atol=1e-5)


def test_nothing_as_wide_as_words_and_features_is_ever_made(largest_tensor):
    texts, videos = draw_texts([20] * 6, 32), draw_videos([4] * 5, 32, 2)
    head = MGFI(32).double()
    with largest_tensor() as largest:
        head(texts, videos).sum().backward()
    assert largest.numel < 6 * 5 * 20 * 32  # text x video x word x dim


def one_branch(head: MGFI, *, words: bool) -> MGFI:
    branch = MGFI(DIM, sentence_frame=not words, word_frame=words).double().eval()
    branch.load_state_dict(head.state_dict(), strict=False)
    return branch


def layer_by_layer(head: MGFI, weights: torch.Tensor) -> torch.Tensor:
    frames = VIDEOS.frames.masked_fill(~VIDEOS.frame_mask[..., None], 0)
    z = torch.einsum("tvn,vnc->tvc", weights, head.out(head.value(head.norm(frames))))
    return z + feed_forward(head, z)


def feed_forward(head: MGFI, z: torch.Tensor) -> torch.Tensor:
    part = head.feed_forward
    return part.second(quick_gelu(part.first(part.norm(z))))
