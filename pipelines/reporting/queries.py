"""Single queries of a split: what was asked, what is right, what came before it, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vidret.data.features import SplitFeatures
from vidret.heads.metrics import Ranks
from vidret.heads.retriever import Retriever
from vidret.heads.scoring import parts_in_blocks
from vidret.pipelines.training.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A video as an answer to a query; its score is the sum of the parts.

    Args:
        row: of the video in its split.
        sound: what became of its sound at extraction.
    """

    row: int
    video: str
    path: str
    score: float
    parts: dict[str, float]
    sound: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A caption, text to video.

    Args:
        rank: of the right video, from 1; a tied one may end in a half.
        tied: how many other videos score the same as the right one.
        rival: the best of the other videos; None where there is no other.
    """

    caption: str
    text: str
    kind: str
    rank: float
    tied: int
    right: Candidate
    rival: Candidate | None

    @property
    def is_found(self) -> bool:
        """Nothing scored higher than the right video, or the same."""
        return self.rank == 1


def worst_rows(ranks: Ranks, number: int) -> NDArray[np.int64]:
    """The captions whose videos came last, the worst first; none that was found at once."""
    worst_first = np.argsort(-ranks.values, kind="stable")
    return worst_first[ranks.values[worst_first] > 1][:number]


def random_rows(ranks: Ranks, number: int, seed: int) -> NDArray[np.int64]:
    """Some of all captions, drawn without looking at their ranks, in the order of the split."""
    drawn = np.random.default_rng(seed).choice(
        len(ranks), size=min(number, len(ranks)), replace=False
    )
    return np.sort(drawn)


def look_at_queries(
    retriever: Retriever,
    split: Split,
    features: SplitFeatures,
    ranks: Ranks,
    rows: NDArray[np.int64],
) -> list[Query]:
    """Score some captions against all videos once more, part by part."""
    if not len(rows):
        return []
    chosen = torch.from_numpy(rows).to(split.owners.device)
    parts = {
        name: part.double().cpu().numpy()
        for name, part in parts_in_blocks(retriever, split.texts[chosen], split.videos).items()
    }
    return [
        Query(
            caption=features.caption_ids[row],
            text=features.text[row],
            kind=features.kind[row],
            rank=float(ranks.values[row]),
            tied=int(ranks.tied[row]),
            right=_candidate(features, own, {name: one[place] for name, one in parts.items()}),
            rival=_rival(features, own, {name: one[place] for name, one in parts.items()}),
        )
        for place, row in enumerate(rows.tolist())
        for own in [int(features.owners[row])]
    ]


def shown_videos(queries: Sequence[Query]) -> list[int]:
    """The rows of all videos that some queries show, each once."""
    both = ((query.right, query.rival) for query in queries)
    return list(dict.fromkeys(one.row for pair in both for one in pair if one is not None))


def _rival(
    features: SplitFeatures, own: int, parts: dict[str, NDArray[np.float64]]
) -> Candidate | None:
    """The video that was ranked first, or next where the right one was."""
    if len(features.video_ids) < 2:
        return None
    scores = np.sum(list(parts.values()), axis=0)
    scores[own] = -np.inf
    return _candidate(features, int(scores.argmax()), parts)


def _candidate(
    features: SplitFeatures, row: int, parts: dict[str, NDArray[np.float64]]
) -> Candidate:
    its = {name: float(values[row]) for name, values in parts.items()}
    return Candidate(
        row=row,
        video=features.video_ids[row],
        path=features.paths[row],
        score=sum(its.values()),
        parts=its,
        sound=str(features.audio_state[row]),
    )
