"""Words or frames at unit length with weights of their own, as token-wise heads compare them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from vidret.heads.options import HeadOptions
from vidret.heads.pooling import silence


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedTokens:
    """Words of texts or frames of videos at unit length, and how much each counts."""

    tokens: Float[Tensor, "row token dim"]
    weights: Float[Tensor, "row token"]
    mask: Bool[Tensor, "row token"]


class TokenWeights(nn.Module):
    """Two layers over a token, and a softmax over those of its caption or video.

    Args:
        dim: width C.
        options: the hidden layer is as wide as C where `hidden` is not said. Where a head starts as
            CLIP the second layer is silent, and all tokens count the same.
    """

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.first = nn.Linear(dim, options.hidden or dim)
        self.second = nn.Linear(self.first.out_features, 1)
        if options.start == "clip":
            silence(self.second)

    def forward(
        self, tokens: Float[Tensor, "row token dim"], mask: Bool[Tensor, "row token"]
    ) -> WeightedTokens:
        """Return the tokens at unit length with their weights."""
        scores = self.second(self.first(tokens).relu())[..., 0]
        return WeightedTokens(
            tokens=normalize(tokens, dim=-1),
            weights=scores.masked_fill(~mask, -torch.inf).softmax(-1),
            mask=mask,
        )
