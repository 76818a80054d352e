"""Where each setting of a command comes from: option, variable, file or built-in value."""

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

from vidret.data.errors import ConfigError
from vidret.pipelines.config.declaring import Config, named_settings, option_of, variable_of
from vidret.pipelines.config.settings import CONFIGS

C = TypeVar("C", bound=Config)

BUILT_IN = "built-in"
PREFIX = "VIDRET_"
DATASETS_TABLE = "datasets"
DATASET_KEYS = ("root",)
EXPECTED: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
    tuple: "a list",
}
SWITCHES = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile:
    """One file of settings as parsed; `name` is how messages call it."""

    path: Path
    name: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved(Generic[C]):
    """The settings of one command, and the place that each value came from."""

    config: C
    origins: Mapping[str, str]
    dataset_roots: Mapping[str, Path]

    def dataset_root(self, name: str) -> Path | None:
        """The folder that a `[datasets.NAME]` table gives, or None."""
        return self.dataset_roots.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A value as it was written, and where; relative paths start at `folder`."""

    value: Any
    origin: str
    folder: Path
    is_text: bool  # options and variables are text, TOML has types


def resolve(
    config_class: type[C],
    options: Mapping[str, Any],
    *,
    config_files: Sequence[Path],
    environ: Mapping[str, str],
    cwd: Path,
    user_file: Path | None,
) -> Resolved[C]:
    """Settle every setting of a command.

    An option beats a variable, which beats the last of `config_files`, the ones before it,
    `vidret.toml` in `cwd`, the user's file, and the built-in value, in this order. An option that
    is None was not given, and neither was a variable that is empty.

    Raises:
        ConfigError: a file cannot be read, a key is unknown, or a value is not what it should be.
    """
    files = read_files(config_files, cwd=cwd, user_file=user_file)
    return resolve_from(config_class, options, files=files, environ=environ, cwd=cwd)


def resolve_from(
    config_class: type[C],
    options: Mapping[str, Any],
    *,
    files: Sequence[SettingsFile],
    environ: Mapping[str, str],
    cwd: Path,
) -> Resolved[C]:
    """Settle every setting of a command from files that were read before, the strongest first."""
    values, origins = settle(config_class, options, files=files, environ=environ, cwd=cwd)
    roots = {name: root for name, (root, _) in dataset_roots(files, cwd).items()}
    return Resolved(
        config=_construct(config_class, values, origins), origins=origins, dataset_roots=roots
    )


def settle(
    config_class: type[Config],
    options: Mapping[str, Any],
    *,
    files: Sequence[SettingsFile],
    environ: Mapping[str, str],
    cwd: Path,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Value and origin of each setting; one given nowhere that has no default is left out."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    types = get_type_hints(config_class)
    for one in fields(config_class):
        found = next(_places(config_class, one, options, files, environ, cwd), None)
        if found is not None:
            values[one.name] = _convert(found, types[one.name], one.metadata["choices"], cwd)
            origins[one.name] = found.origin
        elif one.default is not MISSING:
            values[one.name], origins[one.name] = one.default, BUILT_IN
    if "dataset" in values and values.get("root", "no such setting") is None:
        roots = dataset_roots(files, cwd)
        for name in (values["dataset"], family_of(values["dataset"])):
            if name in roots and values["root"] is None:
                values["root"], origins["root"] = roots[name]
    return values, origins


def family_of(dataset: str) -> str:
    """The name that the splits of one dataset share: `msrvtt` of `msrvtt-9k`."""
    return dataset.partition("-")[0]


def read_text_value(config_class: type[Config], name: str, text: str, *, origin: str) -> Any:  # noqa: ANN401 - types are values here
    """The value of a setting from its text, refused in the words that its option has.

    Raises:
        ConfigError: the text is not of the setting's type, or none of its choices.
    """
    (one,) = (one for one in fields(config_class) if one.name == name)
    found = _Found(value=text, origin=origin, folder=Path(), is_text=True)
    wanted = get_type_hints(config_class)[name]
    return _convert(found, wanted, one.metadata["choices"], Path())


def read_files(
    config_files: Sequence[Path], *, cwd: Path, user_file: Path | None
) -> list[SettingsFile]:
    """All files of settings that count, the strongest first."""
    named = [read_file(path, cwd=cwd) for path in reversed(config_files)]
    standing = [cwd / "vidret.toml", *([user_file] if user_file else [])]
    return [*named, *(read_file(path, cwd=cwd) for path in standing if _is_there(path))]


def _is_there(path: Path) -> bool:
    """Whether a file is there; a home that this user may not look into holds none."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def read_file(path: Path, *, cwd: Path) -> SettingsFile:
    """Read one file of settings and refuse what no command knows."""
    path = cwd / path.expanduser()
    name = str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not valid TOML: {_lower_first(str(error))}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{name} is not UTF-8 text: save it as UTF-8 (byte {error.start})"
        ) from error
    except OSError as error:
        reason = _lower_first(error.strerror or str(error))
        raise ConfigError(f"{name} cannot be read: {reason}") from error
    _refuse_unknown(content, name)
    return SettingsFile(path=path, name=name, content=content)


def dataset_roots(files: Sequence[SettingsFile], cwd: Path) -> dict[str, tuple[Path, str]]:
    """The folder and the origin of each dataset that a `[datasets.NAME]` table knows."""
    roots: dict[str, tuple[Path, str]] = {}
    for file in reversed(files):  # the strongest comes last and stays
        for name, table in file.content.get(DATASETS_TABLE, {}).items():
            if "root" in table:
                found = _in_file(file, table["root"], f"{file.name} [{DATASETS_TABLE}.{name}] root")
                roots[name] = (_convert(found, Path, (), cwd), found.origin)
    return roots


def find_user_file() -> Path:
    """The user's own file of settings, which need not exist."""
    from platformdirs import user_config_path

    return user_config_path("vidret", appauthor=False) / "vidret.toml"


def unknown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like settings and are none, each with the closest that is, or ""."""
    known = {
        variable_of(table, one).removeprefix(PREFIX): variable_of(table, one)
        for table in CONFIGS.values()
        for one in named_settings(table)
    }
    strangers = sorted(
        name.removeprefix(PREFIX)
        for name in environ
        if name.startswith(PREFIX) and name not in known.values()
    )
    close = {word: get_close_matches(word, known, n=1) for word in strangers}
    return {PREFIX + word: known[near[0]] if near else "" for word, near in close.items()}


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A question that names the closest known word, or all of them when nothing comes close."""
    close = get_close_matches(word, known, n=1)
    return f'did you mean "{close[0]}"?' if close else f"known are {', '.join(known)}"


def _places(
    config_class: type[Config],
    one: Field[Any],
    options: Mapping[str, Any],
    files: Sequence[SettingsFile],
    environ: Mapping[str, str],
    cwd: Path,
) -> Iterator[_Found]:
    """Where a setting is given, the strongest place first."""
    is_argument = one.metadata["argument"]
    if options.get(one.name) is not None:
        origin = one.name.upper() if is_argument else option_of(one.name)
        yield _Found(value=options[one.name], origin=origin, folder=cwd, is_text=True)
    if is_argument:
        return
    variable = variable_of(config_class, one)
    if environ.get(variable):
        yield _Found(value=environ[variable], origin=variable, folder=cwd, is_text=True)
    for file in files:
        table = file.content.get(config_class.table, {})
        if one.name in table:
            origin = f"{file.name} [{config_class.table}] {one.name}"
            yield _in_file(file, table[one.name], origin)
        if one.metadata["shared"] and one.name in file.content:
            yield _in_file(file, file.content[one.name], f"{file.name} {one.name}")


def _in_file(file: SettingsFile, value: object, origin: str) -> _Found:
    return _Found(value=value, origin=origin, folder=file.path.parent, is_text=False)


def _convert(found: _Found, wanted: Any, choices: Sequence[str], cwd: Path) -> Any:  # noqa: ANN401 - types are values here
    """The value in the first of the wanted types that takes it."""
    types = [one for one in _members(wanted) if one is not type(None)]
    for one in types:
        try:
            value = (
                _from_text(found.value, one) if _is_text(found, one) else _as_is(found.value, one)
            )
        except ValueError:
            continue
        if choices and value not in choices:
            raise _refusal(found, did_you_mean(str(value), choices))
        if isinstance(value, tuple):
            return tuple(_placed(item, found.folder, cwd) for item in value)
        return _placed(value, found.folder, cwd)
    raise _refusal(found, f"expected {' or '.join(_expectation(one) for one in types)}")


def _refusal(found: _Found, reason: str) -> ConfigError:
    return ConfigError(f"{found.origin} is {found.value!r}: {reason}")


def _members(wanted: Any) -> tuple[Any, ...]:  # noqa: ANN401 - types are values here
    """`int | None` as its members, words as text, any other type as itself."""
    if get_origin(wanted) is Literal:  # its words are the setting's choices
        return (str,)
    return (wanted,) if get_origin(wanted) is tuple else get_args(wanted) or (wanted,)


def _is_text(found: _Found, wanted: Any) -> bool:  # noqa: ANN401 - types are values here
    """Whether the value still has to be read; TOML may write a list as text too."""
    return isinstance(found.value, str) and (found.is_text or get_origin(wanted) is tuple)


def _expectation(wanted: Any) -> str:  # noqa: ANN401 - types are values here
    if get_origin(wanted) is tuple:
        return "numbers such as 0,1,2" if get_args(wanted)[0] is int else "words such as a,b"
    return EXPECTED[wanted]


def _from_text(text: str, wanted: Any) -> Any:  # noqa: ANN401 - types are values here
    """Read an option or a variable; a ValueError says that it is not of the wanted type."""
    if get_origin(wanted) is tuple:
        words = [word.strip() for word in text.split(",")]
        return tuple(_from_text(word, get_args(wanted)[0]) for word in words if word)
    if wanted is bool:
        if text.lower() not in SWITCHES:
            raise ValueError
        return SWITCHES[text.lower()]
    return _as_is(text if wanted is Path else wanted(text), wanted)


def _as_is(value: Any, wanted: Any) -> Any:  # noqa: ANN401 - types are values here
    """Take a value that already has a type; a ValueError says that it is another one."""
    if get_origin(wanted) is tuple and isinstance(value, list | tuple):
        return tuple(_as_is(item, get_args(wanted)[0]) for item in value)
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is Path and isinstance(value, str | Path):
        if not str(value):
            raise ValueError  # an unset variable of a script, which must not mean this folder
        return Path(value)
    if type(value) is not wanted or (wanted is float and not math.isfinite(value)):
        raise ValueError
    return value


def _placed(value: Any, folder: Path, cwd: Path) -> Any:  # noqa: ANN401 - types are values here
    """A relative path starts at the folder it was written in; short where that is here."""
    if not isinstance(value, Path):
        return value
    path = value.expanduser()
    return path if path.is_absolute() or folder == cwd else folder / path


def _construct(config_class: type[C], values: dict[str, Any], origins: dict[str, str]) -> C:
    """Build the config; where a value makes no sense, add the place it came from."""
    try:
        return config_class(**values)
    except ConfigError as error:  # its message starts with the name of the setting
        origin = origins.get(str(error).partition(" ")[0], BUILT_IN)
        if origin == BUILT_IN:
            raise
        raise ConfigError(f"{error} (set by {origin})") from error


def _refuse_unknown(content: Mapping[str, Any], file: str) -> None:
    """Raise a ConfigError on the first table or key that nothing reads."""
    shared = _shared_names()
    for name, value in content.items():
        if name == DATASETS_TABLE and isinstance(value, dict):
            _check_datasets(value, file)
        elif name in CONFIGS and isinstance(value, dict):
            known = [one.name for one in named_settings(CONFIGS[name])]
            _check_keys(value, known, f"{file}: [{name}]")
        elif isinstance(value, dict):
            guess = did_you_mean(name, [*CONFIGS, DATASETS_TABLE])
            raise ConfigError(f'{file}: no command reads the table "{name}": {guess}')
        elif name not in shared:
            homes = [table for table in CONFIGS if name in _names(CONFIGS[table])]
            guess = f"it belongs below [{homes[0]}]" if homes else did_you_mean(name, shared)
            raise ConfigError(f'{file}: unknown key "{name}" above all tables: {guess}')


def _check_datasets(tables: Mapping[str, Any], file: str) -> None:
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(
                f"{file}: [{DATASETS_TABLE}] {name} is {table!r}: "
                f"write [{DATASETS_TABLE}.{name}] and below it root = ..."
            )
        _check_keys(table, DATASET_KEYS, f"{file}: [{DATASETS_TABLE}.{name}]")


def _check_keys(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f'{where} has an unknown key "{key}": {did_you_mean(key, known)}')


def _shared_names() -> list[str]:
    return sorted(
        {
            one.name
            for config_class in CONFIGS.values()
            for one in named_settings(config_class)
            if one.metadata["shared"]
        }
    )


def _names(config_class: type[Config]) -> list[str]:
    return [one.name for one in named_settings(config_class)]


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
