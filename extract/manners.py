"""What the workers of a cluster that is not ours do before their first task."""

from pathlib import Path

from distributed import Worker, WorkerPlugin

from vidret.extract.backends import quiet_home


class QuietHome(WorkerPlugin):
    """Keep libraries out of HOME; workers that join later get it too."""

    name = "vidret-quiet-home"
    idempotent = True

    def __init__(self, tools: Path | None) -> None:
        self.tools = tools

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 - dask's signature
        """Dask calls it once in every worker."""
        quiet_home(self.tools)
