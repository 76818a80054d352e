"""`vidret` itself, which all commands belong to."""

import platform

import click

from vidret.extract.backends import installed
from vidret.pipelines.commands.program import Program, examples
from vidret.pipelines.config.options import Session, session_options


def _print_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - click calls it
    if asked and not context.resilient_parsing:
        click.echo(
            f"vidret {installed('vidret')}, python {platform.python_version()}, "
            f"torch {installed('torch')}"
        )
        context.exit()


@click.group(
    cls=Program,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples("vidret demo", "vidret extract --help"),
)
@click.option("--work", metavar="PATH", help="Folder of caches and runs, for any command.")
@click.option("--offline", is_flag=True, default=None, help="Never use the network.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the versions of vidret, python and torch.",
)
@session_options
@click.pass_context
def cli(context: click.Context, *, work: str | None, offline: bool | None) -> None:
    """Find videos by what they show, what is said of them, and how they sound."""
    context.ensure_object(Session).options.update(work=work, offline=offline)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
