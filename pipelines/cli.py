"""The command line: parse, call one pipeline, print its report, turn errors into exit codes."""

import logging
import os
import platform
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

import click

from vidret.data.errors import VidretError
from vidret.extract.backends import installed
from vidret.pipelines.options import Session, session_options, settings
from vidret.pipelines.settings import (
    AblateConfig,
    CacheConfig,
    DemoConfig,
    EvaluateConfig,
    ExtractConfig,
    SearchConfig,
    TrainConfig,
)

if TYPE_CHECKING:
    from vidret.pipelines.progress import OnProgress
    from vidret.pipelines.tables import Rendered

log = logging.getLogger(__name__)

INTERRUPTED = 130
BUG = 1

R = TypeVar("R", bound="Report", contravariant=True)


class Report(Protocol):
    """What every reporting pipeline returns."""

    @property
    def verdict(self) -> VidretError | None:
        """The error to end with once the report is printed, or None when all is well."""

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""


class Program(click.Group):
    """The group `vidret`: errors become one sentence and an exit code of their own."""

    def main(  # type: ignore[override]  # click declares two overloads for one behaviour
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,  # noqa: ANN401 - click's signature
    ) -> Any:  # noqa: ANN401 - click's signature
        """Run a command line; `standalone_mode=False` leaves all errors to the caller."""
        arguments = tuple(sys.argv[1:] if args is None else args)
        extra.setdefault("obj", Session(arguments=arguments))
        if not standalone_mode:
            return super().main(arguments, prog_name, complete_var, False, **extra)  # noqa: FBT003 - click's signature
        try:
            code = super().main(arguments, prog_name, complete_var, False, **extra)  # noqa: FBT003 - click's signature
        except Exception as error:  # noqa: BLE001 - the one place where an error becomes a code
            sys.exit(_report_error(error, extra["obj"]))
        except KeyboardInterrupt:
            sys.exit(_report_interrupt(arguments))
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run the command; a reader that closes the pipe early has had what it wanted."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # the interpreter flushes stdout once more at exit, which must not fail loudly
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)
        return result


class Command(click.Command):
    """A command that sets up talk on stderr before its body, and so after all usage errors."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Install the log handler, then run the body."""
        _install_logging(ctx.find_root().ensure_object(Session))
        return super().invoke(ctx)
