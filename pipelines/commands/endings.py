"""How a command line ends that does not end well: a sentence, a place to read on, an exit code."""

import errno
import re
import shlex
import signal
import threading
import traceback
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from vidret.data.errors import MissingError, VidretError
from vidret.pipelines.config.options import Session
from vidret.pipelines.launched import command_line, launched
from vidret.pipelines.program import INTERRUPTED

BUG = 1


def report_interrupt(arguments: Sequence[str]) -> int:
    """Say which command goes on, and return the exit code."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # we are leaving already
    command = command_line(_without_secrets(arguments))
    if launched().size > 1:
        click.echo("If nobody stopped it, torchrun says below which process ended.", err=True)
    click.echo(f"Stopped. What is done is kept. Continue with: {command}", err=True)
    return INTERRUPTED


def report_error(error: Exception, arguments: Sequence[str], session: Session) -> int:
    """Say what went wrong in one sentence, and return the exit code."""
    if isinstance(error, click.ClickException):
        click.echo(f"vidret: {_usage_sentence(error)}", err=True)
        return error.exit_code
    if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
        error = MissingError("no room for what is printed: make room where it goes")
    if not isinstance(error, VidretError):
        return _report_bug(error, arguments, session)
    if session.verbosity > 0:
        click.echo(_traceback_text(error), err=True)
    click.echo(f"vidret: {error}", err=True)
    return error.exit_code


def _usage_sentence(error: click.ClickException) -> str:
    """Click's message in our words, and where to read on."""
    if isinstance(error, click.NoSuchOption):
        close = error.possibilities or []
        guess = f': did you mean "{close[0]}"?' if close else ""
        sentence = f'no option "{error.option_name}"{guess}'
    else:
        message = error.format_message().strip().removesuffix(".")
        sentence = message[:1].lower() + message[1:]
    context = getattr(error, "ctx", None)
    return f"{sentence} (see {context.command_path} --help)" if context else sentence


def _report_bug(error: Exception, arguments: Sequence[str], session: Session) -> int:
    """Keep the traceback where it can be sent from, and do not frighten with it."""
    text = _traceback_text(error)
    kept = _write_error_log(
        f"{shlex.join(['vidret', *_without_secrets(arguments)])}\n\n{text}", session.work
    )
    if kept is None or session.verbosity > 0:
        click.echo(text, err=True)
    reason = (str(error).strip() or "no message").splitlines()[0]
    place = f"the traceback is in {kept}" if kept else "the traceback is above"
    click.echo(f"vidret: unexpected {type(error).__name__}: {reason}: {place}", err=True)
    return BUG


def _write_error_log(text: str, work: Path | None) -> Path | None:
    """Write into the work folder, if there is one that can be written to."""
    if work is None or not work.is_dir():
        return None
    path = work / f"error-{datetime.now():%Y%m%d-%H%M%S}.log"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        return None
    return path


def _traceback_text(error: Exception) -> str:
    return "".join(traceback.format_exception(error))


def _without_secrets(arguments: Sequence[str]) -> list[str]:
    """A command line that may be shown and kept."""
    shown = [re.sub(r"^--token=.*", "--token=...", argument) for argument in arguments]
    for place, argument in enumerate(shown[:-1]):
        if argument == "--token":
            shown[place + 1] = "..."
    return shown
