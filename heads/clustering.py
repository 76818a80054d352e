"""Which frames make a clip, and which words a phrase: three ways to group tokens.

A group of tokens is a row of shares, which say what of each token goes into it. HCMI's paper says
that correlated frames are adaptively clustered; how is not public. What is here is a
reconstruction: density peaks as HBI clusters tokens (Du et al. 2016, Jin et al. 2023), learned
prototypes, and equal stretches, which adapt to nothing and are the control.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from vidret.heads.hierarchy import Clustering

NEIGHBOURS = 3  # whose distance says how dense it is about a token, as in HBI


class Grouping(nn.Module):
    """Shares of tokens in groups: who belongs where, and who counts for more there.

    Args:
        dim: width C of the tokens.
        most: groups a row may have; one with fewer tokens has fewer groups.
        way: `density`, `soft` or `even`.
        start: `clip` lets every member of a group count the same at first.
    """

    def __init__(self, dim: int, most: int, way: Clustering, *, start: str) -> None:
        super().__init__()
        self.most, self.way = most, way
        self.norm = nn.LayerNorm(dim)
        self.weight = nn.Linear(dim, 1)
        if start == "clip":
            nn.init.zeros_(self.weight.weight)
            nn.init.zeros_(self.weight.bias)
        # Drawn also with `start = clip`: prototypes that begin alike would stay alike.
        prototypes = nn.Parameter(torch.randn(most, dim)) if way == "soft" else None
        self.register_parameter("prototypes", prototypes)

    def forward(
        self, tokens: Float[Tensor, "row token dim"], mask: Bool[Tensor, "row token"]
    ) -> Float[Tensor, "row group token"]:
        """Return shares that sum to 1 over the tokens of a group; a group that is none has 0."""
        normed = self.norm(tokens)
        says = self.weight(normed).squeeze(-1)[:, None]
        if self.prototypes is None:
            groups = GROUPERS[self.way](tokens.detach(), mask, self.most)
        else:
            closeness = normed @ self.prototypes.T / tokens.shape[-1] ** 0.5
            says = says + closeness.log_softmax(-1).mT
            groups = mask[:, None].expand(-1, self.most, -1)
        there = groups.any(-1, keepdim=True)
        shares = says.masked_fill(~groups & there, -torch.inf).softmax(-1)
        return shares.masked_fill(~groups, 0)


def even_groups(
    tokens: Float[Tensor, "row token dim"], mask: Bool[Tensor, "row token"], most: int
) -> Bool[Tensor, "row group token"]:
    """Equal stretches of the tokens in their order, whatever is in them."""
    del tokens
    rank, count = mask.cumsum(-1) - 1, mask.sum(-1, keepdim=True)
    group = rank * count.clamp_max(most) // count
    numbers = torch.arange(min(most, mask.shape[-1]), device=mask.device)
    return (group[:, None] == numbers[:, None]) & mask[:, None]


def density_groups(
    tokens: Float[Tensor, "row token dim"], mask: Bool[Tensor, "row token"], most: int
) -> Bool[Tensor, "row group token"]:
    """Groups about the tokens that are dense and far from denser ones (density peaks).

    No gradient passes. Of equals the earlier token goes first, so that the same tokens always give
    the same groups.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        distances = _distances(tokens)
    density = _density(distances, mask)
    earlier = torch.ones_like(distances, dtype=torch.bool).tril(-1)
    same = density[:, None] == density[..., None]
    denser = (density[:, None] > density[..., None]) | (same & earlier)  # token, then the denser
    nearest = distances.masked_fill(~(denser & mask[:, None]), torch.inf).amin(-1)
    farthest = distances.masked_fill(~mask[:, None], 0).amax(-1)
    peaks = density * nearest.where(nearest.isfinite(), farthest)
    best = peaks.masked_fill(~mask, -1).argsort(dim=-1, descending=True, stable=True)
    return _about(best[:, : min(most, mask.shape[-1])], distances, mask)


def _distances(tokens: Float[Tensor, "row token dim"]) -> Float[Tensor, "row token token"]:
    """Between tokens at unit length, by plain differences: equal tokens have exactly 0."""
    unit = normalize(tokens if tokens.dtype == torch.float64 else tokens.float(), dim=-1)
    return torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")


def _density(
    distances: Float[Tensor, "row token token"], mask: Bool[Tensor, "row token"]
) -> Float[Tensor, "row token"]:
    """High where the nearest neighbours are near: e^-(mean squared distance); alone it is 1."""
    itself = torch.eye(distances.shape[-1], dtype=torch.bool, device=mask.device)
    others = distances.masked_fill(itself | ~mask[:, None], torch.inf).sort(-1).values
    number = (mask.sum(-1) - 1).clamp_max(NEIGHBOURS)[:, None, None]
    counted = torch.arange(others.shape[-1], device=mask.device) < number
    total = others.where(counted, 0).square().sum(-1)
    return (-total / number.squeeze(-1).clamp_min(1)).exp()


def _about(
    centres: Int[Tensor, "row group"],
    distances: Float[Tensor, "row token token"],
    mask: Bool[Tensor, "row token"],
) -> Bool[Tensor, "row group token"]:
    """Each token with the nearest centre, and each centre with itself."""
    numbers = torch.arange(distances.shape[-1], device=mask.device)
    is_one = (centres[..., None] == numbers) & mask[:, None]
    there = is_one.any(-1, keepdim=True)
    to_centre = distances.gather(1, centres[..., None].expand(-1, -1, len(numbers)))
    to_centre = to_centre.masked_fill(~there, torch.inf)
    closest = to_centre == to_centre.amin(1, keepdim=True)
    first = closest & (closest.cumsum(1) == 1)
    return first.where(~is_one.any(1, keepdim=True), is_one) & mask[:, None]


GROUPERS = {"density": density_groups, "even": even_groups}
