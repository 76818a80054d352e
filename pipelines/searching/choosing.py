"""Which run ranks, where a command names a run, a head, or neither."""

import logging
from pathlib import Path

from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError
from vidret.heads.catalog import HEADS, head_names
from vidret.pipelines.config.resolve import did_you_mean
from vidret.pipelines.config.searching import IndexConfig, RankConfig, SearchConfig
from vidret.pipelines.config.serving import ServeConfig
from vidret.pipelines.searching.ranker import ZERO_SHOT
from vidret.pipelines.training.runs import (
    LAST,
    WEIGHTS,
    cache_of_run,
    find_run,
    newest_run,
    read_run,
)

log = logging.getLogger(__name__)


def choose_runs(config: RankConfig) -> list[str]:
    """Names of runs that a searcher is opened with, or `mean`; the first is what was asked for.

    Raises:
        MissingError: there is no such run.
        ConfigError: there is no such head.
    """
    if config.run is not None:
        find_run(config.work, config.run)
        return [config.run]
    if config.head is not None:
        return [_run_of_head(config.work, config.head)]
    return usual_runs(config.work)


def usual_runs(work: Path) -> list[str]:
    """The newest run and, behind it, the untrained mean."""
    try:
        return [_name_of(work, newest_run(work)), ZERO_SHOT]
    except MissingError:
        return [ZERO_SHOT]


def refuse_encoders(config: IndexConfig | SearchConfig | ServeConfig) -> None:
    """Refuse `--backbone` and `--audio` where they would have no say.

    Raises:
        ConfigError: a run ranks, which has encoders of its own.
    """
    if isinstance(config, ServeConfig):
        runs, instead = list(config.heads) or usual_runs(config.work), "--heads"
    else:
        runs, instead = choose_runs(config)[:1], "--head"
    run = next((name for name in runs if name != ZERO_SHOT), None)
    if run is not None:
        raise ConfigError(
            f"run {run} ranks what was looked at with its own encoders: leave out --backbone and "
            f"--audio, or add {instead} {ZERO_SHOT}"
        )


def _run_of_head(work: Path, head: str) -> str:
    """The newest finished run of a head."""
    if head not in HEADS:
        raise ConfigError(f"there is no head {head!r}: {did_you_mean(head, head_names())}")
    if head == ZERO_SHOT:
        return ZERO_SHOT
    found = (work / "runs").rglob(WEIGHTS)
    folders = [path.parent for path in found if not path.parent.name.startswith(LAST)]
    dated = sorted(folders, key=lambda folder: -(folder / WEIGHTS).stat().st_mtime_ns)
    others = []
    for folder in dated:
        try:
            run = read_run(folder)
            if run.head == head:
                cache_of_run(work, run)
                return _name_of(work, folder)
        except (DamagedError, MismatchError) as error:
            log.warning("Leaving out run %s: %s", folder.name, error)
            continue
        except MissingError as error:  # nothing is encoded with its encoders yet
            log.info("Leaving out run %s: %s", folder.name, error)
            continue
        others.append(run.head)
    known = ", ".join(sorted(set(others))) or "none"
    raise MissingError(
        f"no finished run of head {head} below {work / 'runs'} (there are runs of: {known}): make "
        f"one with `vidret train-heads --head {head}`"
    )


def _name_of(work: Path, folder: Path) -> str:
    return folder.relative_to(work / "runs").as_posix()
