"""What features as CLIP gave them say of a batch: soft targets for a loss.

A wrong pair of a batch may be half right. Teachers know by how much from the features alone: a
video that looks like the right one, a text that reads like it, or words that find their frames.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, einsum
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.heads.frames import inert_frames
from vidret.heads.words import inert_words

Taught = Literal["videos", "texts", "tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """How alike the pairs of a batch are; no gradient passes.

    Args:
        of_texts: texts in rows, and how right each video is for them.
        of_videos: videos in rows, and how right each text is for them.
        share: of the target that this decides.
        scale: what the likeness is multiplied by before a softmax makes a target of it.
    """

    of_texts: Float[Tensor, "pair pair"]
    of_videos: Float[Tensor, "pair pair"]
    share: float
    scale: float


@torch.no_grad()
def ask_teacher(
    texts: Texts, videos: Videos, *, by: Taught, share: float, scale: float
) -> Teacher | None:
    """Return what a batch's own features say of it; None where nobody asks.

    Args:
        texts: of the pairs, row by row.
        videos: of the pairs.
        by: `videos` and `texts` compare the sides of two pairs with one another, as CLIP2TV is
            reconstructed here; `tokens` compares words with frames, as SPSD does: the mean over
            the words of their best frame, and for videos over the frames of their best word.
        share: as `Teacher` has it; 0 asks nobody.
        scale: likewise.
    """
    if not share:
        return None
    if by == "tokens":
        of_texts, of_videos = _token_likeness(texts, videos)
    else:
        unit = normalize(texts.sentence, dim=-1) if by == "texts" else _means(videos)
        of_texts = of_videos = unit @ unit.T
    return Teacher(of_texts=of_texts.float(), of_videos=of_videos.float(), share=share, scale=scale)


def _means(videos: Videos) -> Float[Tensor, "pair dim"]:
    """The mean of each video's frames, as the untrained head pools them."""
    return normalize(normalize(inert_frames(videos), dim=-1).sum(1), dim=-1)


def _token_likeness(
    texts: Texts, videos: Videos
) -> tuple[Float[Tensor, "pair pair"], Float[Tensor, "pair pair"]]:
    words, word_mask = inert_words(texts, with_end=False)
    cosines = einsum(
        "twc,vnc->tvwn", normalize(words, dim=-1), normalize(inert_frames(videos), dim=-1)
    )
    frame_mask = videos.frame_mask
    best_frames = cosines.masked_fill(~frame_mask[:, None], -torch.inf).amax(-1)
    best_words = cosines.masked_fill(~word_mask[:, None, :, None], -torch.inf).amax(-2)
    by_words = (best_frames * word_mask[:, None]).sum(-1) / word_mask.sum(-1)[:, None]
    by_frames = best_words.where(frame_mask, 0).sum(-1) / frame_mask.sum(-1)
    return by_words, by_frames.T
