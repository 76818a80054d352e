"""How a setting is declared: its default, its meaning, what it may be, how it is given."""

import re
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from vidret.data.errors import ConfigError

# ruff: noqa: RUF009 - setting() is dataclasses.field with more metadata

DEVICES = "auto|cpu|cuda|cuda:N"
OPTIONS = "Options"  # the heading of what is a command's own
FOR_EVERY_COMMAND = "For every command"


def setting(
    default: Any = MISSING,  # noqa: ANN401 - a default has the type of its field
    *,
    help: str,  # noqa: A002 - click's own word for it
    choices: tuple[str, ...] = (),
    metavar: str = "",
    env: str = "",
    shared: bool = False,
    argument: bool = False,
    repeatable: bool = False,
) -> Any:  # noqa: ANN401 - stands where a value of the field's type is expected
    """A dataclass field that knows how it is set and explained.

    Args:
        default: the built-in value; without one the setting has to be given.
        help: one line for `--help`.
        choices: the words allowed; empty when any value of the type will do.
        metavar: how `--help` draws a value; empty goes by the type.
        env: the variable that sets it, where that is not `VIDRET_<TABLE>_<FIELD>`.
        shared: one value for all commands: `VIDRET_<FIELD>`, and above the tables of a file.
        argument: stands on the command line without a name, and nowhere else.
        repeatable: a list whose option is given once for each value, as a value may hold commas.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "metavar": metavar,
        "env": env,
        "shared": shared,
        "argument": argument,
        "repeatable": repeatable,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What every command knows.

    `table` is the command's table in a file of settings, `group` the heading in `--help` of what
    a class adds.
    """

    table: ClassVar[str] = ""
    group: ClassVar[str] = FOR_EVERY_COMMAND

    work: Path = setting(
        Path("vidret-work"), help="Folder that holds caches, runs and indexes.", shared=True
    )
    offline: bool = setting(
        default=False,
        help="Never use the network, not even for weights named by a tag.",
        shared=True,
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            _check_choice(one, getattr(self, one.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig(Config):
    """Settings of a command that ends in a report."""

    group: ClassVar[str] = FOR_EVERY_COMMAND

    json: bool = setting(
        default=False, help="Print the report as JSON instead of tables.", shared=True
    )


def named_settings(config_class: type[Config]) -> list[Field[Any]]:
    """The settings that have a name everywhere: option, variable and key."""
    return [one for one in fields(config_class) if not one.metadata["argument"]]


def required_arguments(config_class: type[Config]) -> list[str]:
    """What only a command line can give, and must."""
    return [one.name for one in fields(config_class) if one.default is MISSING]


def option_of(name: str) -> str:
    """The option of a setting: `batch_size` is `--batch-size`."""
    return "--" + name.replace("_", "-")


def variable_of(config_class: type[Config], one: Field[Any]) -> str:
    """The environment variable of a setting."""
    if one.metadata["env"]:
        return str(one.metadata["env"])
    words = (
        ["VIDRET", one.name] if one.metadata["shared"] else ["VIDRET", config_class.table, one.name]
    )
    return "_".join(words).upper().replace("-", "_")


def group_of(config_class: type[Config], one: Field[Any]) -> str:
    """The heading of a setting in `--help`: that of the class that brought it."""
    brought = next(each for each in reversed(config_class.__mro__) if one.name in vars(each))
    return str(vars(brought).get("group", OPTIONS))


def require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads like assert
    """Raise a ConfigError that says `otherwise` unless the condition holds."""
    if not holds:
        raise ConfigError(otherwise)


def check_device(device: str) -> None:
    """Refuse a word that names no device; whether the device is there is seen when it is used."""
    require(
        re.fullmatch(r"auto|cpu|cuda(:\d+)?", device) is not None,
        f"device is {device!r}: give auto, cpu, cuda or cuda:N",
    )


def check_list(name: str, values: Sequence[object]) -> None:
    """Refuse a list that is empty or says something twice."""
    require(bool(values), f"{name} is empty: name one or more")
    twins = [value for value in values if values.count(value) > 1]
    require(not twins, f"{name} has {twins and twins[0]} more than once: name each one once")


def _check_choice(one: Field[Any], value: object) -> None:
    choices = one.metadata["choices"]
    require(
        not choices or value in (one.default, *choices),
        f"{one.name} is {value!r}: give {_either(choices)}",
    )


def _either(words: tuple[str, ...]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
