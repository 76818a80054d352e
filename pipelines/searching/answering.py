"""From a question that has been read to ranked hits: scores, order, moments, chances."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from vidret.data.batches import Texts
from vidret.pipelines.searching.answers import Answer, Hit, Question
from vidret.pipelines.searching.asking import Read
from vidret.pipelines.searching.calibrating import Calibration
from vidret.pipelines.searching.corpus import Corpus
from vidret.pipelines.searching.explaining import readable
from vidret.pipelines.searching.moments import span_of_moment
from vidret.pipelines.searching.ranker import AUDIO, Ranker

Shortlist = Callable[[Texts, Question, NDArray[np.int64]], NDArray[np.int64] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Some videos and what each part of the head gives them, the sound at its weight.

    Args:
        rows: of the corpus.
        parts: a number for each row.
        sound_alone: what the sound would add at weight 1.
        searched: how many videos compete, these and those that a shortlist left out.
        exhaustive: whether it left out none.
    """

    rows: NDArray[np.int64]
    parts: dict[str, NDArray[np.float64]]
    sound_alone: NDArray[np.float64]
    searched: int
    exhaustive: bool = True

    @property
    def scores(self) -> NDArray[np.float64]:
        """The sum of the parts."""
        return sum(self.parts.values(), np.zeros(len(self.rows)))

    @property
    def silent_scores(self) -> NDArray[np.float64]:
        """The sum of all parts but the sound's."""
        parts = [part for name, part in self.parts.items() if name != AUDIO]
        return sum(parts, np.zeros(len(self.rows)))


def score_question(
    ranker: Ranker, question: Question, texts: Texts, shortlist: Shortlist | None = None
) -> Scored:
    """Score the videos that a question lets in, or the likely ones of them.

    Args:
        ranker: the head.
        question: checked.
        texts: it, as the head takes it.
        shortlist: leaves the likely ones of the videos let in, or None where all are to be scored.
    """
    allowed = ranker.corpus.allowed(question)
    likely = None
    if shortlist is not None and not question.exhaustive:
        likely = shortlist(texts, question, allowed)
    return score_rows(
        ranker,
        texts,
        allowed if likely is None else likely,
        audio_weight=question.audio_weight,
        searched=len(allowed),
        exhaustive=likely is None,
    )


def answer_question(
    ranker: Ranker,
    question: Question,
    read: Read,
    calibration: Calibration | None,
    shortlist: Shortlist | None = None,
) -> Answer:
    """Rank the videos that a question lets in.

    Args:
        ranker: the head.
        question: checked.
        read: its text.
        calibration: for its weight of the sound.
        shortlist: as for `score_question`.
    """
    texts = ranker.texts(read.encoded)
    scored = score_question(ranker, question, texts, shortlist)
    chances = _chances(scored, calibration)
    return Answer(
        question=question,
        head=ranker.name,
        hits=best_hits(ranker, texts, scored, question.top, calibration),
        searched=scored.searched,
        matches=(
            None
            if calibration is None or chances is None
            else int((chances >= calibration.threshold).sum())
        ),
        failed=ranker.corpus.failed,
        truncated=read.truncated,
        tokens=tuple(map(readable, read.tokens)),
        seconds=0.0,
        exhaustive=scored.exhaustive,
    )


def score_rows(
    ranker: Ranker,
    texts: Texts,
    rows: NDArray[np.int64],
    *,
    audio_weight: float,
    searched: int,
    exhaustive: bool = True,
) -> Scored:
    """Score some videos with a head, and weigh their sound."""
    parts = ranker.parts(texts, rows)
    alone = parts.get(AUDIO, np.zeros(len(rows)))
    if AUDIO in parts:
        parts[AUDIO] = alone * audio_weight
    return Scored(
        rows=rows, parts=parts, sound_alone=alone, searched=searched, exhaustive=exhaustive
    )


def order_of(
    corpus: Corpus, rows: NDArray[np.int64], scores: NDArray[np.float64]
) -> NDArray[np.intp]:
    """The places of rows, the highest score first, equal ones in the order of their ids."""
    return np.lexsort((corpus.places[rows], -scores))


def hits_of(
    ranker: Ranker,
    texts: Texts,
    scored: Scored,
    places: NDArray[np.intp],
    calibration: Calibration | None,
) -> list[Hit]:
    """Some of the scored videos as hits, numbered as they come.

    Args:
        ranker: the head.
        texts: the question.
        scored: all videos that were scored.
        places: of those to show, among the scored.
        calibration: of the head.
    """
    features = ranker.corpus.features
    without = np.empty(len(scored.rows), np.int64)
    silent = order_of(ranker.corpus, scored.rows, scored.silent_scores)
    without[silent] = np.arange(1, len(silent) + 1)
    weights = ranker.frame_weights(texts, scored.rows[places])
    chances, hits = _chances(scored, calibration), []
    for rank, (place, weight) in enumerate(zip(places.tolist(), weights, strict=True), 1):
        row = int(scored.rows[place])
        shown = features.frame_mask[row]
        strip, times = weight[shown], features.times[row][shown]
        duration = float(features.durations[row])
        start, end, peak = span_of_moment(strip, times, duration)
        parts = {name: float(part[place]) for name, part in scored.parts.items()}
        chance = None if chances is None else float(chances[place])
        hits.append(
            Hit(
                rank=rank,
                id=ranker.corpus.opaque_ids[row],
                name=PurePosixPath(features.paths[row]).name,
                path=features.paths[row],
                video_id=features.video_ids[row],
                score=sum(parts.values()),
                probability=chance,
                weaker=(
                    chance is not None
                    and calibration is not None
                    and chance < calibration.threshold
                ),
                parts=parts,
                start=start,
                end=end,
                peak=peak,
                sound=str(features.audio_state[row]),
                strip=tuple(strip.tolist()),
                times=tuple(times.tolist()),
                duration=duration,
                rank_without_sound=int(without[place]),
                sound_alone=float(scored.sound_alone[place]),
                root=ranker.corpus.root,
            )
        )
    return hits


def best_hits(
    ranker: Ranker,
    texts: Texts,
    scored: Scored,
    top: int,
    calibration: Calibration | None,
) -> tuple[Hit, ...]:
    """The best of the scored videos."""
    if not len(scored.rows):
        return ()
    places = order_of(ranker.corpus, scored.rows, scored.scores)[:top]
    return tuple(hits_of(ranker, texts, scored, places, calibration))


def _chances(scored: Scored, calibration: Calibration | None) -> NDArray[np.float64] | None:
    return None if calibration is None else calibration.probability(scored.scores, scored.searched)
