"""The settings that hold here, as text, and a check of the files they come from."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidret.pipelines.config.declaring import Config, named_settings, required_arguments
from vidret.pipelines.config.resolve import (
    SettingsFile,
    dataset_roots,
    find_user_file,
    read_file,
    read_files,
    resolve_from,
    settle,
    unknown_variables,
)
from vidret.pipelines.config.settings import CONFIGS

SECRETS = ("token",)


def settings_text(
    tables: Sequence[str],
    config_files: Sequence[Path],
    options: Mapping[str, Any],
    *,
    show_origin: bool,
) -> str:
    """The settings of some commands as TOML, which read back sets the same."""
    cwd = Path.cwd()
    files = read_files(config_files, cwd=cwd, user_file=find_user_file())
    blocks = []
    for table in tables:
        values, origins = settle(CONFIGS[table], options, files=files, environ=os.environ, cwd=cwd)
        names = [one.name for one in named_settings(CONFIGS[table])]
        lines = [_line(name, values[name], origins[name] if show_origin else "") for name in names]
        blocks.append("\n".join([f"[{table}]", *lines]))
    for name, (root, origin) in dataset_roots(files, cwd).items():
        line = _line("root", root, origin if show_origin else "")
        blocks.append(f"[datasets.{json.dumps(name)}]\n{line}")
    return "\n\n".join(blocks)


def check_settings(named: Sequence[Path], config_files: Sequence[Path]) -> list[str]:
    """One line for every file that is in order, and for every variable that sets nothing.

    Args:
        named: files to check, each by itself; empty checks what holds here.
        config_files: files given with `-c`, which count among what holds here.

    Raises:
        ConfigError: something is not in order.
    """
    cwd = Path.cwd()
    if named:
        return [_check_together([read_file(path, cwd=cwd)], {}, cwd) for path in named]
    files = read_files(config_files, cwd=cwd, user_file=find_user_file())
    return [_check_together(files, os.environ, cwd), *_stray_variables()]


def _check_together(files: Sequence[SettingsFile], environ: Mapping[str, str], cwd: Path) -> str:
    """Resolve every command from these files; an error leaves by exception."""
    for config_class in CONFIGS.values():
        resolve_from(
            config_class, _placeholders(config_class), files=files, environ=environ, cwd=cwd
        )
    names = ", ".join(file.name for file in files)
    return f"ok    {names}" if names else "ok    no file of settings: the built-in values hold"


def _placeholders(config_class: type[Config]) -> dict[str, str]:
    """Something for what only a command line can give."""
    return dict.fromkeys(required_arguments(config_class), "anything")


def _stray_variables() -> list[str]:
    return [
        f"warn  the variable {name} sets nothing" + (f": did you mean {meant}?" if meant else "")
        for name, meant in unknown_variables(os.environ).items()
    ]


def _line(name: str, value: object, origin: str) -> str:
    line = f"# {name} is unset" if value is None else f"{name} = {_toml(value)}"
    if name in SECRETS and value is not None:
        line = f"# {name} is set, and not shown"
    return f"{line}  # {origin}" if origin else line


def _toml(value: object) -> str:
    """A value as TOML writes it, which for these types is as JSON does."""
    return json.dumps(value, ensure_ascii=False, default=str)  # what JSON does not know are paths
