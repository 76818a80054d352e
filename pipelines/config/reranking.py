"""The settings of re-ranking, which `vidret evaluate` takes."""

# ruff: noqa: RUF009 - setting() is dataclasses.field with more metadata

from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar

from vidret.heads.reranking.options import (
    DEFAULT_RERANK,
    RERANKERS,
    RerankOptions,
    needing_a_bank,
)
from vidret.pipelines.config.declaring import Config, ReportConfig, check_list, require, setting

TRAIN = "train"
BANK_SIZE = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankConfig(ReportConfig):
    """Which re-rankers are shown below the plain numbers, with what; none unless asked for."""

    group: ClassVar[str] = "Re-ranking"

    rerank: tuple[str, ...] | None = setting(
        None, help=f"Rows for {', '.join(RERANKERS)}.", metavar="NAME,NAME..."
    )
    rerank_tune: str | None = setting(
        None, help="Split that picks a setting of each re-ranker, as val; unset picks none."
    )
    bank_size: int = setting(
        BANK_SIZE, help="Captions of split train in a bank, and videos, at most; 0 is all."
    )
    bank: Path | None = setting(
        None, help="With --sims, a .npy: training captions against the same videos."
    )
    bank_videos: Path | None = setting(
        None, help="With --sims, a .npy: the same captions against training videos."
    )
    qb_beta: float = setting(
        DEFAULT_RERANK.qb_beta, help="Inverse temperature of qb-norm, for cosines."
    )
    qb_top: int = setting(
        DEFAULT_RERANK.qb_top, help="First candidates of a bank's query that qb-norm takes as hubs."
    )
    nnn_weight: float = setting(
        DEFAULT_RERANK.nnn_weight, help="Share of the neighbours' mean that nnn takes away."
    )
    nnn_neighbours: int = setting(
        DEFAULT_RERANK.nnn_neighbours, help="Queries of a bank that nnn takes the mean of."
    )
    dsl_scale: float = setting(
        DEFAULT_RERANK.dsl_scale, help="What dsl multiplies cosines by; 1 if they are logits."
    )
    sinkhorn_temperature: float = setting(
        DEFAULT_RERANK.sinkhorn_temperature, help="What sinkhorn-* divide cosines by."
    )
    sinkhorn_iterations: int = setting(
        DEFAULT_RERANK.sinkhorn_iterations, help="How often sinkhorn-* balance either side."
    )

    def __post_init__(self) -> None:
        Config.__post_init__(self)
        check_rerankers(self.rerank)
        for given in ("rerank_tune", "bank", "bank_videos"):
            require(
                getattr(self, given) is None or self.rerank is not None,
                f"{given} is {getattr(self, given)}, and nothing is re-ranked: add --rerank",
            )
        check_bank_size(self.bank_size)
        _ = self.rerank_options

    def check_splits(self, *, matrix: bool, split: str) -> None:
        """Refuse what has no bank, or one that is no bank, and settings picked by the answers."""
        needing = ", ".join(needing_a_bank(self.rerank or ()))
        if matrix:
            require(
                not needing or bool(self.bank or self.bank_videos),
                f"rerank is {needing}, which looks at training queries: add --bank, a .npy of "
                "training captions against these videos, or --bank-videos",
            )
            require(
                self.bank_size == BANK_SIZE,
                f"bank_size is {self.bank_size}, and the bank of a matrix is a file: leave it out",
            )
            require(
                self.rerank_tune is None,
                f"rerank_tune is {self.rerank_tune}, and a matrix has no other split: leave it out",
            )
            return
        for given in ("bank", "bank_videos"):
            require(
                getattr(self, given) is None,
                f"{given} is {getattr(self, given)}, but only a matrix needs it: a run takes its "
                "bank from the train split of its cache",
            )
        require(
            not needing or split != TRAIN,
            f"rerank is {needing}, whose bank is the split train, and that is what is scored: "
            "score another split",
        )
        check_tuning(self.rerank_tune, split)

    @property
    def rerank_options(self) -> RerankOptions:
        """The settings of the re-rankers."""
        return RerankOptions(**{one.name: getattr(self, one.name) for one in fields(RerankOptions)})


def check_rerankers(names: tuple[str, ...] | None) -> None:
    """Refuse what is no re-ranker, and a list that says one twice."""
    if names is None:
        return
    check_list("rerank", names)
    for name in names:
        require(name in RERANKERS, f"rerank is {name!r}: {_meant(name)}")


def check_bank_size(size: int) -> None:
    """Refuse a bank of less than nothing."""
    require(size >= 0, f"bank_size is {size}: give 0 (all) or more")


def check_tuning(tuned_on: str | None, split: str) -> None:
    """Refuse settings that are picked by the answers, or by the bank itself."""
    require(
        tuned_on not in (split, TRAIN),
        f"rerank_tune is {tuned_on}, which is scored or the bank: pick settings on another split, "
        "such as val",
    )


def _meant(name: str) -> str:
    close = get_close_matches(name, RERANKERS, n=1)
    return f"did you mean {close[0]!r}?" if close else f"give {', '.join(RERANKERS)}"
