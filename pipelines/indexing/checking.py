"""How often a shortlist leads to what the head finds among all videos.

Videos are compared by what an exhaustive search gives them: of two that are alike, either is right.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from vidret.data.batches import Texts
from vidret.data.errors import MissingError
from vidret.data.index.store import StoredIndex
from vidret.pipelines.display.progress import OnProgress, Progress
from vidret.pipelines.indexing.vectors import frame_vectors
from vidret.pipelines.searching.answering import order_of, score_rows
from vidret.pipelines.searching.ranker import Ranker
from vidret.pipelines.searching.shortlist import Shortlister

DEPTHS = (1, 10, 100)
ALIKE = 1e-6  # of a score: the same video in another batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Shares of the best videos of an exhaustive search, at each depth, over all questions.

    Args:
        shortlist: of them that the shortlist holds.
        rerank: of them that stand as high when the head has ranked the shortlist.
        questions: how many were asked.
        asked: what they were: captions, or frames where there are none.
    """

    shortlist: dict[int, float]
    rerank: dict[int, float]
    questions: int
    asked: str


def agreement_of(
    index: StoredIndex,
    ranker: Ranker,
    *,
    questions: int,
    shortlist: int,
    on_progress: OnProgress = lambda _: None,
) -> Agreement:
    """Ask by way of trial, and compare with an exhaustive search of the same videos.

    Raises:
        MissingError: there is no video.
    """
    lister = Shortlister(index=index, ranker=ranker, unknown=np.zeros(0, np.int64), below=0)
    everyone = np.arange(len(ranker.corpus))
    held: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    ranked: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    trial, asked = _trial(ranker, questions)
    if not trial:
        raise MissingError(
            f"{ranker.corpus.cache.folder} holds no video to look for: extract some first"
        )
    progress = Progress(total=len(trial))
    for number, texts in enumerate(trial, 1):
        likely = lister.likely(texts, 1.0, everyone, min(shortlist, len(everyone)))
        worth = _scores(ranker, texts, everyone)
        found = likely[order_of(ranker.corpus, likely, _scores(ranker, texts, likely))]
        for depth in DEPTHS:
            held[depth].append(share_of_best(worth, likely, depth))
            ranked[depth].append(share_of_best(worth, found[:depth], depth))
        progress = replace(progress, done=number)
        on_progress(progress)
    return Agreement(
        shortlist={depth: float(np.mean(shares)) for depth, shares in held.items()},
        rerank={depth: float(np.mean(shares)) for depth, shares in ranked.items()},
        questions=len(trial),
        asked=asked,
    )


def share_of_best(worth: NDArray[np.float64], found: NDArray[np.int64], depth: int) -> float:
    """How many of the best are among those found; what is worth as much as the last is as good.

    Args:
        worth: score of every video.
        found: rows of some of them, each once.
        depth: how many count as the best.
    """
    depth = min(depth, len(worth))
    least = float(np.partition(worth, len(worth) - depth)[len(worth) - depth])
    right = int(np.count_nonzero(worth[found] >= least - ALIKE * max(1.0, abs(least))))
    return min(right, depth) / depth


def _scores(ranker: Ranker, texts: Texts, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each row, by the head."""
    return score_rows(ranker, texts, rows, audio_weight=1.0, searched=len(rows)).scores


def _trial(ranker: Ranker, questions: int) -> tuple[list[Texts], str]:
    """Captions of the cache drawn by chance, those of the last splits first; or else frames."""
    drawn = list(_captions(ranker, questions))
    if drawn:
        return drawn, "captions"
    rows = np.random.default_rng(0).permutation(len(ranker.corpus))[:questions]
    vectors, owners = frame_vectors(ranker, np.sort(rows))
    first = np.unique(owners, return_index=True)[1]
    return [_as_text(vector).to(ranker.device) for vector in vectors[first]], "frames"


def _captions(ranker: Ranker, questions: int) -> Iterator[Texts]:
    cache, draw, left = ranker.corpus.cache, np.random.default_rng(0), questions
    for split, count in reversed(list(cache.splits.items())):
        if not count.captions or left <= 0:
            continue
        features = cache.load(split, view="lazy")
        if ranker.projections is not None:
            features = replace(features, projections=ranker.projections)
        drawn = np.sort(draw.permutation(len(features.caption_ids))[:left])
        left -= len(drawn)
        for row in drawn:
            yield features.texts_tensors(np.array([row])).to(ranker.device)


def _as_text(vector: NDArray[np.float32]) -> Texts:
    """A frame in the place of a sentence of one word."""
    one = torch.from_numpy(vector.copy())[None]
    return Texts(sentence=one, words=one[None], word_mask=torch.ones(1, 1, dtype=torch.bool))
