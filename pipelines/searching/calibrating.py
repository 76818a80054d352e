"""What a score is worth: learned from captions of validation and the videos that they belong to.

A logistic curve turns the score of a caption and a video into the chance that they belong together.
It is fitted on pairs of validation, where one video of V is right, and moved to a corpus of N
videos by the odds of the two: log(V - 1) - log(N - 1). So the same score is worth less where more
compete. The threshold is the chance above which "it is the one" has the best F1 there.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from vidret.data.cache import FeatureCache
from vidret.data.errors import MissingError, VidretError
from vidret.data.features import SplitFeatures
from vidret.data.storage.publish import publish
from vidret.heads.scoring import parts_in_blocks
from vidret.pipelines.searching.ranker import AUDIO, Ranker
from vidret.pipelines.training.fitting import PART_OF_TRAIN, VAL, selection_of
from vidret.pipelines.training.projecting import features_of_run
from vidret.pipelines.training.runs import cache_of_run

log = logging.getLogger(__name__)

FOLDER = "calibrations"  # below the work folder's index/
FEWEST_VIDEOS = 3
CAPTIONS, VIDEOS, OTHERS = 500, 1_000, 40  # of validation, at most; others: wrong ones a caption
ROUNDS = 50
GENTLE = 1e-3  # weight decay of the slope, so that perfectly told pairs have a finite one
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Pairs:
    """Scores of captions with their own videos, and with some others.

    Args:
        own: without the sound, and what the sound adds, a row a caption.
        others: likewise, drawn from all wrong videos.
        videos: how many competed.
    """

    own: tuple[tuple[float, float], ...]
    others: tuple[tuple[float, float], ...]
    videos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The curve and the threshold for one weight of the sound."""

    slope: float
    bias: float
    threshold: float
    videos: int

    def probability(self, scores: NDArray[np.float64], searched: int) -> NDArray[np.float64]:
        """The chance that each score is that of the video that is meant, among so many."""
        moved = np.log(max(1, self.videos - 1)) - np.log(max(1, searched - 1))
        return _chance(self.slope * scores + self.bias + moved)


class Calibrations:
    """The calibrations of some heads, each learned once; safe to ask from many threads.

    Args:
        work: the work folder, where pairs are kept.
    """

    def __init__(self, work: Path) -> None:
        self.work = work
        self._pairs: dict[str, Pairs | None] = {}
        self._lock = Lock()

    def of(self, ranker: Ranker, audio_weight: float) -> Calibration | None:
        """That of a head for a weight of the sound; None where there is nothing to learn from."""
        with self._lock:
            if ranker.digest not in self._pairs:
                self._pairs[ranker.digest] = pairs_of(ranker, self.work)
            pairs = self._pairs[ranker.digest]
        return None if pairs is None else calibration_of(pairs, audio_weight)


def calibration_of(pairs: Pairs, audio_weight: float) -> Calibration:
    """Fit the curve where the sound counts `audio_weight` times."""
    return _fitted(pairs, round(audio_weight, 3))


@lru_cache(maxsize=256)
def _fitted(pairs: Pairs, audio_weight: float) -> Calibration:
    weigh = np.array([1.0, audio_weight])
    own, others = np.array(pairs.own) @ weigh, np.array(pairs.others) @ weigh
    scores = np.concatenate([own, others])
    right = np.concatenate([np.ones(len(own)), np.zeros(len(others))])
    # a drawn wrong pair stands for all those that were not drawn
    each = np.where(right > 0, 1.0, len(own) * (pairs.videos - 1) / len(others))
    slope, bias = _logistic(scores, right, each)
    return Calibration(
        slope=slope,
        bias=bias,
        threshold=_best_threshold(_chance(slope * scores + bias), right, each),
        videos=pairs.videos,
    )


def pairs_of(ranker: Ranker, work: Path) -> Pairs | None:
    """The pairs that a head is calibrated on, or None where there is no validation.

    They are those of the split that picked the run's epoch, or of the cache's own `val` for the
    untrained mean. Once scored they are kept in the work folder.
    """
    try:
        source = _source_of(ranker, work)
        if source is None:
            return None
        cache, split = source
        return _kept_pairs(ranker, cache, split, work)
    except VidretError as error:
        log.info("Scores are not calibrated: %s", error)
        return None


def _source_of(ranker: Ranker, work: Path) -> tuple[FeatureCache, str] | None:
    if ranker.run is None:
        cache, split = ranker.corpus.cache, VAL
    else:
        cache = FeatureCache.open(cache_of_run(work, ranker.run[1]))
        split = selection_of(cache, ranker.run[1].settings["select_on"])
    count = cache.splits.get("train" if split == PART_OF_TRAIN else split)
    return (cache, split) if count is not None and count.captions else None


def _kept_pairs(ranker: Ranker, cache: FeatureCache, split: str, work: Path) -> Pairs | None:
    told = json.dumps([FORMAT, ranker.digest, cache.fingerprint.digest, split, VIDEOS, OTHERS])
    path = work / "index" / FOLDER / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"
    try:
        values = json.loads(path.read_bytes())
        return Pairs(_rows(values["own"]), _rows(values["others"]), int(values["videos"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    pairs = _score_pairs(ranker, _features(ranker, cache, split))
    if pairs is not None:
        _keep(path, pairs)
    return pairs


def _keep(path: Path, pairs: Pairs) -> None:
    """Write pairs down; where nothing can be written they are scored again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with publish(path) as part:
            part.write_text(json.dumps(asdict(pairs)), encoding="utf-8")
    except (OSError, MissingError) as error:
        log.info("What chances are learned from is not kept: %s", error)


def _features(ranker: Ranker, cache: FeatureCache, split: str) -> SplitFeatures:
    held_out = split == PART_OF_TRAIN
    features = cache.load("train", part="held-out") if held_out else cache.load(split)
    return features if ranker.run is None else features_of_run(*ranker.run, features)


def _score_pairs(ranker: Ranker, features: SplitFeatures) -> Pairs | None:
    """Captions drawn by chance, always the same, against the videos of their split."""
    draw = np.random.default_rng(0)
    rows = _drawn(draw, len(features.caption_ids), CAPTIONS)
    columns = _drawn(draw, len(features.video_ids), VIDEOS)
    rows = rows[np.isin(features.owners[rows], columns)]
    if len(columns) < FEWEST_VIDEOS or not len(rows):
        return None
    owners = np.searchsorted(columns, features.owners[rows])
    texts = features.packed_texts(rows).to(ranker.device)
    videos = features.videos_tensors()[torch.from_numpy(columns)].to(ranker.device)
    parts = {
        name: part.double().cpu().numpy()
        for name, part in parts_in_blocks(ranker.retriever, texts, videos).items()
    }
    sound = parts.pop(AUDIO, np.zeros((len(rows), len(columns))))
    both = np.stack([sum(parts.values(), np.zeros_like(sound)), sound], axis=-1)
    places = np.arange(len(rows))
    others = [
        both[row, draw.permutation(np.delete(np.arange(len(columns)), owners[row]))[:OTHERS]]
        for row in places
    ]
    return Pairs(
        own=_rows(both[places, owners].tolist()),
        others=_rows(np.concatenate(others).tolist()),
        videos=len(columns),
    )


def _drawn(draw: np.random.Generator, count: int, most: int) -> NDArray[np.int64]:
    return np.sort(draw.permutation(count)[:most])


def _rows(values: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(picture), float(sound)) for picture, sound in values)


def _logistic(
    scores: NDArray[np.float64], right: NDArray[np.float64], each: NDArray[np.float64]
) -> tuple[float, float]:
    """Slope and bias by Newton's method, on standardised scores."""
    middle, spread = float(scores.mean()), float(scores.std()) or 1.0
    x = np.stack([(scores - middle) / spread, np.ones(len(scores))], axis=1)
    beta, decay = np.zeros(2), np.diag([GENTLE * each.sum() / len(each), 0.0])
    for _ in range(ROUNDS):
        chance = _chance(x @ beta)
        slope = x.T @ (each * (right - chance)) - decay @ beta
        bend = (x * (each * chance * (1 - chance))[:, None]).T @ x + decay + 1e-9 * np.eye(2)
        step = np.linalg.solve(bend, slope)
        beta += step * min(1.0, 5.0 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-8:
            break
    return float(beta[0] / spread), float(beta[1] - beta[0] * middle / spread)


def _best_threshold(
    chances: NDArray[np.float64], right: NDArray[np.float64], each: NDArray[np.float64]
) -> float:
    """The chance above which `it is the one` has the best F1, half-way to the next lower one."""
    order = (-chances).argsort(kind="stable")
    found = np.cumsum(right[order])
    taken = np.cumsum(each[order])
    best = int((2 * found / (taken + right.sum())).argmax())
    after = chances[order[min(best + 1, len(order) - 1)]]
    return float((chances[order[best]] + after) / 2)


def _chance(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50, 50))))
