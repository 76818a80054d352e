"""`--vary NAME=V1,V2`: which settings a table of heads varies, and every combination of them."""

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import product
from typing import Any, get_args, get_type_hints

from vidret.data.errors import ConfigError
from vidret.pipelines.config.declaring import check_list, option_of, require
from vidret.pipelines.config.fitting import FIT_SETTINGS, AblateConfig
from vidret.pipelines.config.resolve import did_you_mean, read_text_value

UNSET = "unset"
OF_THEIR_OWN = {"head": "--heads", "heads": "--heads", "seed": "--seeds", "seeds": "--seeds"}

Changes = tuple[tuple[str, Any], ...]  # names of settings, each with a value


def variations_of(config: AblateConfig) -> list[Changes]:
    """Every combination of the values that `vary` gives; one without changes where it gives none.

    Raises:
        ConfigError: a name is no setting of a run, or a value is none of the setting's.
    """
    values = _values_by_name(config.vary or ())
    every = [tuple(zip(values, chosen, strict=True)) for chosen in product(*values.values())]
    for changes in every:
        varied(config, changes)
    return every


def varied(config: AblateConfig, changes: Changes) -> AblateConfig:
    """The settings with some of them changed.

    Raises:
        ConfigError: a value makes no sense.
    """
    try:
        return replace(config, **dict(changes))
    except ConfigError as error:
        raise ConfigError(f"{error} (set by --vary)") from error


def change_text(name: str, value: object) -> str:
    """A change as one would type it."""
    if value is None:
        return f"{name}={UNSET}"
    return f"{name}={str(value).lower() if isinstance(value, bool) else value}"


def _values_by_name(texts: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each name, read as its option would read them."""
    values: dict[str, list[Any]] = {}
    for name, written in _split(texts):
        require(name not in values, f"vary names {name} more than once: list its values together")
        values[name] = [_read(name, text) for text in written]
        check_list(f"vary {name}", values[name])
    return values


def _split(texts: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Names and texts; a word without = is one more value of the name before it."""
    found: list[tuple[str, list[str]]] = []
    for word in (word.strip() for text in texts for word in text.split(",")):
        name, sign, value = word.partition("=")
        if sign:
            found.append((_known(name.strip()), [value.strip()]))
        elif found:
            found[-1][1].append(word)
        else:
            raise ConfigError(
                f"vary is {word!r}: give NAME=V1,V2, as in word_weight_scale=literal,sqrt_c"
            )
    return found


def _known(written: str) -> str:
    """The name of a setting that belongs to a run."""
    name = written.removeprefix("--").replace("-", "_")
    if name in FIT_SETTINGS:
        return name
    if name in OF_THEIR_OWN:
        raise ConfigError(f"vary names {written}: rows have {OF_THEIR_OWN[name]} for that")
    if name in {one.name for one in fields(AblateConfig)}:
        raise ConfigError(
            f"vary names {written}, which is the same for all rows: leave it out of --vary, and "
            f"give {option_of(name)} once"
        )
    raise ConfigError(
        f'vary names an unknown setting "{written}": {did_you_mean(name, FIT_SETTINGS)}'
    )


def _read(name: str, text: str) -> Any:  # noqa: ANN401 - a value has the type of its setting
    if text == UNSET and type(None) in get_args(get_type_hints(AblateConfig)[name]):
        return None
    return read_text_value(AblateConfig, name, text, origin=f"--vary {name}")
