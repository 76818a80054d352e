from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from making.heads import draw_texts, draw_videos, shake

from vidret.heads.catalog import build_retriever
from vidret.heads.folded import FoldedMGFI
from vidret.heads.options import HeadOptions

BRANCHES = ("mgfi", "s-f", "w-f", "mean-ff")
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def a_head(name, dim, *, hidden=None, dtype=torch.float64, **settings):
    """A head whose weights are those of no start, so that every term counts."""
    retriever = build_retriever(
        name,
        dim=dim,
        audio_dim=3,
        logit_scale=10.0,
        options=HeadOptions(hidden=hidden, **settings),
    )
    return shake(retriever).video_head.to(dtype).eval()


def in_single(batch):
    values = {one.name: getattr(batch, one.name) for one in fields(batch)}
    return type(batch)(
        **{
            name: value.float() if value.is_floating_point() else value
            for name, value in values.items()
        }
    )


def folded_score(head, texts, videos):
    with torch.inference_mode():
        folded = FoldedMGFI(head)
        return folded.score(folded.prepare_texts(texts), folded.prepare_videos(videos))


@given(words=LENGTHS, frames=LENGTHS, dim=st.integers(2, 9), hidden=st.integers(1, 20))
@pytest.mark.parametrize("name", BRANCHES)
@settings(max_examples=30, deadline=None)
def test_what_is_folded_scores_as_the_head_does_whatever_the_shapes(
    name, words, frames, dim, hidden
):
    head = a_head(name, dim, hidden=hidden)
    texts, videos = draw_texts(words, dim), draw_videos(frames, dim, 3)
    with torch.no_grad():
        expected = head(texts, videos)
    torch.testing.assert_close(folded_score(head, texts, videos), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("scale", ["literal", "sqrt_c", "learnable"])
@pytest.mark.parametrize("hidden", [None, 64, 512])
def test_in_single_precision_the_error_stays_below_a_hundred_thousandth(scale, hidden):
    head = a_head("mgfi", 128, hidden=hidden, word_weight_scale=scale)
    texts, videos = draw_texts(range(1, 33), 128), draw_videos([12] * 20, 128, 3)
    with torch.no_grad():
        exact = head(texts, videos)
    single = folded_score(head.float(), in_single(texts), in_single(videos))
    assert (single.double() - exact).abs().max() < 1e-5


def test_a_caption_without_words_is_its_sentence():
    head = a_head("w-f", 6)
    texts, videos = draw_texts([0, 3], 6), draw_videos([2, 4], 6, 3)
    with torch.no_grad():
        expected = head(texts, videos)
    torch.testing.assert_close(folded_score(head, texts, videos), expected, rtol=0, atol=1e-12)
