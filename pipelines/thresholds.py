"""`--fail-under`: whether a recall is as high as was asked for."""

from collections.abc import Mapping

from vidret.data.errors import BelowThresholdError, ConfigError
from vidret.heads.metrics import RECALLS

Threshold = tuple[str, float]


def require_measured(threshold: Threshold | None) -> None:
    """Refuse a limit on a number that nobody measures.

    Raises:
        ConfigError: there is no such recall.
    """
    known = [f"R@{k}" for k in RECALLS]
    if threshold is not None and threshold[0] not in known:
        raise ConfigError(
            f"fail_under asks for {threshold[0]}, and measured are {', '.join(known)}: "
            "choose one of them"
        )


def shortfall(
    threshold: Threshold | None, t2v: Mapping[str, float], *, of: str, on: str
) -> BelowThresholdError | None:
    """The error to end with where a recall, text to video, stayed below what was asked for."""
    if threshold is None:
        return None
    metric, wanted = threshold
    if t2v[metric] >= wanted:
        return None
    return BelowThresholdError(
        f"{metric} text to video of {of} is {t2v[metric]:.1f} on {on}, below {wanted:.1f}"
    )
