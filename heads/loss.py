"""InfoNCE, equations 12 to 14."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


def info_nce(
    logits: Float[Tensor, "pair pair"], video_numbers: Int[Tensor, " pair"]
) -> Float[Tensor, ""]:
    """Return the mean of the text-to-video and the video-to-text loss.

    The paper writes their sum, which is twice as much; the mean is what CLIP and those after it
    take, so that learning rates and clipped gradients compare.

    Args:
        logits: scaled similarities of a batch of (text, video) pairs, texts in rows; the diagonal
            holds the pairs that belong together.
        video_numbers: equal where two pairs have the same video. Such pairs off the diagonal belong
            together as well, so they are left out of the sums rather than pushed apart.
    """
    same_video = video_numbers[:, None] == video_numbers
    same_video.fill_diagonal_(False)  # noqa: FBT003 (torch's own signature)
    logits = logits.masked_fill(same_video, -torch.inf)
    own = torch.arange(len(logits), device=logits.device)
    text_to_video = cross_entropy(logits, own)  # (13)
    video_to_text = cross_entropy(logits.T, own)  # (12)
    return (text_to_video + video_to_text) / 2  # (14)
