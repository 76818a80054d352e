"""Nearest neighbour normalization (Chowdhury et al., EMNLP 2024, arXiv 2410.24114)."""

from vidret.heads.reranking.correcting import Correct, less
from vidret.heads.reranking.pairs import Asked, nearest


def nearest_neighbour_normalization(bank: Asked, *, weight: float, neighbours: int) -> Correct:
    """Take away a share of the mean similarity to the nearest queries of a bank.

    Args:
        bank: other queries, and the same candidates.
        weight: alpha, the share.
        neighbours: k, how many queries the mean is over; all of a bank that has fewer.
    """
    return less(weight * nearest(bank, neighbours).mean(0))
