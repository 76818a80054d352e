"""What torchrun says of the process that it started, read before torch is imported."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """Which of how many processes this one is.

    Args:
        rank: among all of them.
        size: how many there are.
        local: its number on this machine.
        on_machine: how many there are here.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    on_machine: int = 1


def launched() -> Launched:
    """This process as the environment describes it; alone where nobody started several."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    words = [os.environ.get(name, "") for name in names]
    if not all(word.isdecimal() for word in words) or "MASTER_ADDR" not in os.environ:
        return Launched()
    rank, size, local = map(int, words)
    here = os.environ.get("LOCAL_WORLD_SIZE", "")
    return Launched(
        rank=rank, size=size, local=local, on_machine=int(here) if here.isdecimal() else size
    )


def command_line(arguments: Sequence[str]) -> str:
    """The command that runs these arguments again, in as many processes."""
    here = launched()
    command = shlex.join(["vidret", *arguments])
    if here.size == 1:
        return command
    machines = here.size // here.on_machine
    nodes = f"--nnodes {machines} " if machines > 1 else ""
    return f"torchrun {nodes}--nproc-per-node {here.on_machine} --no-python {command}"
