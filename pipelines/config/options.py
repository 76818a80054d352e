"""Settings as click options: one for each field, and a resolved config for the command."""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import click

from vidret.extract.backends import quiet_home
from vidret.pipelines.config.declaring import (
    FOR_EVERY_COMMAND,
    OPTIONS,
    Config,
    group_of,
    option_of,
    variable_of,
)
from vidret.pipelines.config.resolve import find_user_file, resolve

C = TypeVar("C", bound=Config)
Body = TypeVar("Body", bound=Callable[..., Any])

METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


class SettingOption(click.Option):
    """An option that knows its heading in `--help`."""

    def __init__(self, *names: Any, group: str = OPTIONS, **attributes: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*names, **attributes)
        self.group = group


@dataclass(slots=True)
class Session:
    """What stands on the command line beside the settings of a command.

    Options such as `-v` and `-c` may stand before the command and after it, so they gather here.
    """

    config_files: list[Path] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    verbosity: int = 0
    work: Path | None = None


def settings(config_class: type[Config], *, only: Sequence[str] = ()) -> Callable[[Body], Body]:
    """Give a command one option per setting, and hand it the resolved config first.

    Args:
        config_class: whose fields become options and arguments.
        only: the fields to offer; empty offers all. The others still follow files and variables.
    """
    offered = [one for one in fields(config_class) if not only or one.name in only]

    def decorate(body: Body) -> Body:
        @functools.wraps(body)
        def run(**options: Any) -> Any:  # noqa: ANN401 - what the body returns
            session = click.get_current_context().find_root().ensure_object(Session)
            given = {one.name: options.pop(one.name) for one in offered}
            return body(resolve_here(config_class, given, session), **options)

        types = get_type_hints(config_class)
        for one in reversed(offered):
            run = _parameter(config_class, one, types[one.name])(run)
        return run  # type: ignore[return-value]  # functools.wraps keeps the body's name and help

    return decorate


def options_of(config_class: type[Config], *names: str) -> Callable[[Body], Body]:
    """Give a command some options of another one, and hand it their texts by name.

    Args:
        config_class: whose settings they are; who resolves them asks files and variables, too.
        names: of them.
    """

    def decorate(body: Body) -> Body:
        types = get_type_hints(config_class)
        for one in reversed([each for each in fields(config_class) if each.name in names]):
            body = _parameter(config_class, one, types[one.name])(body)
        return body

    return decorate


def grouped(parameters: Sequence[click.Parameter]) -> dict[str, list[click.Parameter]]:
    """Options under their headings: a command's own first, what every command has last."""
    groups: dict[str, list[click.Parameter]] = {OPTIONS: []}
    for one in parameters:
        if not isinstance(one, click.Argument):  # click lists these by itself
            groups.setdefault(getattr(one, "group", FOR_EVERY_COMMAND), []).append(one)
    groups[FOR_EVERY_COMMAND] = groups.pop(FOR_EVERY_COMMAND, [])
    return groups


def session_options(body: Body) -> Body:
    """Give a command the options that may stand before the command and after it."""
    for option in (
        click.option(
            "-c",
            "config_files",
            metavar="FILE",
            multiple=True,
            expose_value=False,
            callback=_add_config_files,
            help="File of settings; the last one wins.",
        ),
        click.option(
            "-v", "verbose", count=True, expose_value=False, callback=_louder, help="Say more."
        ),
        click.option(
            "-q", "quiet", count=True, expose_value=False, callback=_quieter, help="Say less."
        ),
        click.option(
            "--no-color",
            is_flag=True,
            expose_value=False,
            callback=_drop_color,
            help="Plain text; so does the variable NO_COLOR.",
        ),
    ):
        body = option(body)
    return body


def resolve_here(config_class: type[C], given: dict[str, Any], session: Session) -> C:
    """The config of this process: its variables, its folder, the user's file."""
    before_the_command = {name: value for name, value in session.options.items() if name in given}
    given = before_the_command | {name: value for name, value in given.items() if value is not None}
    config = resolve(
        config_class,
        given,
        config_files=session.config_files,
        environ=os.environ,
        cwd=Path.cwd(),
        user_file=find_user_file(),
    ).config
    session.work = config.work
    quiet_home(config.work / "tools", offline=config.offline)
    return config


def _parameter(
    config_class: type[Config],
    one: Field[Any],
    wanted: Any,  # noqa: ANN401 - types are values here
) -> Callable[[Any], Any]:
    """The click option or argument of one setting; its value stays text until it is resolved."""
    if one.metadata["argument"]:
        required, name = one.default is MISSING, one.name.upper()
        return click.argument(
            one.name,
            required=required,
            metavar=name if required else f"[{name}]",
            help=one.metadata["help"],
        )
    note = f"[default: {default_text(one)}; {variable_of(config_class, one)}]"
    option = option_of(one.name)
    if wanted is bool:
        option = f"{option}/--no-{option.removeprefix('--')}"
    return click.option(
        option,
        one.name,
        default=None,
        multiple=one.metadata["repeatable"],
        callback=_unless_empty if one.metadata["repeatable"] else None,
        cls=SettingOption,
        group=group_of(config_class, one),
        metavar=None if wanted is bool else _metavar(one, wanted),
        help=f"{one.metadata['help']} {note}",
    )


def _unless_empty(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...] | None:
    """What was given, or None as for every option that was not."""
    return values or None


def default_text(one: Field[Any]) -> str:
    """The built-in value as one would type it."""
    if isinstance(one.default, tuple):
        return ",".join(map(str, one.default)) or "unset"
    if isinstance(one.default, bool):
        return "on" if one.default else "off"
    return "unset" if one.default is None else str(one.default)


def _metavar(one: Field[Any], wanted: Any) -> str:  # noqa: ANN401 - types are values here
    if one.metadata["metavar"]:
        return str(one.metadata["metavar"])
    if one.metadata["choices"]:
        return "|".join(one.metadata["choices"])
    members = (wanted,) if get_origin(wanted) is tuple else get_args(wanted) or (wanted,)
    return "|".join(_word(member) for member in members if member is not type(None))


def _word(wanted: Any) -> str:  # noqa: ANN401 - types are values here
    if get_origin(wanted) is not tuple:
        return METAVARS[wanted]
    word = METAVARS[get_args(wanted)[0]]
    return f"{word},{word}..."


def _session(context: click.Context) -> Session:
    return context.find_root().ensure_object(Session)


def _add_config_files(
    context: click.Context, _parameter: click.Parameter, paths: tuple[str, ...]
) -> None:
    _session(context).config_files.extend(Path(path) for path in paths)


def _louder(context: click.Context, _parameter: click.Parameter, times: int) -> None:
    _session(context).verbosity += times


def _quieter(context: click.Context, _parameter: click.Parameter, times: int) -> None:
    _session(context).verbosity -= times


def _drop_color(_context: click.Context, _parameter: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - click calls it
    if asked:
        os.environ["NO_COLOR"] = "1"  # what draws reads it, in workers too
