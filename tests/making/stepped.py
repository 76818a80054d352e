"""One step of `making.encoded`, alone or in several processes, for tests that compare them."""

from contextlib import nullcontext
from functools import partial

import torch
from making.encoded import gradients, loss_with, make_head, make_split
from torch import Tensor

from vidret.pipelines.training.processes import share_gradients
from vidret.pipelines.training.stepping import backward_in_parts

EVERYTHING = (("sentence", "words"), ("frames", "audio"))
WAYS = {  # what is live, and how many at once
    "all in one part": (EVERYTHING, 0),
    "all in parts": (EVERYTHING, 2),
    "texts alone": ((("sentence", "words"), ()), 0),
    "sound in parts": (((), ("audio",)), 1),
    "nothing": (((), ()), 0),
}
SIZES = (2, 5, 12)


def step_alone(way: str, size: int) -> dict[str, Tensor]:
    """Loss and gradients of one graph over a whole batch."""
    live, _ = WAYS[way]
    split, head, rows = make_split(*live), make_head(), _rows(size)
    loss = loss_with(head, *split.features(rows), split.cached.owners[rows])
    loss.backward()
    return _found(loss, gradients(head, split.networks))


def step_together() -> dict[str, dict[str, Tensor]]:
    """The same by this process and the others, for each way and each size."""
    return {f"{way} {size}": _step(way, size) for way in WAYS for size in SIZES}


def _step(way: str, size: int) -> dict[str, Tensor]:
    live, chunk = WAYS[way]
    split, head = make_split(*live), make_head()
    loss = backward_in_parts(
        split, _rows(size), partial(loss_with, head), chunk=chunk, computing=nullcontext
    )
    weights = [*head.parameters(), *split.networks.parameters()]
    share_gradients(weights, alike=head.parameters())
    return _found(loss, gradients(head, split.networks))


def _rows(size: int) -> Tensor:
    return torch.arange(size) * 3 % 14  # some of one video


def _found(loss: Tensor, found: dict[str, Tensor | None]) -> dict[str, Tensor]:
    reached = {name: one for name, one in found.items() if one is not None}
    return {"loss": loss.detach(), **reached}
