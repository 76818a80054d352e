"""Sinkhorn's balancing: as much falls to every candidate, and as much comes from every query.

Yakovlev et al. (SIGIR 2023, arXiv 2311.08143) balance all test queries against all videos, and
describe a second setting that needs one test query alone. Their formulas were not at hand, so the
single-query form is a reconstruction: a bank of training queries is balanced, and what that took
from each candidate is taken from it for every new query. With one iteration this is the inverted
softmax. The order of steps and the default temperature are those of DBSN's public code (Pan et al.,
arXiv 2508.02538), which balances a bank in the same way.

All of it is done with logs, so that no temperature is too low.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from vidret.heads.reranking.correcting import Block, Correct, less
from vidret.heads.reranking.pairs import Asked, log_sums
from vidret.heads.streaming import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Potentials:
    """The logs of the two scalings: the plan of a pair is exp(similarity / T + both)."""

    queries: Float[np.ndarray, " query"]
    candidates: Float[np.ndarray, " candidate"]


def balance(asked: Asked, *, temperature: float, iterations: int) -> Potentials:
    """Scale candidates and then queries to uniform sums, in turn.

    Args:
        asked: what is balanced.
        temperature: T; the lower, the more a pair's similarity decides.
        iterations: how often either side is scaled.
    """
    candidates, queries = np.zeros(asked.num_candidates), np.zeros(asked.num_queries)
    for _ in range(iterations):
        sums = log_sums(asked, 1 / temperature, queries)
        candidates = -np.log(asked.num_candidates) - sums
        sums = log_sums(asked.flipped, 1 / temperature, candidates)
        queries = -np.log(asked.num_queries) - sums
    return Potentials(queries=queries, candidates=candidates)


def sinkhorn_bank(bank: Asked, *, temperature: float, iterations: int) -> Correct:
    """Add what balances a bank of other queries over the same candidates (a reconstruction)."""
    found = balance(bank, temperature=temperature, iterations=iterations)
    return less(-temperature * found.candidates)


def sinkhorn_full(asked: Asked, *, temperature: float, iterations: int) -> tuple[Correct, Correct]:
    """Rank by the plan that balances all queries and all candidates.

    Within a query the plan's order is that of its log, in which the query's own scaling is one and
    the same; so too within a candidate. One plan serves both directions: that of the queries, and
    that of the candidates where they ask.
    """
    found = balance(asked, temperature=temperature, iterations=iterations)
    t2v, v2t = less(-temperature * found.candidates), less(-temperature * found.queries)
    return (
        _all_tie if asked.num_queries == 1 else t2v,
        _all_tie if asked.num_candidates == 1 else v2t,
    )


def _all_tie(block: Block, _queries: Rows, _candidates: Rows) -> Block:
    """One query alone gives all candidates the same share, and rounding must not rank them."""
    return np.zeros_like(block)
