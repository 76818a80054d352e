"""Ranks of the right answers, and the field's numbers made from them: R@K, MdR, MnR.

Ties are real (test sets repeat captions), so they have a rule: tied candidates come in random
order, and every number is its expectation over that order. With b candidates strictly better than
the right one and e others equal to it, its rank is 1 + b + e/2, and it is among the first K with
probability (K - b) / (e + 1), kept between 0 and 1. Without ties both are the plain numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from vidret.data.errors import ConfigError, DamagedError, MismatchError, MissingError

RECALLS = (1, 5, 10)

Similarity = Float[Tensor, "text video"] | Float[np.ndarray, "text video"]
Owners = Sequence[int] | Int[Tensor, " text"] | Int[np.ndarray, " text"]


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


def text_to_video_ranks(similarity: Similarity, owners: Owners) -> Ranks:
    """Rank each text's own video among all videos; videos without captions only distract.

    Args:
        similarity: float32 or better, texts in rows.
        owners: the column of each text's own video.

    Raises:
        ConfigError: the similarities are too coarse, and so full of ties that are not real.
        DamagedError: a similarity is not finite.
        MismatchError: the owners do not fit the similarities.
    """
    scores, columns = _checked(similarity, owners)
    own = scores[np.arange(len(scores)), columns][:, None]
    return Ranks(better=(scores > own).sum(1), tied=(scores == own).sum(1) - 1)


def video_to_text_ranks(
    similarity: Similarity, owners: Owners, by: Literal["group", "caption"] = "group"
) -> Ranks:
    """Rank each video's own captions among all; only videos with captions are queries, in order.

    A video's own captions never compete with one another: its best one stands for them.

    Args:
        similarity: float32 or better, texts in rows.
        owners: the column of each text's own video.
        by: whom it competes with. `group`: the best caption of each other video, one candidate a
            video (CLIP4Clip, X-Pool). `caption`: every caption of every other video (Collaborative
            Experts, Frozen in Time). R@1 is the same, the rest is not.

    Raises:
        ConfigError: the similarities are too coarse, and so full of ties that are not real.
        DamagedError: a similarity is not finite.
        MismatchError: the owners do not fit the similarities.
    """
    scores, columns = _checked(similarity, owners)
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
    """Return R@1, R@5, R@10 in percent, median and mean rank, and how many queries and ties."""
    recalls = {f"R@{k}": 100 * float(ranks.hits(k).mean()) for k in RECALLS}
    return recalls | {
        "MdR": float(np.median(ranks.values)),
        "MnR": float(ranks.values.mean()),
        "ties": ranks.ties,
        "queries": len(ranks),
    }


def _checked(
    similarity: Similarity, owners: Owners
) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """Both as arrays, or an error that says what is wrong with them."""
    if similarity.dtype in (torch.float16, torch.bfloat16, np.float16):
        raise ConfigError(
            f"the similarities are {similarity.dtype}, whose rounding makes ties that are not "
            "there: score in float32"
        )
    scores = similarity.detach().cpu().numpy() if isinstance(similarity, Tensor) else similarity
    columns = np.asarray(owners.cpu() if isinstance(owners, Tensor) else owners, dtype=np.int64)
    if not scores.size:
        raise MissingError(f"nothing to rank: {scores.shape[0]} texts, {scores.shape[1]} videos")
    if columns.shape != scores.shape[:1]:
        raise MismatchError(
            f"{len(columns)} owners for {len(scores)} texts: give the column of each text's video"
        )
    _refuse_strangers(columns, scores.shape[1])
    _refuse_non_finite(scores)
    return scores, columns


def _refuse_strangers(columns: NDArray[np.int64], num_videos: int) -> None:
    strangers = np.flatnonzero((columns < 0) | (columns >= num_videos))
    if len(strangers):
        raise MismatchError(
            f"text {strangers[0]} belongs to video {columns[strangers[0]]}, but the similarities "
            f"have videos 0 to {num_videos - 1}: rank texts among the videos they belong to"
        )


def _refuse_non_finite(scores: NDArray[np.floating]) -> None:
    finite = np.isfinite(scores)
    if not finite.all():
        text, video = np.argwhere(~finite)[0]
        raise DamagedError(
            f"the similarity of text {text} and video {video} is {scores[text, video]}, and "
            f"{(~finite).sum()} in all are not finite: check the checkpoint and the cached features"
        )
