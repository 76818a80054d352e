"""Gradient checkpointing: blocks that forget what they computed, and compute it again."""

from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from vidret.extract.models.towers import Tower


def recompute_blocks(tower: Tower) -> None:
    """Keep what enters each block of an encoder for the backward pass, and nothing from inside.

    Where no gradients are asked for nothing changes. By hand for all alike: open_clip's own switch
    does nothing for its ResNets, and Cnn14 has none.
    """
    for block in tower.blocks:
        for module in block:
            _recompute(module)


def _recompute(module: nn.Module) -> None:
    forward = module.forward

    @wraps(forward)
    def recomputing(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever a block takes
        if not torch.is_grad_enabled():
            return forward(*args, **options)
        # Encoders draw no random numbers, so there is no state of a generator to bring back.
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **options)

    module.forward = recomputing
