"""One fit in several processes, as torchrun starts them: what each does, and what they share.

Everything here does nothing in a fit of one process, so nobody has to ask which it is.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic, sleep
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from vidret.data.errors import ConfigError, MissingError, VidretError
from vidret.pipelines.launched import launched
from vidret.pipelines.program import INTERRUPTED

PATIENCE = timedelta(days=30)  # somebody may measure or decode for hours while the others wait
TOLD = "vidret/told"
FAREWELL = 3.0  # seconds

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which of how many processes this one is."""

    rank: int
    size: int


def place() -> Place:
    """Of this process among those that fit together; the first of one where it fits alone."""
    if not dist.is_initialized():
        return Place(rank=0, size=1)
    return Place(rank=dist.get_rank(), size=dist.get_world_size())


def is_first() -> bool:
    """Whether this process is the one that writes and talks."""
    return place().rank == 0


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Fit together with the other processes that torchrun started, if it did.

    Of an error that ends them all the first to meet it tells; the others end without a word.

    Args:
        device: the setting; each process takes the GPU of its own number on its machine.

    Raises:
        ConfigError: the setting names one GPU for all.
        MissingError: there are fewer GPUs than processes, or the others cannot be reached.
    """
    if launched().size == 1:
        yield
        return
    is_told = _join(_backend(device))
    talk = logging.getLogger("vidret")
    if not is_first():
        talk.setLevel(logging.CRITICAL)  # the first one says it all
    try:
        yield
        wait_for_all()
    except (VidretError, KeyboardInterrupt) as error:
        if is_told():
            code = error.exit_code if isinstance(error, VidretError) else INTERRUPTED
            raise SystemExit(code) from error
        raise
    dist.destroy_process_group()


def share(rows: Tensor) -> Tensor:
    """This process's part of some rows: as many as the others have, or one less."""
    here = place()
    return rows.tensor_split(here.size)[here.rank]


def deal(parts: Iterable[T]) -> Iterator[T]:
    """This process's of some parts, dealt out in turn."""
    here = place()
    return (part for number, part in enumerate(parts) if number % here.size == here.rank)


def add_up(*tensors: Tensor) -> None:
    """Give every process the sum over all of them, in place."""
    if place().size > 1:
        with _naming_the_lost():
            for tensor in tensors:
                dist.all_reduce(tensor)


def share_gradients(weights: Iterable[nn.Parameter], *, alike: Iterable[nn.Parameter]) -> None:
    """Give every process the gradients of the whole batch, to the same bit.

    By hand and not by DistributedDataParallel: a step of several parts goes backward several times.

    Args:
        weights: all that learn. The gradient of each is the sum of what the processes found.
        alike: those of them whose whole gradient every process has found already.
    """
    here, weights, known = place(), list(weights), {id(weight) for weight in alike}
    if here.size == 1 or not weights:
        return
    reached = torch.tensor(
        [weight.grad is not None for weight in weights],
        dtype=torch.int32,
        device=weights[0].device,
    )
    with _naming_the_lost():
        dist.all_reduce(reached, dist.ReduceOp.MAX)  # what no process reached stays without one
        for weight, anywhere in zip(weights, reached.tolist(), strict=True):
            if anywhere:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                dist.all_reduce(weight.grad)
                if id(weight) in known:
                    weight.grad /= here.size


def agree(value: T) -> T:
    """What the first process found, for all: on GPUs the last bits may differ."""
    if place().size == 1:
        return value
    values = [value]
    with _naming_the_lost():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def by_first(write: Callable[[], object]) -> None:
    """Let the first process write something, and the others wait until it is there."""
    if is_first():
        write()
    wait_for_all()


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if place().size > 1:
        with _naming_the_lost():
            dist.barrier()


def _backend(device: str) -> str:
    """What the processes talk through; each of them takes its own GPU where there are some."""
    here, found = launched(), torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "gloo"
    if ":" in device:
        raise ConfigError(
            f"device is {device}, and {here.size} processes would share that GPU: give cuda, and "
            "each takes its own"
        )
    if here.local >= found:
        raise MissingError(
            f"{here.on_machine} processes were started here, and torch finds {found} GPUs: give "
            f"torchrun --nproc-per-node {found}, or --device cpu"
        )
    torch.cuda.set_device(here.local)
    return "nccl"


def _join(backend: str) -> Callable[[], bool]:
    """Meet the others; what comes back says whether one of them has told already why all end."""
    try:
        store, rank, size = next(rendezvous("env://"))
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise MissingError(
            f"the {launched().size} processes cannot reach each other at "
            f"{os.environ.get('MASTER_ADDR')}, port {os.environ.get('MASTER_PORT')} "
            f"({_first_line(error)}): start all of them with torchrun, as docs/finetuning.md shows"
        ) from error

    def is_told() -> bool:
        try:
            before = store.add(TOLD, 1)
            end = monotonic() + FAREWELL
            while rank == 0 and store.add(TOLD, 0) < size and monotonic() < end:
                sleep(0.05)  # without torchrun's agent it is this process that keeps the count
        except RuntimeError:  # and now it is gone
            return False
        return before > 1

    return is_told


@contextmanager
def _naming_the_lost() -> Iterator[None]:
    """Say in a sentence that another process is gone."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # torch names no class for it
        raise MissingError(
            f"another of the {place().size} processes of this fit is gone ({_first_line(error)}): "
            "the epochs before are kept, and the same command goes on after them"
        ) from error


def _first_line(error: BaseException) -> str:
    """The first sentence of an error, without the place in somebody's source."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line.rpartition("] ")[2].partition(". ")[0] if line.startswith("[") else line
