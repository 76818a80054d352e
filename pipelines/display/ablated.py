"""A table of heads at a terminal, and what a dry run finds."""

from collections import Counter
from dataclasses import replace
from typing import get_args

from vidret.data.words import counted
from vidret.pipelines.ablation.fits import State
from vidret.pipelines.ablation.report import AblatePlan, AblateReport
from vidret.pipelines.display.ablation_forms import ablation_text
from vidret.pipelines.display.ablation_words import (
    COMPARISON,
    COSTS,
    LEAD,
    METRICS,
    caption_of,
    comparison_cells,
    cost_cells,
    cost_sentences,
    costed,
    protocol_line,
)
from vidret.pipelines.display.ranked import DIRECTIONS
from vidret.pipelines.display.tables import Rendered, Table, mean_std

STATES: tuple[State, ...] = get_args(State)


def render_ablate(report: AblateReport, form: str = "table") -> Rendered:
    """The paper's Table 1: a row a head, its spread over the seeds, its distance from the base."""
    if form != "table":
        return ablation_text(report, form).rstrip("\n")
    tables = []
    for way, name in DIRECTIONS.items():
        tables.append(_spread_table(report, way, name))
        if any(row.against_base for row in report.rows):
            tables.append(_comparison_table(report, way, name))
    if kinds := list(report.rows[0].scores[0].kinds):
        tables.append(_kinds_table(report, kinds))
    if costed(report):
        tables.append(_cost_table(report))
        tables[-2] = replace(tables[-2], caption=caption_of(report))
        return [*(part for table in tables[:-1] for part in (table, "")), tables[-1]]
    last = replace(tables.pop(), caption=caption_of(report))
    return [*(part for table in tables for part in (table, "")), last]


def render_plan(plan: AblatePlan) -> Rendered:
    """How far each row and seed is, and what the command would do."""
    labels = dict.fromkeys((one.label, one.in_table) for one in plan.fits)
    states = {(one.label, one.seed): str(one.state) for one in plan.fits}
    rows = tuple(
        (
            _loose(label if in_table else f"{label} (first stage alone)"),
            *(states.get((label, seed)) for seed in plan.seeds),
        )
        for label, in_table in labels
    )
    counts, again = Counter(one.state for one in plan.fits), plan.to_rank_again
    told = ", ".join(f"{counts[state]:,} {state}" for state in STATES if counts[state])
    return [
        Table(title="", columns=("head", *(f"seed {seed}" for seed in plan.seeds)), rows=rows),
        "",
        f"{counted(len(plan.fits), 'fit')}: {told}. Nothing was fitted.",
        *([f"Still to be re-ranked: {counted(again, 'time')}."] if again else []),
        *([f"Still to be timed: {counted(plan.to_time, 'row')}."] if plan.to_time else []),
    ]


def _spread_table(report: AblateReport, way: str, name: str) -> Table:
    return Table(
        title=f"{name}: {protocol_line(report)}",
        columns=("head", *METRICS),
        rows=tuple(
            (_loose(row.label), *(mean_std(row.values(way, metric)) for metric in METRICS))
            for row in report.rows
        ),
    )


def _comparison_table(report: AblateReport, way: str, name: str) -> Table:
    return Table(
        title=f"{LEAD} {name}, against {report.base}",
        columns=("head", *COMPARISON),
        rows=tuple(
            (_loose(row.label), *comparison_cells(row, way))
            for row in report.rows
            if row.against_base
        ),
    )


def _kinds_table(report: AblateReport, kinds: list[str]) -> Table:
    return Table(
        title="R@1 text to video, by what decides the caption",
        columns=("head", *kinds),
        rows=tuple(
            (_loose(row.label), *(mean_std(row.values("kinds", kind)) for kind in kinds))
            for row in report.rows
        ),
    )


def _cost_table(report: AblateReport) -> Table:
    return Table(
        title="What each head costs",
        columns=("head", *COSTS),
        rows=tuple((_loose(row.label), *cost_cells(row)) for row in costed(report)),
        caption=cost_sentences(report),
    )


def _loose(label: str) -> str:
    """A label that breaks beside its equals signs, where a column is narrow."""
    return label.replace("=", " = ")
