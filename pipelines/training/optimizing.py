"""How weights learn: which of them decay and to what, and how the learning rate rises and falls."""

import math
from typing import Any

import torch
from torch import Tensor, nn

# What holds weights that decay.
MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.MultiheadAttention, nn.LSTM)
START, ZERO = "start", "zero"

Groups = list[dict[str, Any]]


def weight_groups(module: nn.Module, *, lr: float, weight_decay: float) -> Groups:
    """What learns in a module: matrices decay; norms, biases, embeddings and stand-ins do not."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for part in module.modules():
        for weight in part.parameters(recurse=False):
            is_matrix = isinstance(part, MATRICES) and weight.ndim > 1
            if weight.requires_grad:
                (matrices if is_matrix else others).append(weight)
    return [
        {"params": matrices, "lr": lr, "weight_decay": weight_decay},
        {"params": others, "lr": lr, "weight_decay": 0.0},
    ]


def learning_weights(groups: Groups) -> list[nn.Parameter]:
    """Every weight of some groups, in their order."""
    return [weight for group in groups for weight in group["params"]]


class AdamW(torch.optim.AdamW):
    """AdamW whose decay pulls to where the weights started, or to zero as is usual.

    A head that begins as CLIP loses that beginning to a decay to zero: at a rate of 1e-3 and a
    decay of 0.2 an identity matrix shrinks by a fifth in 2,000 steps. The pull to the start
    (L2-SP, Li et al. 2018) is taken apart from the gradient, as AdamW's own decay is.

    Args:
        groups: what learns, each with its rate and its decay.
        lr: of groups without a rate.
        decay_to: `start` or `zero`. The start is where the weights stand now.
    """

    def __init__(self, groups: Groups, *, lr: float, decay_to: str) -> None:
        pull = decay_to == START
        super().__init__(
            [
                group | {"weight_decay": 0.0, "pull": group["weight_decay"]} if pull else group
                for group in groups
            ],
            lr=lr,
        )
        self.starts = {
            weight: weight.detach().clone()
            for group in self.param_groups
            for weight in group["params"]
            if group.get("pull")
        }

    @torch.no_grad()
    def pull_to_start(self) -> None:
        """Decay by one step; call it right before `step`, as AdamW decays before it moves."""
        for group in self.param_groups:
            if not group.get("pull"):
                continue
            for weight in group["params"]:
                # The difference first: a weight that has not moved then stays to the bit.
                weight.sub_(weight - self.starts[weight], alpha=group["lr"] * group["pull"])


def rate_schedule(
    optimizer: torch.optim.Optimizer, *, kind: str, steps: int, warm_up: float
) -> torch.optim.lr_scheduler.LRScheduler:
    """What sets the learning rate of each step: up over the first steps, then down to zero.

    Args:
        optimizer: whose groups have their highest rates.
        kind: `cosine`, `linear` or `constant`, after the rise.
        steps: of the whole stage.
        warm_up: the share of them in which the rate rises.
    """
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: share_of_rate(step, kind=kind, steps=steps, warm_up=warm_up)
    )


def share_of_rate(step: int, *, kind: str, steps: int, warm_up: float) -> float:
    """The share of the highest learning rate that a step has."""
    rising = max(1, round(warm_up * steps)) if warm_up else 0
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    if kind == "constant":
        return 1.0
    return 1 - done if kind == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def limit_gradient(weights: list[nn.Parameter], largest: float) -> Tensor:
    """Scale gradients down to a norm of `largest`, unless that is 0; return the norm they had."""
    if largest:
        return nn.utils.clip_grad_norm_(weights, largest)
    found = [weight.grad for weight in weights if weight.grad is not None]
    return nn.utils.get_total_norm(found)
