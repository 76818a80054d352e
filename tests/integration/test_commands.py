"""What every command costs before it works: help and usage errors are there at once."""

import os
import subprocess
import sys

import click
import pytest
from making.processes import clean_environment

from vidret.pipelines.cli import cli

LIMIT = 0.4  # seconds of processor time: a busy machine takes longer by the clock
HEAVY = ("torch", "dask", "distributed", "open_clip", "h5py", "av")
PROGRAM = f"""
import atexit, sys
atexit.register(lambda: print("heavy:", *[name for name in {HEAVY!r} if name in sys.modules]))
from vidret.pipelines.cli import main
main()
"""


def commands(group=cli, path=()):
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


USAGE_ERRORS = [
    ("extrakt",),
    ("extract", "--frame", "3"),
    ("extract", "--frames", "many"),
    ("extract", "--frames", "0"),
    ("extract", "--decoder", "magic"),
    ("extract", "--allow-failures", "200%"),
    ("extract", "-c", "gone.toml"),
    ("extract", "unexpected"),
    ("train-heads", "--epochs", "-1"),
    ("train-heads", "--resume", "a", "--name", "b"),
    ("finetune", "--e2e", "--unfreeze", "vision"),
    ("finetune", "--lora", "8"),
    ("evaluate", "--fail-under", "best"),
    ("ablate", "--seeds", "0,0"),
    ("ablate", "--vary", "epoch=3"),
    ("ablate", "--vary", "epochs=3,-1"),
    ("ablate", "--jobs", "-1"),
    ("ablate", "--out", "table.doc"),
    ("ablate", "--plot", "table.gif"),
    ("report", "--hardest", "21"),
    ("report", "--run", "a", "--against", "a"),
    ("search",),
    ("search", " "),
    ("search", "a dog", "--top", "0"),
    ("search", "a dog", "--since", "yesterday"),
    ("search", "a dog", "--audio-weight", "-1"),
    ("search", "a dog", "--run", "a", "--head", "mean"),
    ("search", "a dog", "--backbone", "tiny"),
    ("search", "a dog", "--open", "11"),
    ("explain", "a dog"),
    ("explain", "a dog", "v1", "--format", "gif"),
    ("index", "bild"),
    ("index", "check", "--questions", "0"),
    ("index", "build", "films", "--cache", "a"),
    ("cache", "prove"),
    ("config", "show", "extrakt"),
    ("demo", "--clips", "0"),
]


def run(*arguments, cwd):
    """Exit code, output, talk and processor seconds of a process."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=cwd,
        env=clean_environment(HOME=str(cwd)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        printed, talk = process.stdout.read(), process.stderr.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, printed, talk, used.ru_utime + used.ru_stime


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_help_of_every_command_is_there_at_once(path, tmp_path):
    code, printed, talk, seconds = run(*path, "--help", cwd=tmp_path)
    assert (code, talk) == (0, "")
    assert printed.startswith(f"Usage: vidret {' '.join(path)} ")
    assert printed.endswith("heavy:\n")
    assert seconds < LIMIT


@pytest.mark.parametrize("arguments", USAGE_ERRORS, ids=" ".join)
def test_every_usage_error_is_one_line_at_once_and_leaves_nothing(arguments, tmp_path):
    code, printed, talk, seconds = run(*arguments, cwd=tmp_path)
    assert (code, printed) == (2, "heavy:\n")
    assert talk.startswith("vidret: ")
    assert talk.count("\n") == 1
    assert seconds < LIMIT
    assert list(tmp_path.iterdir()) == []
