"""Ranks of the right answers, and the field's numbers made from them: R@K, MdR, MnR.

Here the similarities lie in memory as a whole; `heads/streaming.py` ranks them block by block.

Ties are real (test sets repeat captions), so they have a rule: tied candidates come in random
order, and every number is its expectation over that order. With b candidates strictly better than
the right one and e others equal to it, its rank is 1 + b + e/2, and it is among the first K with
probability (K - b) / (e + 1), kept between 0 and 1. Without ties both are the plain numbers.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vidret.heads.similarities import (
    Names,
    Owners,
    Similarity,
    as_array,
    columns_of,
    not_finite,
    require_as_many,
    require_fine,
    size_of,
)

RECALLS = (1, 5, 10, 50)
MEAN_OF = (1, 5, 10)  # the recalls of the geometric mean
GEOMETRIC_MEAN = "geometric mean"

Competition = Literal["group", "caption"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """Where the right answer of each query came.

    Args:
        better: how many other candidates scored strictly higher.
        tied: how many other candidates scored the same.
    """

    better: NDArray[np.int64]
    tied: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.better)

    @property
    def values(self) -> NDArray[np.float64]:
        """The expected rank of each query, from 1."""
        return 1 + self.better + self.tied / 2

    @property
    def ties(self) -> int:
        """How many queries have a tied right answer."""
        return int((self.tied > 0).sum())

    def hits(self, k: int) -> NDArray[np.float64]:
        """The probability of each query that its right answer is among the first k."""
        return ((k - self.better) / (self.tied + 1)).clip(0, 1)


def text_to_video_ranks(
    similarity: Similarity, owners: Owners, *, names: Names | None = None
) -> Ranks:
    """Rank each text's own video among all videos; videos without captions only distract.

    Args:
        similarity: float32 or better, texts in rows.
        owners: the column of each text's own video.
        names: what a message calls texts and videos; their numbers if None.

    Raises:
        ConfigError: the similarities are too coarse, and so full of ties that are not real.
        DamagedError: a similarity is not finite.
        MismatchError: the owners do not fit the similarities.
    """
    scores, columns = _checked(similarity, owners, names)
    own = scores[np.arange(len(scores)), columns][:, None]
    return Ranks(better=(scores > own).sum(1), tied=(scores == own).sum(1) - 1)


def video_to_text_ranks(
    similarity: Similarity,
    owners: Owners,
    by: Competition = "group",
    *,
    names: Names | None = None,
) -> Ranks:
    """Rank each video's own captions among all; only videos with captions are queries, in order.

    A video's own captions never compete with one another: its best one stands for them.

    Args:
        similarity: float32 or better, texts in rows.
        owners: the column of each text's own video.
        by: whom it competes with. `group`: the best caption of each other video, one candidate a
            video (CLIP4Clip, X-Pool). `caption`: every caption of every other video (Collaborative
            Experts, Frozen in Time). R@1 is the same, the rest is not.
        names: what a message calls texts and videos; their numbers if None.

    Raises:
        ConfigError: the similarities are too coarse, and so full of ties that are not real.
        DamagedError: a similarity is not finite.
        MismatchError: the owners do not fit the similarities.
    """
    scores, columns = _checked(similarity, owners, names)
    order = columns.argsort(kind="stable")
    queries, starts = np.unique(columns[order], return_index=True)
    best = np.maximum.reduceat(scores[order][:, queries], starts, axis=0)  # [group, query]
    own = best.diagonal()
    if by == "group":
        candidates, others = best, ~np.eye(len(queries), dtype=bool)
    else:
        candidates, others = scores[:, queries], columns[:, None] != queries
    return Ranks(
        better=((candidates > own) & others).sum(0), tied=((candidates == own) & others).sum(0)
    )


def summarize(ranks: Ranks) -> dict[str, float]:
    """Return the field's numbers: R@K and the mean of R@1, 5, 10 in percent, MdR, MnR, counts.

    `ties` counts the queries whose right answer ties with another candidate. The mean is the
    geometric one, by which Frozen in Time and Collaborative Experts choose their epochs.
    """
    recalls = {k: float(100 * ranks.hits(k).sum() / len(ranks)) for k in RECALLS}
    return {f"R@{k}": recall for k, recall in recalls.items()} | {
        GEOMETRIC_MEAN: float(np.cbrt(np.prod([recalls[k] for k in MEAN_OF]))),
        "MdR": float(np.median(ranks.values)),
        "MnR": float(ranks.values.mean()),
        "ties": ranks.ties,
        "queries": len(ranks),
    }


def _checked(
    similarity: Similarity, owners: Owners, names: Names | None
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Both as arrays, or an error that says what is wrong with them."""
    require_fine(similarity.dtype)
    num_texts, num_videos = size_of(similarity)
    require_as_many(len(owners), num_texts)
    scores, columns = as_array(similarity), columns_of(owners, num_videos)
    finite = np.isfinite(scores)
    if not finite.all():
        text, video = np.argwhere(~finite)[0].tolist()
        raise not_finite(
            text, video, float(scores[text, video]), f"{(~finite).sum():,} in all", names
        )
    return scores, columns
