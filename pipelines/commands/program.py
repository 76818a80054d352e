"""What every command is: its place in the program, its talk on stderr, its report on stdout."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import click

from vidret.data.errors import MissingError, VidretError
from vidret.pipelines.commands.endings import report_error, report_interrupt
from vidret.pipelines.config.options import Session, grouped
from vidret.pipelines.config.resolve import did_you_mean, unknown_variables

if TYPE_CHECKING:
    from vidret.pipelines.display.tables import Rendered

log = logging.getLogger(__name__)


class Report(Protocol):
    """What every reporting pipeline returns."""

    @property
    def verdict(self) -> VidretError | None:
        """The error to end with once the report is printed, or None when all is well."""

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""


R = TypeVar("R", bound=Report)


class Program(click.Group):
    """A group of commands whose errors are one sentence and an exit code of their own."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,  # noqa: ANN401 - click's signature
    ) -> Any:  # noqa: ANN401 - click's signature
        """Run a command line and exit; without `standalone_mode` errors go to the caller."""
        arguments = list(sys.argv[1:] if args is None else args)
        session = extra.setdefault("obj", Session())
        try:
            result = super().main(
                arguments, prog_name, complete_var, standalone_mode=False, **extra
            )
        except (KeyboardInterrupt, click.Abort):
            if not standalone_mode:
                raise
            sys.exit(report_interrupt(arguments))
        except Exception as error:
            if not standalone_mode:
                raise
            sys.exit(report_error(error, arguments, session))
        return sys.exit(result or 0) if standalone_mode else result

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run a command; a reader that closes the pipe early has had what it wanted."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # the interpreter flushes stdout once more at exit, and that must find an open door
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        return result

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was meant."""
        if args[0] not in self.commands:
            guess = did_you_mean(args[0], list(self.commands))
            raise click.UsageError(f'no command "{args[0]}": {guess}', ctx)
        return super().resolve_command(ctx, args)


class Command(click.Command):
    """A command that prepares its talk only once the whole line has been understood."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run the body with log messages going to stderr."""
        with log_on_stderr(ctx.find_root().ensure_object(Session).verbosity):
            for name, meant in unknown_variables(os.environ).items():
                guess = f": did you mean {meant}?" if meant else ""
                log.warning("The variable %s sets nothing%s", name, guess)
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options under their headings."""
        for heading, parameters in grouped(self.get_params(ctx)).items():
            records = [record for one in parameters if (record := one.get_help_record(ctx))]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def examples(*lines: str) -> str:
    """The end of a help text: commands to copy."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def json_progress_option(body: Callable[..., None]) -> Callable[..., None]:
    """Let machines follow a long run."""
    return click.option(
        "--json-progress", is_flag=True, help="Show progress as JSON lines on stderr."
    )(body)


def publish(report: R, render: Callable[[R], "Rendered"], *, as_json: bool) -> None:
    """Print a report on stdout, then raise the error it ends in, if any."""
    from vidret.pipelines.display.tables import show

    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2, default=str))
    else:
        show(render(report))
    if report.verdict is not None:
        raise report.verdict


def typed_lines(prompt: str) -> Iterator[tuple[int, str]]:
    """The lines of stdin that say something, with their numbers; at a terminal each is asked for.

    Raises:
        MissingError: stdin is closed.
    """
    if sys.stdin is None:
        raise MissingError("there is no input to read lines from: pipe a file in, as with < FILE")
    lines = _asked_for(prompt) if sys.stdin.isatty() else sys.stdin.buffer
    for number, line in enumerate(lines, 1):
        text = line.decode("utf-8", "surrogateescape") if isinstance(line, bytes) else line
        if text.strip():
            yield number, text.strip()


def _asked_for(prompt: str) -> Iterator[str]:
    asked = f"{prompt} (Ctrl-D ends): "
    with suppress(ImportError):
        import readline  # noqa: F401 - arrows move in the line, and bring back those before
    is_seen = sys.stdout is not None and sys.stdout.isatty()
    while True:
        if not is_seen:  # what is printed goes elsewhere
            click.echo(asked, nl=False, err=True)
        try:
            yield input(asked if is_seen else "")
        except EOFError:
            click.echo(err=True)
            return


@contextmanager
def log_on_stderr(verbosity: int) -> Iterator[None]:
    """Send the talk of all vidret modules to stderr for as long as the command runs."""
    levels = {-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}
    logger = logging.getLogger("vidret")
    before, handler = (logger.level, logger.propagate), _log_handler()
    logger.setLevel(levels[max(-1, min(verbosity, 1))])
    logger.propagate = False  # open_clip gives the root logger a handler, which would say it twice
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def _log_handler() -> logging.Handler:
    if not sys.stderr.isatty():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        return handler
    from rich.console import Console
    from rich.logging import RichHandler

    return RichHandler(console=Console(stderr=True), show_time=False, show_path=False)
