"""QB-Norm by its dynamic inverted softmax (Bogolin et al., CVPR 2022, arXiv 2112.12777).

The inverted softmax divides exp(beta s) of a query and a candidate by the sum of exp(beta q) over
the bank's queries: a hub, near to all of them, is divided by much. The dynamic one does so only for
queries whose best candidate is the best of a query of the bank, too, so that a bank that has
nothing to do with the query does no harm.

Only the order within a query counts, so the log of the ratio is taken: s less a number a candidate.
"""

import numpy as np
from jaxtyping import Bool, Float

from vidret.heads.reranking.correcting import Correct, less
from vidret.heads.reranking.pairs import Asked, log_sums, nearest


def qb_norm(asked: Asked, bank: Asked, *, beta: float, top: int) -> Correct:
    """Divide by the bank's sums where a query's best candidate is a hub of the bank.

    Where several are the best alike, one that is a hub is enough, and of a query of the bank all
    that tie for its `top` places are hubs: so twins are always treated alike.

    Args:
        asked: the queries and candidates.
        bank: other queries, and the same candidates.
        beta: the inverse temperature.
        top: how many candidates of each query of the bank are hubs.
    """
    return less(log_sums(bank, beta) / beta, of=_best_is_one_of(asked, _hubs(bank, top)))


def _hubs(bank: Asked, top: int) -> Bool[np.ndarray, " candidate"]:
    """The activation set: the candidates among the first of any query of the bank."""
    bounds = nearest(bank.flipped, top).min(0)
    hubs = np.zeros(bank.num_candidates, dtype=bool)
    for queries, candidates, block in bank.blocks():
        hubs[candidates] |= (block >= bounds[queries, None]).any(0)
    return hubs


def _best_is_one_of(
    asked: Asked, hubs: Bool[np.ndarray, " candidate"]
) -> Bool[np.ndarray, " query"]:
    best: Float[np.ndarray, " query"] = nearest(asked.flipped, 1)[0]
    found = np.zeros(asked.num_queries, dtype=bool)
    for queries, candidates, block in asked.blocks():
        found[queries] |= ((block == best[queries, None]) & hubs[candidates]).any(1)
    return found
