"""The command line: parse, call one pipeline, print its report, turn errors into exit codes.

The commands are those of `pipelines/commands/`, and are there once their modules are imported.
"""

import io
import signal
import sys
from types import FrameType

from vidret.pipelines.commands import (  # noqa: F401 - each brings its commands along
    caches,
    configuring,
    extracting,
    finding,
    learning,
    measuring,
    sources,
)
from vidret.pipelines.commands.root import cli


def main() -> None:
    """The program `vidret`; a queue or a container that ends it is answered like Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show
    cli(prog_name="vidret")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
