"""`vidret ablate`: the rows of the paper's Table 1 and their variations, each over seeds."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidret.data.cache import FeatureCache, newest_cache
from vidret.data.errors import MissingError
from vidret.data.features import SplitFeatures
from vidret.extract.encoders import pick_device
from vidret.heads.metrics import Competition
from vidret.heads.protocols import PROTOCOLS
from vidret.heads.reranking.options import find_reranker
from vidret.heads.streaming import BothRanks
from vidret.pipelines.ablation.comparing import compare
from vidret.pipelines.ablation.costs import RowCost, cost_of_row, is_timed, shape_of
from vidret.pipelines.ablation.fits import SPLIT, Fit, Plan, State, plan_fits, state_of
from vidret.pipelines.ablation.processes import count_jobs, fit_side_by_side
from vidret.pipelines.ablation.report import (
    AblatePlan,
    AblateReport,
    Failure,
    PlannedFit,
    Row,
    verdict_on,
)
from vidret.pipelines.ablation.reranked import (
    Again,
    ByName,
    is_kept,
    rank_again,
    reranking_of,
    said_of_reranking,
)
from vidret.pipelines.ablation.rows import TABLE_1, Kind, base_of, kinds_of_rows
from vidret.pipelines.ablation.working import Bench, Event, OnEvent, fit_in_turn
from vidret.pipelines.config.fitting import AblateConfig
from vidret.pipelines.config.settings import EvaluateConfig
from vidret.pipelines.display.progress import OnProgress, Progress
from vidret.pipelines.evaluate import Setting, describe_setting, scores_of
from vidret.pipelines.training.fitting import PART_OF_TRAIN
from vidret.pipelines.training.journal import LogSettings, require_tensorboard

__all__ = ["TABLE_1", "AblatePlan", "AblateReport", "Row", "plan_ablate", "run_ablate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """A table before its fits: what it is made of, and how far each fit is."""

    cache: FeatureCache
    rows: list[Kind]
    base: Kind
    plan: Plan
    states: dict[Path, State]
    kept: dict[Path, BothRanks]
    v2t_by: Competition
    features: SplitFeatures
    reranking: EvaluateConfig | None


def run_ablate(config: AblateConfig, *, on_progress: OnProgress) -> AblateReport:
    """Fit and score every row with every seed; what was done before is only read."""
    table = _look(config)
    to_do = [fit for fit in table.plan.fits.values() if table.states[fit.folder] != "done"]
    failures = _fit_all(config, table, to_do, _follower(table, on_progress))
    kept = dict(table.kept)
    for fit in to_do:
        _, ranks = state_of(fit, table.cache, table.v2t_by)
        if ranks is not None:
            kept[fit.folder] = ranks
    if not kept:
        raise verdict_on(tuple(failures))
    tell = _teller(table, kept, failures, on_progress)
    again = _rank_again(config, table, kept, tell)
    costs = _costs(config, table, kept, tell)
    return _report(config, table, kept, failures, again, costs)


def plan_ablate(config: AblateConfig) -> AblatePlan:
    """Say which fits of a table are done, and which would be fitted."""
    table = _look(config)
    return AblatePlan(
        fits=tuple(
            PlannedFit(
                label=fit.label,
                seed=fit.run.seed,
                run=fit.run.name,
                state=table.states[fit.folder],
                in_table=fit.in_table,
            )
            for fit in table.plan.fits.values()
        ),
        seeds=config.seeds,
        to_rank_again=_count_to_rank_again(config, table),
        to_time=_count_to_time(config, table),
    )


def _count_to_rank_again(config: AblateConfig, table: _Table) -> int:
    again = _again(config, table)
    if again is None:
        return 0
    fits = [fit for fit in table.plan.fits.values() if fit.in_table]
    done = sum(is_kept(again, fit, name) for fit in fits for name in config.rerank or ())
    return len(fits) * len(config.rerank or ()) - done


def _count_to_time(config: AblateConfig, table: _Table) -> int:
    if not config.shows_cost:
        return 0
    shape, device = shape_of(table.cache, table.features), pick_device(config.device)
    first = [table.plan.fits[table.plan.cells[row, config.seeds[0]]] for row in table.rows]
    kept = 0 if config.remeasure else sum(is_timed(fit, shape, device) for fit in first)
    return len(first) - kept


def _look(config: AblateConfig) -> _Table:
    """Everything that can be said and refused before a fit begins."""
    _require_folders([*(config.out or ()), *(config.plot or ()), *(config.plot_cost or ())])
    if config.tensorboard:
        require_tensorboard()
    cache = FeatureCache.open(config.cache or newest_cache(config.work))
    reranking = reranking_of(config, cache)
    rows = kinds_of_rows(config, cache)
    base = base_of(config, rows)
    plan = plan_fits(config, cache, rows)
    features = _captioned(cache, SPLIT)
    for split in sorted({"train", *(fit.run.settings["select_on"] for fit in plan.fits.values())}):
        if split != PART_OF_TRAIN:
            _captioned(cache, split)
    protocol = PROTOCOLS.get(cache.manifest.settings["protocol"])
    v2t_by: Competition = protocol.v2t if protocol else "group"
    found = {folder: state_of(fit, cache, v2t_by) for folder, fit in plan.fits.items()}
    return _Table(
        cache=cache,
        rows=rows,
        base=base,
        plan=plan,
        states={folder: state for folder, (state, _) in found.items()},
        kept={folder: ranks for folder, (_, ranks) in found.items() if ranks is not None},
        v2t_by=v2t_by,
        features=features,
        reranking=reranking,
    )


def _fit_all(
    config: AblateConfig, table: _Table, to_do: Sequence[Fit], on_event: OnEvent
) -> list[Failure]:
    """Fit what is missing, side by side where there is room, and give what failed."""
    failures: list[Failure] = []

    def note(event: Event) -> None:
        if event.error is not None:
            fit = event.fit
            failures.append(Failure(label=fit.label, seed=fit.run.seed, error=event.error))
        on_event(event)

    if to_do:
        device = str(pick_device(config.device))
        bench = Bench(
            cache=table.cache.folder,
            device=device,
            v2t_by=table.v2t_by,
            log_settings=LogSettings(every=config.log_every, tensorboard=config.tensorboard),
        )
        jobs = count_jobs(config.jobs, table.cache, device)
        if jobs > 1 and len(to_do) > 1:
            fit_side_by_side(bench, to_do, note, jobs=jobs)
        else:  # one thread wherever several fit side by side: the same bits, however many are left
            fit_in_turn(bench, to_do, note, threads=1 if jobs > 1 else 0)
    return failures


def _follower(table: _Table, on_progress: OnProgress) -> OnEvent:
    """What turns events of fits into progress of the table."""
    cells = [folder for folder, fit in table.plan.fits.items() if fit.in_table]
    skipped = sum(table.states[folder] == "done" for folder in cells)
    done, failed = 0, 0

    def show(note: str = "") -> None:
        on_progress(
            Progress(done=done, failed=failed, skipped=skipped, total=len(cells), note=note)
        )

    def follow(event: Event) -> None:
        nonlocal done, failed
        if event.ended and event.fit.in_table:
            done, failed = done + (event.error is None), failed + (event.error is not None)
        show(event.fit.name if event.ended else f"{event.fit.name}, epoch {event.epoch}")

    show()
    return follow


def _teller(
    table: _Table,
    kept: Mapping[Path, BothRanks],
    failures: Sequence[Failure],
    on_progress: OnProgress,
) -> Callable[[str], None]:
    """What tells of the work behind the fits."""
    skipped = len(table.kept)
    counts = Progress(
        done=len(kept) - skipped,
        failed=len(failures),
        skipped=skipped,
        total=len(kept) + len(failures),
    )
    return lambda note: on_progress(replace(counts, note=note))


def _rank_again(
    config: AblateConfig,
    table: _Table,
    kept: Mapping[Path, BothRanks],
    tell: Callable[[str], None],
) -> dict[Path, ByName]:
    """The ranks of every run by each re-ranker."""
    again = _again(config, table)
    if again is None:
        return {}
    return {folder: rank_again(again, table.plan.fits[folder], tell) for folder in kept}


def _again(config: AblateConfig, table: _Table) -> Again | None:
    if table.reranking is None:
        return None
    return Again(
        cache=table.cache,
        features=table.features,
        config=table.reranking,
        v2t_by=table.v2t_by,
        device=pick_device(config.device),
    )


def _costs(
    config: AblateConfig,
    table: _Table,
    kept: Mapping[Path, BothRanks],
    tell: Callable[[str], None],
) -> dict[Kind, RowCost]:
    """What every row costs, where that is to be shown."""
    if not config.shows_cost:
        return {}
    shape, costs = shape_of(table.cache, table.features), {}
    for row in table.rows:
        folders = [table.plan.cells[row, seed] for seed in config.seeds]
        fits = [table.plan.fits[folder] for folder in folders if folder in kept]
        if fits:
            tell(f"{row.label}, its cost")
            device = pick_device(config.device)
            costs[row] = cost_of_row(fits, shape, device, anew=config.remeasure)
    return costs


def _report(
    config: AblateConfig,
    table: _Table,
    kept: Mapping[Path, BothRanks],
    failures: Iterable[Failure],
    again: Mapping[Path, ByName],
    costs: Mapping[Kind, RowCost],
) -> AblateReport:
    rows: list[Row] = []
    base = _ranks_by_seed(config, table, kept, table.base)
    for kind in table.rows:
        plain = _ranks_by_seed(config, table, kept, kind)
        if not plain:
            continue
        compared = {} if kind == table.base else base
        rows.append(replace(_row(config, table, kind, plain, compared), cost=costs.get(kind)))
        for name in config.rerank or ():
            anew = {seed: again[table.plan.cells[kind, seed]][name] for seed in plain}
            row = _row(config, table, kind, {seed: one.ranks for seed, one in anew.items()}, base)
            settings = tuple(one.settings for one in anew.values())
            rows.append(replace(row, rerank=find_reranker(name), rerank_settings=settings))
    found = [one for by_name in again.values() for one in by_name.values()]
    return AblateReport(
        rows=tuple(rows),
        seeds=config.seeds,
        setting=_setting(table),
        base=table.base.label,
        resamples=config.resamples,
        failures=tuple(failures),
        reranking=() if table.reranking is None else said_of_reranking(table.reranking, found),
        shape=shape_of(table.cache, table.features) if config.shows_cost else None,
    )


def _ranks_by_seed(
    config: AblateConfig, table: _Table, kept: Mapping[Path, BothRanks], row: Kind
) -> dict[int, BothRanks]:
    folders = {seed: table.plan.cells[row, seed] for seed in config.seeds}
    return {seed: kept[folder] for seed, folder in folders.items() if folder in kept}


def _row(
    config: AblateConfig,
    table: _Table,
    row: Kind,
    ranks: Mapping[int, BothRanks],
    base: Mapping[int, BothRanks],
) -> Row:
    against = compare(ranks, base, table.features, resamples=config.resamples) if base else {}
    return Row(
        head=row.head,
        scores=tuple(scores_of(its, table.features) for its in ranks.values()),
        seeds=tuple(ranks),
        runs=tuple(table.plan.cells[row, seed].name for seed in ranks),
        changes=row.changes,
        ignored=row.ignored,
        against_base=against,
    )


def _setting(table: _Table) -> Setting:
    """What the table is measured on, with every split that some row picks its epochs on."""
    selections = dict.fromkeys(fit.run.settings["select_on"] for fit in table.plan.fits.values())
    return describe_setting(
        table.cache,
        table.features,
        " and ".join(selections),
        v2t_by=table.v2t_by,
        runs=[fit.run for fit in table.plan.fits.values() if fit.in_table],
    )


def _captioned(cache: FeatureCache, split: str) -> SplitFeatures:
    """A split whose embeddings stay on disk, refused where it could not be scored.

    Raises:
        ConfigError: there is no such split.
        MissingError: it has no captions.
    """
    features = cache.load(split, view="lazy")
    if not features.caption_ids:
        raise MissingError(
            f"split {split!r} of {cache.folder} has no captions: "
            "training and evaluation need a dataset that has some"
        )
    return features


def _require_folders(paths: Iterable[Path]) -> None:
    """Refuse now a file that could not be written when all is fitted.

    Raises:
        MissingError: its folder is not there.
    """
    for path in paths:
        if not path.absolute().parent.is_dir():
            raise MissingError(
                f"{path.parent} is no folder: make it, or write {path.name} elsewhere"
            )
        if path.is_dir() or not os.access(path.absolute().parent, os.W_OK):
            raise MissingError(f"{path} cannot be written: give the name of another file")
