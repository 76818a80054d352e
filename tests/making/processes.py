"""vidret as users meet it: a process of its own, started, watched, stopped and killed."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("vidret")
PATIENCE = 120.0  # seconds, on a busy machine
FOREIGN = ("VIDRET_", "XDG_", "DASK_", "MPLCONFIGDIR", "NUMBA_", "HF_")


def clean_environment(**changes: str) -> dict[str, str]:
    """This environment without what would change what vidret does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"} | changes


def run_vidret(
    *arguments: str | Path, cwd: Path, env: dict[str, str] | None = None, **options
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    return subprocess.run(
        [PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=env or clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        **options,
    )


def succeed(*arguments: str | Path, cwd: Path, **options) -> str:
    """Run a command that has to succeed, and return what it printed."""
    result = run_vidret(*arguments, cwd=cwd, **options)
    assert result.returncode == 0, result.stderr
    return result.stdout


@contextmanager
def started(
    *arguments: str | Path, cwd: Path, leave_orphans: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A command at work in a process group of its own, as a shell would start it.

    Args:
        arguments: of vidret.
        cwd: where it works.
        leave_orphans: end the command alone after the block, and not the workers it may leave.
    """
    with subprocess.Popen(
        [PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if leave_orphans:
                process.kill()
            else:
                kill_group(process)


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for a state on disk that a running command passes through."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert process.poll() is None, f"it ended too early: {process.communicate()}"
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.005)


def kill_group(process: subprocess.Popen[str]) -> None:
    """What the kernel does to all of a machine; a group that is gone already is fine."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_for_orphans(group: int) -> None:
    """Wait until nothing is left of a process group."""
    end = time.monotonic() + PATIENCE
    while _is_alive(group):
        assert time.monotonic() < end, f"processes of group {group} live on"
        time.sleep(0.01)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Press Ctrl-C, as a terminal does: all processes of the group hear it."""
    os.killpg(process.pid, signal.SIGINT)
    printed, talk = process.communicate(timeout=PATIENCE)
    return process.returncode, printed, talk


def continuing_command(talk: str) -> list[str]:
    """The arguments of the command that an interrupted one names in its last line."""
    last = talk.strip().splitlines()[-1]
    assert last.startswith("Stopped. What is done is kept. Continue with: vidret "), talk
    return shlex.split(last.partition("Continue with: ")[2])[1:]
