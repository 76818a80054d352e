"""A run that goes on keeps its settings."""

from collections.abc import Mapping
from typing import Any

from vidret.data.errors import ConfigError
from vidret.pipelines.config.declaring import Config


def refuse_other_settings(config: Config, its_own: Mapping[str, Any], run: str) -> None:
    """Refuse settings beside --resume that the run would lose in silence.

    Args:
        config: as it was given.
        its_own: the settings that belong to the run.
        run: its name.

    Raises:
        ConfigError: one of these is neither the run's nor as it is when nobody gives it.
    """
    usual = type(config)()
    for name, its in its_own.items():
        given = getattr(config, name)
        if given not in (its, getattr(usual, name)):
            raise ConfigError(
                f"{name} is {_told(given)}, and run {run} has {_told(its)}: leave it out to "
                "continue, or leave out --resume for a new run"
            )


def _told(value: object) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
