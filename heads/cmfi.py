"""CMFI, equation 11: what the sound of a video says to the sentence."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos


class CMFI(nn.Module):
    """Cosine of the sentence with a linear map of the sound.

    A video without sound takes a learned vector in place of L(LN(x_a)). A plain 0 would put all
    silent videos before or behind all others, whichever way the other cosines happen to lie.

    Args:
        audio_dim: width of the sound's embedding; the paper's is C, PANN's Cnn14 gives 2048.
        dim: width C of the sentences.
    """

    def __init__(self, audio_dim: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(audio_dim)
        self.linear = nn.Linear(audio_dim, dim)
        # Not zeros: a vector without length has no direction, and its cosine no gradient.
        self.null = nn.Parameter(torch.randn(dim) / math.sqrt(dim))

    def forward(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return s(a, t) of equation 11 for every text and every video."""
        return normalize(texts.sentence, dim=-1) @ self.embed(videos).T  # (11)

    def embed(self, videos: Videos) -> Float[Tensor, "video dim"]:
        """Return L(LN(x_a)) at unit length, which depends on the videos alone."""
        heard = videos.audio_mask[:, None]
        x_a = videos.audio.masked_fill(~heard, 0)  # padding may hold anything, even NaN
        return normalize(self.linear(self.norm(x_a)).where(heard, self.null), dim=-1)  # (11)
