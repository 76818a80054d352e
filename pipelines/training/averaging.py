"""A running average of the weights: steadier than the weights themselves, and measured for them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Averages:
    """The average of some weights over the steps of a stage; nothing else of a model is averaged.

    The first steps count for more, or the average of a short stage would hardly leave its start:
    step n keeps at most (1 + n) / (10 + n) of what was there.

    Args:
        weights: that learn; their average starts where they are.
        decay: the share of the average that a step keeps, below 1.
    """

    def __init__(self, weights: Iterable[nn.Parameter], decay: float) -> None:
        self.weights = list(weights)
        self.decay = decay
        self.values = [weight.detach().clone() for weight in self.weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, the first of which is 1."""
        new = 1 - min(self.decay, (1 + step) / (10 + step))
        for value, weight in zip(self.values, self.weights, strict=True):
            value.lerp_(weight, new)

    @torch.no_grad()
    def load(self, values: Sequence[Tensor]) -> None:
        """Go on with averages that were saved."""
        for value, saved in zip(self.values, values, strict=True):
            value.copy_(saved)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The averages stand where the weights do, until the block ends."""
        own = [weight.detach().clone() for weight in self.weights]
        self._set(self.values)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for weight, value in zip(self.weights, values, strict=True):
            weight.copy_(value)
