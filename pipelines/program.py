"""The program `vidret`, so small that Ctrl-C finds somebody at home from the first moment."""

import os
import sys
from typing import TextIO

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    sys.stdout = sys.stdout or _nowhere()  # closed by who started us: a file would take its place
    sys.stderr = sys.stderr or _nowhere()
    try:
        from vidret.pipelines.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("Stopped before anything was begun.\n")
        sys.exit(INTERRUPTED)
    run()


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - open until the end


if __name__ == "__main__":  # torchrun -m vidret.pipelines.program
    main()
