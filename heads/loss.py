"""InfoNCE, equations 12 to 14."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

SameVideo = Literal["mask", "positive", "negative"]
Directions = Literal["mean", "sum"]


def info_nce(
    logits: Float[Tensor, "pair pair"],
    video_numbers: Int[Tensor, " pair"],
    *,
    same_video: SameVideo = "mask",
    directions: Directions = "mean",
) -> Float[Tensor, ""]:
    """Return the text-to-video and the video-to-text loss together.

    Args:
        logits: scaled similarities of a batch of (text, video) pairs, texts in rows; the diagonal
            holds the pairs that belong together.
        video_numbers: equal where two pairs have the same video.
        same_video: what becomes of two such pairs off the diagonal, which belong together as well.
            `mask` leaves them out of the sums, `positive` spreads the right answer evenly over
            them, `negative` pushes them apart like any other, as published code does.
        directions: the paper writes the `sum`, which is twice the `mean`; the mean is what CLIP and
            those after it take, so that learning rates and clipped gradients compare.
    """
    together = video_numbers[:, None] == video_numbers
    if same_video == "positive":
        both = _spread(logits, together) + _spread(logits.T, together)  # (13), (12)
    else:
        if same_video == "mask":
            apart = together & ~torch.eye(len(logits), dtype=torch.bool, device=logits.device)
            logits = logits.masked_fill(apart, -torch.inf)
        own = torch.arange(len(logits), device=logits.device)
        both = cross_entropy(logits, own) + cross_entropy(logits.T, own)  # (13), (12)
    return both if directions == "sum" else both / 2  # (14)


def _spread(
    logits: Float[Tensor, "query item"], right: Bool[Tensor, "query item"]
) -> Float[Tensor, ""]:
    """Cross entropy with a target that all right items of a query share alike."""
    return -(log_softmax(logits, 1) * right / right.sum(1, keepdim=True)).sum(1).mean()
