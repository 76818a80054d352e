"""How HCMI learns: contrast on every level, denoised labels, a margin. A reconstruction.

The abstract and the authors say what these do, and not how; the formulas are ours, docs/hcmi.md has
them. Nothing is kept from one batch to the next, so a run that goes on has nothing to restore.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import log_softmax, normalize

from vidret.data.batches import Texts, Videos
from vidret.heads.frames import inert_frames
from vidret.heads.hierarchy import HierarchyOptions
from vidret.heads.loss import Directions, SameVideo
from vidret.heads.retriever import Retriever


@runtime_checkable
class Hierarchical(Protocol):
    """A head whose similarity is the mean of levels that learn one by one."""

    levels: tuple[str, ...]
    options: HierarchyOptions


def objective_of(retriever: Retriever) -> HierarchyOptions | None:
    """What the loss of this module asks for; None where a retriever learns by `info_nce`.

    That is so of every other head, and of the second stage, which trains the sound.
    """
    head: object = retriever.video_head
    if isinstance(head, Hierarchical) and retriever.audio_head is None:
        return head.options
    return None


def level_similarities(
    retriever: Retriever, texts: Texts, videos: Videos
) -> dict[str, Float[Tensor, "text video"]]:
    """Return the similarity of each level by itself; their mean is the head's."""
    parts = retriever.parts(texts, videos)
    return {name: len(parts) * part for name, part in parts.items()}


def hierarchical_loss(
    levels: dict[str, Float[Tensor, "pair pair"]],
    scale: Float[Tensor, ""],
    videos: Videos,
    video_numbers: Int[Tensor, " pair"],
    options: HierarchyOptions,
    *,
    same_video: SameVideo = "mask",
    directions: Directions = "mean",
) -> Float[Tensor, ""]:
    """Return the loss of a batch of (text, video) pairs that belong together.

    Args:
        levels: the similarity of each level, texts in rows.
        scale: the temperature's, exp(tau).
        videos: of the pairs, row by row.
        video_numbers: equal where two pairs have the same video.
        options: what the loss asks for.
        same_video: what becomes of two such pairs off the diagonal, as in `info_nce`.
        directions: `sum` is twice the `mean`.
    """
    together = video_numbers[:, None] == video_numbers
    own = torch.eye(len(together), dtype=torch.bool, device=together.device)
    right = together if same_video == "positive" else own
    if options.hcmi_denoise:
        right = right | look_alikes(videos, video_numbers, options.hcmi_positives)
    left_out = together & ~own if same_video == "mask" else torch.zeros_like(own)
    similarity = torch.stack(list(levels.values())).mean(0)
    contrasted = levels.values() if options.hcmi_contrast == "levels" else [similarity]
    both = torch.stack([_contrast(scale * one, right, left_out) for one in contrasted]).sum()
    if options.hcmi_margin_weight:
        short = margin_shortfall(similarity, ~(right | left_out), options.hcmi_margin)
        both = both + 2 * options.hcmi_margin_weight * short
    return both if directions == "sum" else both / 2


@torch.no_grad()
def look_alikes(
    videos: Videos, video_numbers: Int[Tensor, " pair"], most: int
) -> Bool[Tensor, "pair pair"]:
    """Return for each pair the other videos that are probably right answers, too.

    A video is cut into stretches of two frames, and each of its two halves takes one of them. What
    is more like the whole video than its halves are like one another may show the same. Where that
    is so of many, the halves are little alike for another reason, such as cuts, and say nothing.

    Args:
        videos: of the pairs.
        video_numbers: equal where two pairs have the same video, which is none that is found.
        most: for one pair; where more would be found, none are.
    """
    unit, mask = normalize(inert_frames(videos), dim=-1), videos.frame_mask
    odd = mask.cumsum(-1) % 2 == 1
    whole, first, second = (_direction(unit, mask & part) for part in (mask, odd, ~odd))
    own = (first * second).sum(-1).masked_fill(mask.sum(-1) < 2, torch.inf)
    alike = whole @ whole.T
    found = (alike > own[:, None]) & (video_numbers[:, None] != video_numbers)
    return found & (found.sum(1, keepdim=True) <= most)


def margin_shortfall(
    similarity: Float[Tensor, "pair pair"], wrong: Bool[Tensor, "pair pair"], margin: float
) -> Float[Tensor, ""]:
    """Return by how much right pairs miss a margin over the hardest wrong ones, on average.

    For every text its most similar wrong video counts, and for every video its most similar wrong
    text; one that is behind by the margin or more costs nothing, and neither does one without any.
    """
    right, rivals = similarity.diagonal(), similarity.masked_fill(~wrong, -torch.inf)
    by_text = (margin + rivals.amax(1) - right).clamp_min(0)
    by_video = (margin + rivals.amax(0) - right).clamp_min(0)
    return (by_text + by_video).mean()


def _contrast(
    logits: Float[Tensor, "pair pair"],
    right: Bool[Tensor, "pair pair"],
    left_out: Bool[Tensor, "pair pair"],
) -> Float[Tensor, ""]:
    """Cross entropy of texts and of videos with targets that all right pairs share alike."""
    logits = logits.masked_fill(left_out, -torch.inf)
    losses = []
    for scores, hits in ((logits, right), (logits.T, right.T)):
        said = log_softmax(scores, 1).where(hits, 0).sum(1)
        losses.append(-(said / hits.sum(1)).mean())
    return losses[0] + losses[1]


def _direction(
    unit: Float[Tensor, "video frame dim"], mask: Bool[Tensor, "video frame"]
) -> Float[Tensor, "video dim"]:
    return normalize((unit * mask[..., None]).sum(1), dim=-1)
