"""`vidret config`: which settings hold, and why."""

from pathlib import Path

import click

from vidret.pipelines.commands.program import Command, Program, examples
from vidret.pipelines.commands.root import cli
from vidret.pipelines.config.options import Session, session_options
from vidret.pipelines.config.settings import CONFIGS


@cli.group(
    "config",
    cls=Program,
    invoke_without_command=True,
    epilog=examples("vidret config show --origin", "vidret config check"),
)
@click.pass_context
def config_group(context: click.Context) -> None:
    """Show which settings hold and why, or check their files."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@config_group.command(
    "show",
    cls=Command,
    epilog=examples("vidret config show --origin", "vidret config show extract"),
)
@click.argument("command", type=click.Choice(list(CONFIGS)), required=False)
@click.option("--origin", is_flag=True, help="Name the place that each value comes from.")
@session_options
@click.pass_context
def show_config(context: click.Context, *, command: str | None, origin: bool) -> None:
    """Print the settings that hold here, as a file that sets them."""
    from vidret.pipelines.config.show import settings_text

    session = context.find_root().ensure_object(Session)
    tables = (command,) if command else tuple(CONFIGS)
    click.echo(settings_text(tables, session.config_files, session.options, show_origin=origin))


@config_group.command(
    "check", cls=Command, epilog=examples("vidret config check", "vidret config check vidret.toml")
)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path))
@session_options
@click.pass_context
def check_config(context: click.Context, *, files: tuple[Path, ...]) -> None:
    """Check the named files of settings, or all that hold here."""
    from vidret.pipelines.config.show import check_settings

    session = context.find_root().ensure_object(Session)
    for line in check_settings(files, session.config_files):
        click.echo(line)
