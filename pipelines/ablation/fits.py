"""The fits behind a table: which runs there are, which need another first, which are done."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vidret.data.cache import FeatureCache
from vidret.data.errors import MismatchError
from vidret.heads.metrics import Competition
from vidret.heads.streaming import BothRanks
from vidret.pipelines.ablation.ranks import kept_ranks
from vidret.pipelines.ablation.rows import Kind, kind_of
from vidret.pipelines.config.fitting import AblateConfig
from vidret.pipelines.config.varying import varied
from vidret.pipelines.training.fitting import UNTRAINED, new_run
from vidret.pipelines.training.runs import RUN, SOUND, WEIGHTS, Run, read_run, run_name

SPLIT = "test"

State = Literal["done", "to score", "begun", "to fit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One run of a table.

    Args:
        label: of its row.
        run: what to fit.
        folder: of the run.
        after: folder of the run whose first stage it shares.
        in_table: False for a first stage that is no row itself, and so need not be scored.
    """

    label: str
    run: Run
    folder: Path
    after: Path | None = None
    in_table: bool = True

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.label}, seed {self.run.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All fits of a table by their folders, and the folder of each row and seed.

    Each fit stands behind the one that it needs.
    """

    fits: dict[Path, Fit]
    cells: dict[tuple[Kind, int], Path]


def plan_fits(config: AblateConfig, cache: FeatureCache, rows: Sequence[Kind]) -> Plan:
    """Settle which runs a table is made of.

    Raises:
        ConfigError: there is no such head, or the cache lacks a split.
        MissingError: a head listens, and the cache holds no sound.
    """
    firsts = {row: _first_stage(config, row) for row in rows}
    every = dict.fromkeys([*rows, *(first for first in firsts.values() if first)])
    runs = {row: _run_of(config, cache, row) for row in every}
    plan = Plan(fits={}, cells={})
    for seed in config.seeds:
        for row, first in firsts.items():
            before = None
            if first is not None:
                before = _fit(config, first, runs[first], seed, in_table=False)
                plan.fits.setdefault(before.folder, before)
            fit = _fit(config, row, runs[row], seed, after=before.folder if before else None)
            plan.fits[fit.folder] = fit
            plan.cells[row, seed] = fit.folder
    return plan


def state_of(fit: Fit, cache: FeatureCache, v2t_by: Competition) -> tuple[State, BothRanks | None]:
    """How far a fit is, and its ranks where they are kept.

    Raises:
        MismatchError: its folder holds another run.
    """
    if not (fit.folder / RUN).exists():
        return "to fit", None
    before = read_run(fit.folder)
    if before.settings != fit.run.settings:
        raise MismatchError(
            f"{fit.folder} holds a run with other settings than {fit.name}: "
            "move that folder elsewhere and give the same command again"
        )
    if not ((fit.folder / WEIGHTS).exists() and before.complete):
        return "begun", None
    if not fit.in_table:
        return "done", None
    ranks = kept_ranks(fit.folder, fit.run, cache, SPLIT, v2t_by)
    return ("to score", None) if ranks is None else ("done", ranks)


def _first_stage(config: AblateConfig, row: Kind) -> Kind | None:
    """The row whose run has the first stage of a row with sound, or None where there is none."""
    plain = row.head.removesuffix(SOUND)
    learns = plain != UNTRAINED or varied(config, row.changes).train_projection
    if plain == row.head or not learns:
        return None
    return replace(kind_of(config, plain, row.changes), ignored=())


def _run_of(config: AblateConfig, cache: FeatureCache, row: Kind) -> Run:
    """The run of a row with the first seed; refuses now what would fail hours later."""
    return new_run(cache, row.head, config.seeds[0], varied(config, row.changes))


def _fit(
    config: AblateConfig,
    row: Kind,
    run: Run,
    seed: int,
    *,
    after: Path | None = None,
    in_table: bool = True,
) -> Fit:
    name = run_name(run.head, seed, run.settings, run.fingerprint)
    return Fit(
        label=row.label,
        run=replace(run, name=name, seed=seed),
        folder=config.work / "runs" / name,
        after=after,
        in_table=in_table,
    )
