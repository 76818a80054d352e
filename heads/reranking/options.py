"""The re-rankers by name, what each of them looks at, and their settings.

Nothing here needs numpy or torch, so a command line can name them at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Literal

from vidret.data.errors import ConfigError

Tag = Literal["train-bank", "transductive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranker:
    """What a table says of a re-ranker.

    Args:
        tag: `train-bank` where a query is scored by itself, against queries of training that are
            fixed beforehand; `transductive` where it is scored by means of the other test queries.
        summary: what it does, in a line.
        settings: the fields of `RerankOptions` that it takes.
        reconstructed: its formula is ours, since that of its paper was not at hand.
    """

    name: str
    tag: Tag
    summary: str
    settings: tuple[str, ...]
    reconstructed: bool = False


RERANKERS: dict[str, Reranker] = {
    one.name: one
    for one in (
        Reranker(
            name="qb-norm",
            tag="train-bank",
            summary="inverted softmax over a bank, for queries whose best candidate is a hub of it",
            settings=("qb_beta", "qb_top"),
        ),
        Reranker(
            name="nnn",
            tag="train-bank",
            summary="less the mean of a candidate's nearest queries in a bank",
            settings=("nnn_weight", "nnn_neighbours"),
        ),
        Reranker(
            name="sinkhorn-bank",
            tag="train-bank",
            summary="a bank is balanced over the candidates, and each query takes what that needed",
            settings=("sinkhorn_temperature", "sinkhorn_iterations"),
            reconstructed=True,
        ),
        Reranker(
            name="dsl",
            tag="transductive",
            summary="times the softmax over the test queries",
            settings=("dsl_scale",),
        ),
        Reranker(
            name="sinkhorn-full",
            tag="transductive",
            summary="test queries and candidates are balanced against each other",
            settings=("sinkhorn_temperature", "sinkhorn_iterations"),
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankOptions:
    """The settings of all re-rankers; the defaults are published ones, for cosines.

    Args:
        qb_beta: the inverse temperature of QB-Norm's softmax.
        qb_top: how many candidates of each query of the bank QB-Norm takes for hubs.
        nnn_weight: what NNN's mean counts, its alpha.
        nnn_neighbours: how many queries of the bank the mean is taken over, its k.
        dsl_scale: what similarities are multiplied by before the dual softmax.
        sinkhorn_temperature: what similarities are divided by before they are balanced.
        sinkhorn_iterations: how often either side is balanced.
    """

    qb_beta: float = 20.0
    qb_top: int = 1
    nnn_weight: float = 0.75
    nnn_neighbours: int = 128
    dsl_scale: float = 100.0
    sinkhorn_temperature: float = 0.01
    sinkhorn_iterations: int = 10

    def __post_init__(self) -> None:
        for one in fields(self):
            its = getattr(self, one.name)
            if isinstance(one.default, int) and its < 1:
                raise ConfigError(f"{one.name} is {its}: give 1 or more")
            if not 0 < its < float("inf"):
                raise ConfigError(f"{one.name} is {its}: give a number above 0")

    def of(self, reranker: Reranker) -> dict[str, float]:
        """The settings that a re-ranker takes, by name."""
        return {name: getattr(self, name) for name in reranker.settings}


DEFAULT_RERANK = RerankOptions()


def find_reranker(name: str) -> Reranker:
    """The re-ranker of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in RERANKERS:
        close = get_close_matches(name, RERANKERS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(
            f"there is no re-ranker {name!r}: {hint}The re-rankers are {', '.join(RERANKERS)}"
        )
    return RERANKERS[name]


def needing_a_bank(names: Sequence[str]) -> list[str]:
    """Those of some re-rankers that look at queries of training."""
    return [name for name in names if find_reranker(name).tag == "train-bank"]
