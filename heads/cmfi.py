"""CMFI, equation 11: what the sound of a video says to the sentence."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.heads.options import MissingAudio


class CMFI(nn.Module):
    """Cosine of the sentence with a linear map of the sound.

    A video without sound needs a stand-in. A plain 0 would put all silent videos before or behind
    all others, whichever way the other cosines happen to lie.

    Args:
        audio_dim: width of the sound's embedding; the paper's is C, PANN's Cnn14 gives 2048.
        dim: width C of the sentences.
        missing: `learned` is a vector of its own, `text-mean` gives each text the mean over the
            videos that have sound, of the batch in training and of all that are scored later.
    """

    null: nn.Parameter | None

    def __init__(self, audio_dim: int, dim: int, *, missing: MissingAudio = "learned") -> None:
        super().__init__()
        self.norm = nn.LayerNorm(audio_dim)
        self.linear = nn.Linear(audio_dim, dim)
        # Not zeros: a vector without length has no direction, and its cosine no gradient.
        learned = nn.Parameter(torch.randn(dim) / math.sqrt(dim)) if missing == "learned" else None
        self.register_parameter("null", learned)

    def forward(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video"]:
        """Return s(a, t) of equation 11 for every text and every video."""
        return normalize(texts.sentence, dim=-1) @ self.embed(videos).T  # (11)

    def embed(
        self, videos: Videos, stand_in: Float[Tensor, " dim"] | None = None
    ) -> Float[Tensor, "video dim"]:
        """Return L(LN(x_a)) at unit length, which depends on the videos alone.

        Args:
            videos: some of those that compete.
            stand_in: for those without sound; None makes it of these videos.
        """
        heard = videos.audio_mask[:, None]
        x_a = videos.audio.masked_fill(~heard, 0)  # padding may hold anything, even NaN
        y_a = normalize(self.linear(self.norm(x_a)), dim=-1)  # (11)
        if stand_in is None:
            stand_in = self._stand_in((y_a * heard).sum(0), heard.sum())
        return y_a.where(heard, stand_in)

    def stand_in(self, videos: Videos, *, at_once: int = 4096) -> Float[Tensor, " dim"]:
        """Return what videos without sound get where all of `videos` compete."""
        total, heard = videos.audio.new_zeros(self.linear.out_features), videos.audio_mask.sum()
        if self.null is None:
            for start in range(0, len(videos), at_once):
                some = videos[start : start + at_once]
                total += (self.embed(some, total) * some.audio_mask[:, None]).sum(0)
        return self._stand_in(total, heard)

    def _stand_in(
        self, total: Float[Tensor, " dim"], heard: Int[Tensor, ""]
    ) -> Float[Tensor, " dim"]:
        """The learned vector at unit length, or the mean of what is heard; its length counts."""
        return total / heard.clamp_min(1) if self.null is None else normalize(self.null, dim=-1)
