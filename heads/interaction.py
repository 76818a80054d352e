"""Weighted token interaction where frames lie outside videos in memory.

The formula is that of `heads/tokenwise.py`: half of what the words find among the frames, and half
of what the frames find among the words. Tables here are text, word, frame, video, so that no
maximum runs along the innermost axis: over few numbers such a one is slow on a CPU.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, einsum
from torch.nn.functional import one_hot

from vidret.heads.tokens import WeightedTokens

Table = Float[Tensor, "text word frame video"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesOutside:
    """Frames or clips at unit length, how much each counts, and where there is none.

    Args:
        padding: None where every video has as many.
    """

    tokens: Float[Tensor, "frame video dim"]
    weights: Float[Tensor, "frame video"]
    padding: Bool[Tensor, "frame video"] | None


def frames_outside(given: WeightedTokens) -> FramesOutside:
    """Tokens of videos in the order of memory that `interaction` wants."""
    return FramesOutside(
        tokens=given.tokens.transpose(0, 1).contiguous(),
        weights=given.weights.T.contiguous(),
        padding=None if given.mask.all() else (~given.mask).T.contiguous(),
    )


def interaction(texts: WeightedTokens, videos: FramesOutside) -> Float[Tensor, "text video"]:
    """Return half of what words find among frames and half of what frames find among words."""
    of_words, of_frames = both_ways(texts, videos)
    return of_words + of_frames


def both_ways(
    texts: WeightedTokens, videos: FramesOutside
) -> tuple[Float[Tensor, "text video"], Float[Tensor, "text video"]]:
    """Return the two halves of the interaction: of the words, and of the frames."""
    cosines = _cosines(texts, videos)
    of_words = einsum("tw,twv->tv", texts.weights, _without_padding(cosines, videos).amax(2))
    if not texts.mask.all():
        cosines = cosines.masked_fill(~texts.mask[..., None, None], -torch.inf)
    of_frames = einsum("nv,tnv->tv", videos.weights, cosines.amax(1))
    return of_words / 2, of_frames / 2


def shares_of_frames(
    texts: WeightedTokens, videos: FramesOutside
) -> Float[Tensor, "text video frame"]:
    """Return how much each frame decides: by its weight, and by the words it is the best for."""
    best = _without_padding(_cosines(texts, videos), videos).argmax(2)
    chosen = one_hot(best, len(videos.tokens)).to(texts.weights.dtype)
    return (einsum("tw,twvn->tvn", texts.weights, chosen) + videos.weights.T) / 2


def _cosines(texts: WeightedTokens, videos: FramesOutside) -> Table:
    rows, words, frames, columns = *texts.mask.shape, *videos.weights.shape
    products = texts.tokens.flatten(0, 1) @ videos.tokens.flatten(0, 1).T
    return products.view(rows, words, frames, columns)


def _without_padding(cosines: Table, videos: FramesOutside) -> Table:
    return cosines if videos.padding is None else cosines.masked_fill(videos.padding, -torch.inf)
