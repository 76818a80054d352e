"""InfoNCE, equations 12 to 14, and what others have added to it."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from vidret.heads.teaching import Teacher

SameVideo = Literal["mask", "positive", "negative"]
Directions = Literal["mean", "sum"]


def info_nce(
    logits: Float[Tensor, "pair pair"],
    video_numbers: Int[Tensor, " pair"],
    *,
    same_video: SameVideo = "mask",
    directions: Directions = "mean",
    dual_softmax: float = 0.0,
    teacher: Teacher | None = None,
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
        dual_softmax: CAMoE's prior: each logit is multiplied by what the other direction's softmax
            gives it, of logits times this number; 0 multiplies nothing.
        teacher: decides a part of the target.
    """
    together = video_numbers[:, None] == video_numbers
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    left_out = together & ~own if same_video == "mask" else torch.zeros_like(own)
    by_text, by_video = logits, logits.T
    if dual_softmax:
        by_text, by_video = (_with_prior(one, left_out, dual_softmax) for one in (logits, logits.T))
    if same_video == "mask":
        by_text, by_video = (one.masked_fill(left_out, -torch.inf) for one in (by_text, by_video))
    if teacher is not None:
        right = together if same_video == "positive" else own
        text_to_video = _taught(by_text, right, left_out, teacher.of_texts, teacher)
        video_to_text = _taught(by_video, right, left_out, teacher.of_videos, teacher)
    elif same_video == "positive":
        text_to_video, video_to_text = _spread(by_text, together), _spread(by_video, together)
    else:
        numbers = torch.arange(len(logits), device=logits.device)
        text_to_video = cross_entropy(by_text, numbers)  # (13)
        video_to_text = cross_entropy(by_video, numbers)  # (12)
    both = text_to_video + video_to_text
    return both if directions == "sum" else both / 2  # (14)


def _spread(
    logits: Float[Tensor, "query item"], right: Bool[Tensor, "query item"]
) -> Float[Tensor, ""]:
    """Cross entropy with a target that all right items of a query share alike."""
    return -(log_softmax(logits, 1) * right / right.sum(1, keepdim=True)).sum(1).mean()


def _with_prior(
    logits: Float[Tensor, "query item"], left_out: Bool[Tensor, "query item"], scale: float
) -> Float[Tensor, "query item"]:
    """Logits times the share that each query has of its item, times how many queries there are.

    A query that is the best of all for an item gains, one of many alike keeps what it has. Without
    any difference between the queries the factor is 1.
    """
    shares = (scale * logits).masked_fill(left_out, -torch.inf).softmax(0)
    return logits * shares * (~left_out).sum(0)


def _taught(
    logits: Float[Tensor, "query item"],
    right: Bool[Tensor, "query item"],
    left_out: Bool[Tensor, "query item"],
    likeness: Float[Tensor, "query item"],
    teacher: Teacher,
) -> Float[Tensor, ""]:
    """Cross entropy with a target of which a teacher decides a share."""
    soft = (teacher.scale * likeness).masked_fill(left_out, -torch.inf).softmax(1)
    hard = right.to(soft.dtype) / right.sum(1, keepdim=True)
    target = (1 - teacher.share) * hard + teacher.share * soft
    said = log_softmax(logits, 1).masked_fill(left_out, 0)  # minus infinity times nothing
    return -(said * target).sum(1).mean()
