"""The table of heads as numbers: rows with their seeds, spread and distance from the base row."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from statistics import mean, stdev
from typing import Any

from vidret.data.errors import VidretError
from vidret.heads.costs import Shape
from vidret.heads.reranking.options import Reranker
from vidret.pipelines.ablation.comparing import Comparison
from vidret.pipelines.ablation.costs import RowCost
from vidret.pipelines.ablation.fits import State
from vidret.pipelines.ablation.rows import Kind
from vidret.pipelines.config.varying import Changes
from vidret.pipelines.evaluate import Scores, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A fit that came to nothing."""

    label: str
    seed: int
    error: VidretError

    @property
    def text(self) -> str:
        """Which fit, and why."""
        return f"{self.label}, seed {self.seed}: {self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One head and its numbers, one for each seed.

    Args:
        head: its name.
        scores: of each seed.
        seeds: those that were fitted.
        runs: the names of their runs.
        changes: what differs from the settings that all rows share.
        ignored: settings that vary in the table and play no part here.
        against_base: the distance from the base row by direction and metric; empty for itself.
        rerank: what its runs are ranked again by; None for a plain row.
        rerank_settings: of that, as given or picked, one for each seed.
        cost: what it takes, where that was asked for; re-ranking is not in it.
    """

    head: str
    scores: tuple[Scores, ...]
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()
    changes: Changes = ()
    ignored: tuple[str, ...] = ()
    against_base: Mapping[str, Mapping[str, Comparison]] = field(default_factory=dict)
    rerank: Reranker | None = None
    rerank_settings: tuple[Mapping[str, float], ...] = ()
    cost: RowCost | None = None

    @property
    def label(self) -> str:
        """What the paper's table calls it, and what looks at more than the query."""
        plain = Kind(head=self.head, changes=self.changes, ignored=self.ignored).label
        return plain if self.rerank is None else f"{plain}, {_told(self.rerank)}"

    def values(self, direction: str, metric: str) -> list[float]:
        """One metric of every seed."""
        return [getattr(scores, direction)[metric] for scores in self.scores]


@dataclass(frozen=True, slots=True, kw_only=True)
class AblateReport:
    """The table.

    Args:
        rows: those that have at least one seed.
        seeds: that were asked for.
        setting: what it is measured on.
        base: label of the row that the others are compared with.
        resamples: draws behind each interval.
        failures: fits that came to nothing.
        reranking: what is to be known of the re-ranked rows.
        shape: of the texts and videos that costs were measured on; None without costs.
    """

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    setting: Setting
    base: str = ""
    resamples: int = 0
    failures: tuple[Failure, ...] = ()
    reranking: tuple[str, ...] = ()
    shape: Shape | None = None

    @property
    def verdict(self) -> VidretError | None:
        """The first fit that failed, once the others are done."""
        return None if not self.failures else verdict_on(self.failures)

    def as_json(self) -> dict[str, Any]:
        """The report for machines, with mean and spread worked out."""
        return {
            "setting": asdict(self.setting) | {"chance": self.setting.chance},
            "seeds": list(self.seeds),
            "base": self.base,
            "resamples": self.resamples,
            "reranking": list(self.reranking),
            "cost_shape": self.shape and asdict(self.shape),
            "rows": [
                {
                    "head": row.head,
                    "label": row.label,
                    "changes": dict(row.changes),
                    "ignored": list(row.ignored),
                    "rerank": row.rerank
                    and {
                        "name": row.rerank.name,
                        "tag": row.rerank.tag,
                        "settings": [dict(one) for one in row.rerank_settings],
                    },
                    "cost": row.cost and row.cost.as_json(),
                    **{way: spread_of(row, way) for way in ("t2v", "v2t", "kinds")},
                    "against_base": {
                        way: {metric: asdict(one) for metric, one in its.items()}
                        for way, its in row.against_base.items()
                    },
                    "fitted_seeds": list(row.seeds),
                    "runs": list(row.runs),
                    "seeds": [asdict(scores) for scores in row.scores],
                }
                for row in self.rows
            ],
            "failures": [
                {"row": one.label, "seed": one.seed, "error": str(one.error)}
                for one in self.failures
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFit:
    """How far one fit of a table is."""

    label: str
    seed: int
    run: str
    state: State
    in_table: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AblatePlan:
    """What `--dry-run` finds.

    Args:
        fits: all of them.
        seeds: that are asked for.
        to_rank_again: how many runs and re-rankers are not kept, those to be fitted included.
        to_time: how many rows have no cost that is kept.
    """

    fits: tuple[PlannedFit, ...]
    seeds: tuple[int, ...]
    to_rank_again: int = 0
    to_time: int = 0

    @property
    def verdict(self) -> VidretError | None:
        """A plan has no verdict."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The plan for machines."""
        return {
            "seeds": list(self.seeds),
            "fits": [asdict(one) for one in self.fits],
            "to_rank_again": self.to_rank_again,
            "to_time": self.to_time,
        }


def _told(reranker: Reranker) -> str:
    """What a row says of its re-ranker."""
    ours = " (reconstruction)" if reranker.reconstructed else ""
    return f"{reranker.name}{ours} [{reranker.tag}]"


def spread_of(row: Row, way: str) -> dict[str, dict[str, float | None]]:
    """Mean and sample standard deviation of each number over the seeds; one seed has no spread."""
    table = [getattr(scores, way) for scores in row.scores]
    return {
        metric: {
            "mean": mean(numbers[metric] for numbers in table),
            "std": stdev(numbers[metric] for numbers in table) if len(table) > 1 else None,
        }
        for metric in table[0]
    }


def verdict_on(failures: tuple[Failure, ...]) -> VidretError:
    """The error to end with: the first one, where it happened, and how many there are."""
    first = failures[0]
    others = f" ({len(failures) - 1} more failed)" if len(failures) > 1 else ""
    return type(first.error)(
        f"{first.text}{others}; the other rows are kept, and the same command tries these again"
    )
