"""Which words and which frames speak for a video."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.extract.clip import ClipEncoder
from vidret.extract.models.tokens import token_texts
from vidret.heads.mgfi import MGFI
from vidret.heads.retriever import Retriever

WORD_END = "</w>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """For each token what it counts, and what each frame counts for it.

    Args:
        shares: of the tokens; they add up to 1.
        weights: a row a token, which adds up to 1.
        of_head: whether the head weighs in just this way.
    """

    shares: NDArray[np.float64]
    weights: NDArray[np.float64]
    of_head: bool


def token_frame_grid(retriever: Retriever, texts: Texts, videos: Videos, sharpness: float) -> Grid:
    """The weights of one text's tokens and one video's frames; the head's own where it has some.

    MGFI with its word branch weighs as equations 6 and 7 have it. For any other head each token
    weighs frames by a softmax of their cosines, and tokens by a softmax of their best ones.

    Args:
        retriever: the heads.
        texts: one text.
        videos: one video.
        sharpness: what cosines are multiplied by, CLIP's own scale.
    """
    head, frames = retriever.video_head, int(videos.frame_mask[0].sum())
    if not bool(texts.word_mask.any()):
        return Grid(shares=np.zeros(0), weights=np.zeros((0, frames)), of_head=False)
    if isinstance(head, MGFI) and head.word_query is not None:
        per_word, best = _asked(head, texts, videos)
        first = 1 if head.sees_end else 0  # the end token has no word to stand below
        shares, weights = best.softmax(-1)[first:], per_word[first:]
        shares = shares / shares.sum()
    else:
        words = normalize(texts.words[0][texts.word_mask[0]], dim=-1)
        cosines = words @ normalize(videos.frames[0][videos.frame_mask[0]], dim=-1).T
        weights = (sharpness * cosines).softmax(-1)
        shares = (sharpness * cosines.amax(-1)).softmax(-1)
    return Grid(
        shares=shares.double().cpu().numpy(),
        weights=weights.double().cpu().numpy(),
        of_head=isinstance(head, MGFI) and head.word_query is not None,
    )


def _asked(head: MGFI, texts: Texts, videos: Videos) -> tuple[Tensor, Tensor]:
    """What each frame counts for each word (6), and the likeness that weighs the word (7)."""
    assert head.word_query is not None
    words, mask = head.some_words(texts)
    q = head.word_query(head.normed(words[0][mask[0]], head.norm_words))  # (4)
    k = head.prepare_videos(videos).k
    assert k is not None
    a = q @ k[0][videos.frame_mask[0]].T  # (5)
    return (a / q.shape[-1] ** 0.5).softmax(-1), a.amax(-1) * head.word_log_scale.exp()


def sentence_frame_likeness(
    texts: Texts, videos: Videos, sharpness: float
) -> Float[Tensor, "text video frame"]:
    """How alike each frame is to the sentence in CLIP's space: a softmax over the frames.

    Args:
        texts: some texts.
        videos: some videos.
        sharpness: what cosines are multiplied by, CLIP's own scale.
    """
    sentences, frames = normalize(texts.sentence, dim=-1), normalize(videos.frames, dim=-1)
    cosines = sharpness * torch.einsum("tc,vnc->tvn", sentences, frames)
    return cosines.masked_fill(~videos.frame_mask, -torch.inf).softmax(-1)


def by_word(tokens: list[str], grid: Grid) -> tuple[tuple[str, ...], Grid]:
    """Put the pieces of each word together: shares add up, weights are their mean by share."""
    groups: list[list[int]] = []
    begun = False
    for place, token in enumerate(tokens):
        if begun:
            groups[-1].append(place)
        else:
            groups.append([place])
        begun = not token.endswith(WORD_END)
    words = tuple("".join(tokens[place] for place in group) for group in groups)
    shares = np.array([grid.shares[group].sum() for group in groups])
    rows = [
        (grid.shares[group, None] * grid.weights[group]).sum(0) / max(1e-30, share)
        if share > 0
        else grid.weights[group].mean(0)
        for group, share in zip(groups, shares, strict=True)
    ]
    weights = np.stack(rows) if rows else grid.weights
    return (
        tuple(map(readable, words)),
        Grid(shares=shares, weights=weights, of_head=grid.of_head),
    )


def readable(token: str) -> str:
    """A token or a word as people can be shown it."""
    whole = token.removesuffix(WORD_END).encode("utf-8", "surrogateescape")
    return whole.decode("utf-8", "replace")


def tokens_of(clip: ClipEncoder, ids: NDArray[np.int64]) -> list[str]:
    """What the model read, token by token; the last piece of a word ends in `</w>`."""
    return token_texts(clip.tokenizer, [int(one) for one in ids])


def sound_share(parts: dict[str, float], audio: str) -> float:
    """What the sound has of all that the parts add or take away."""
    total = sum(abs(part) for part in parts.values())
    return abs(parts.get(audio, 0.0)) / total if total else 0.0
