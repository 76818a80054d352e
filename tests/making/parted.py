"""What goes wrong in one of several processes, for tests that look at what the others do then."""

import os
import signal
import sys
import time
from contextlib import suppress

import torch

from vidret.data.errors import DamagedError, VidretError
from vidret.pipelines.training.processes import (
    add_up,
    agree,
    by_first,
    deal,
    is_first,
    joined,
    place,
    share,
)

SAYS = "process {} says: {}\n"


def main() -> None:
    """Run one of the functions below by its name, and talk and exit as the program would."""
    try:
        with joined("cpu"):
            WAYS[sys.argv[1]]()
    except VidretError as error:
        sys.stderr.write(SAYS.format(os.environ["RANK"], error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write(SAYS.format(os.environ["RANK"], "Stopped."))
        sys.exit(130)


def all_refuse() -> None:
    """The same error everywhere, as of a loss that is not finite."""
    raise DamagedError("the loss is nan")


def second_refuses() -> None:
    """An error of one process, while the others wait for what it would send."""
    if place().rank == 1:
        raise DamagedError("a video cannot be read")
    add_up(torch.zeros(1))


def last_is_killed() -> None:
    """A process that the kernel takes, while the others wait for what it would send."""
    if place().rank == place().size - 1:
        os.kill(os.getpid(), signal.SIGKILL)
    add_up(torch.zeros(1))


def all_are_interrupted() -> None:
    """Ctrl-C, which a terminal sends to all."""
    with suppress(BrokenPipeError):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
    for _ in range(600):  # the system may give the signal to another thread than this one
        time.sleep(0.1)


def work() -> None:
    """What is shared, and what only one does."""
    rows = share(torch.arange(5))
    dealt = list(deal("abcde"))
    total = torch.tensor([float(place().rank + 1)])
    add_up(total)
    written: list[str] = []
    by_first(lambda: written.append("run.json"))
    found = agree({"R@1": float(place().rank)})
    told = [rows.tolist(), dealt, total.item(), written, found, is_first()]
    sys.stdout.write(f"{told}\n")


WAYS = {one.__name__: one for one in (all_refuse, second_refuses, last_is_killed, work)}
WAYS["all_are_interrupted"] = all_are_interrupted

if __name__ == "__main__":
    main()
