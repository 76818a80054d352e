"""The program `vidret`, so small that Ctrl-C finds somebody at home from the first moment."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from vidret.pipelines.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("Stopped before anything was begun.\n")
        sys.exit(INTERRUPTED)
    run()


if __name__ == "__main__":  # torchrun -m vidret.pipelines.program
    main()
