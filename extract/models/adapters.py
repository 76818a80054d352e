"""Low-rank adapters (LoRA, Hu et al. 2021): a matrix stays, and a small product is added to it.

The sum takes the matrix's place as a parametrization of torch, so it works below everything that
reads the matrix, torch's own attention with its three matrices in one among them. Nothing moves
before the first step, and what is written in the end is the sum that was computed all along.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vidret.data.errors import ConfigError

DOWN, UP = ".lora_down", ".lora_up"  # how the two factors of a matrix are called in a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A matrix of a network, by the module that holds it, and what is added to it."""

    name: str
    owner: nn.Module
    attribute: str
    factors: "LowRank"


class LowRank(nn.Module):
    """Adds a product of rank `rank` to a matrix; a convolution counts as a matrix of its patches.

    Args:
        matrix: that it is added to, `(out, in)` or `(out, in, height, width)`.
        rank: columns of the first factor, rows of the second.
        generator: of the second factor; the first begins at zero, so the sum does as well.
    """

    def __init__(self, matrix: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = matrix.shape[0], matrix[0].numel()
        bound = columns**-0.5
        drawn = torch.rand(rank, columns, generator=generator) * 2 * bound - bound
        self.down = nn.Parameter(drawn.to(matrix.device, matrix.dtype))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=matrix.device, dtype=matrix.dtype))

    def forward(self, matrix: Tensor) -> Tensor:
        """The matrix with what was learned."""
        return add_product(matrix, self.up, self.down)


def add_product(matrix: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """A matrix plus a product of two thin ones."""
    with torch.autocast(matrix.device.type, enabled=False):  # what is written is this sum
        return matrix + (up @ down).reshape(matrix.shape)


def add_adapters(
    network: nn.Module, matrices: Collection[nn.Parameter], *, rank: int, seed: int
) -> list[Adapter]:
    """Give some matrices of a network an adapter each, in the order of their names.

    Raises:
        ConfigError: the rank is more than one of them has.
    """
    wanted = set(matrices)
    places = [place for place in _places(network) if place[3] in wanted]
    generator = torch.Generator().manual_seed(seed)
    for name, _, _, matrix in places:
        most = min(matrix.shape[0], matrix[0].numel())
        if rank > most:
            raise ConfigError(f"lora is {rank}, and {name} has rank {most}: give {most} or less")
    adapters = []
    for name, owner, attribute, matrix in places:
        factors = LowRank(matrix, rank, generator)
        parametrize.register_parametrization(owner, attribute, factors)
        adapters.append(Adapter(name=name, owner=owner, attribute=attribute, factors=factors))
    return adapters


def merge_adapters(adapters: Collection[Adapter]) -> None:
    """Put the sums in the place of the matrices, under their old names."""
    for adapter in adapters:
        parametrize.remove_parametrizations(adapter.owner, adapter.attribute)


def merged_state(network: nn.Module, adapters: Collection[Adapter]) -> dict[str, Tensor]:
    """The tensors of a network as they would be if its adapters were merged."""
    state = dict(network.state_dict())
    for adapter in adapters:
        place, _, attribute = adapter.name.rpartition(".")
        inside = (
            f"{place}.parametrizations.{attribute}." if place else f"parametrizations.{attribute}."
        )
        state = {name: one for name, one in state.items() if not name.startswith(inside)}
        state[adapter.name] = getattr(adapter.owner, attribute).detach()
    return state


def factors_of(adapters: Collection[Adapter]) -> dict[str, Tensor]:
    """What was learned, by the names that a file has for it."""
    return {
        f"{adapter.name}{ending}": factor.detach()
        for adapter in adapters
        for ending, factor in ((DOWN, adapter.factors.down), (UP, adapter.factors.up))
    }


def merge_factors(
    tensors: Mapping[str, Tensor], factors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Tensors with what adapters have learned added to them.

    Raises:
        KeyError: there is no tensor of that name.
    """
    merged = dict(tensors)
    for name in (one.removesuffix(UP) for one in factors if one.endswith(UP)):
        matrix = merged[name].float()
        merged[name] = add_product(matrix, factors[f"{name}{UP}"], factors[f"{name}{DOWN}"])
    return merged


def _places(network: nn.Module) -> Iterator[tuple[str, nn.Module, str, nn.Parameter]]:
    """Every weight with its name, the module that holds it, and what it is called there."""
    for prefix, module in network.named_modules():
        for attribute, weight in module.named_parameters(recurse=False):
            yield (f"{prefix}.{attribute}" if prefix else attribute), module, attribute, weight
