"""Several processes that fit together, as torchrun would start them, and what each found."""

import os
import socket
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from vidret.pipelines.training.processes import joined

PATIENCE = 120.0  # seconds, on a busy machine


def run_together(
    size: int, work: Callable[..., Any], folder: Path, *arguments: object
) -> list[Any]:
    """Call a function of a module in so many processes at once; what each returns, in order."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    context = get_context("spawn")
    started = []
    for rank in range(size):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
        path = folder / f"{work.__name__}-{rank}-of-{size}.pt"
        process = context.Process(target=_run, args=(address | place, work, arguments, path))
        process.start()
        started.append((process, path))
    for process, _ in started:
        process.join(PATIENCE)
        assert process.exitcode == 0, f"a process ended with {process.exitcode}"
    return [torch.load(path, weights_only=True) for _, path in started]


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _run(
    environment: dict[str, str], work: Callable[..., Any], arguments: tuple[Any, ...], path: Path
) -> None:
    os.environ.update(environment)
    torch.set_num_threads(1)
    with joined("cpu"):
        torch.save(work(*arguments), path)
