"""Watching what torch allocates."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass
class Largest:
    """The most numbers that one tensor had."""

    numel: int = 0


@dataclass
class Peak:
    """The most bytes that torch held at one time, over what it held at the start."""

    bytes: int = 0


class _Watch(TorchDispatchMode):
    def __init__(self, largest: Largest) -> None:
        super().__init__()
        self.largest = largest

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                held = leaf.untyped_storage().nbytes() // leaf.element_size()
                self.largest.numel = max(self.largest.numel, held)
        return result


@pytest.fixture
def largest_tensor() -> Callable[[], AbstractContextManager[Largest]]:
    """A context that notes how large any tensor gets that torch makes inside."""

    @contextmanager
    def watch() -> Iterator[Largest]:
        largest = Largest()
        with _Watch(largest):
            yield largest

    return watch


@pytest.fixture
def memory_peak() -> Callable[[], AbstractContextManager[Peak]]:
    """A context that notes afterwards how much memory torch's tensors took inside at most."""

    @contextmanager
    def watch() -> Iterator[Peak]:
        peak = Peak()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            yield peak
        held = 0
        for event in recorded.profiler.kineto_results.events():
            if event.name() == "[memory]":
                held += event.nbytes()
                peak.bytes = max(peak.bytes, held)

    return watch
