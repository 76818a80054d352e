"""One video: why it answers a question, and which others look like it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidret.heads.scoring import scoring
from vidret.pipelines.searching.answering import hits_of, score_rows
from vidret.pipelines.searching.answers import Explanation, Neighbour, Question
from vidret.pipelines.searching.asking import Read
from vidret.pipelines.searching.calibrating import Calibration
from vidret.pipelines.searching.corpus import Corpus
from vidret.pipelines.searching.explaining import by_word, sound_share, token_frame_grid
from vidret.pipelines.searching.ranker import AUDIO, Ranker


def explain_video(
    ranker: Ranker,
    question: Question,
    read: Read,
    row: int,
    *,
    calibration: Calibration | None,
    searched: int,
) -> Explanation:
    """Say which words, which frames and which parts speak for a video.

    Args:
        ranker: the head.
        question: checked.
        read: its text.
        row: of the video.
        calibration: for the weight of the sound.
        searched: how many videos compete.
    """
    corpus, rows = ranker.corpus, np.array([row])
    texts = ranker.texts(read.encoded)
    scored = score_rows(ranker, texts, rows, audio_weight=question.audio_weight, searched=searched)
    (hit,) = hits_of(ranker, texts, scored, np.zeros(1, np.intp), calibration)
    videos = corpus.videos(rows, ranker.projections).to(ranker.device)
    with scoring(ranker.retriever):
        sharpness = corpus.cache.fingerprint.logit_scale
        grid = token_frame_grid(ranker.retriever, texts, videos, sharpness)
    words, grid = by_word(list(read.tokens), grid)
    return Explanation(
        question=question,
        head=ranker.name,
        hit=replace(hit, rank=0, rank_without_sound=0),
        words=words,
        word_shares=tuple(grid.shares.tolist()),
        grid=tuple(tuple(row) for row in grid.weights.tolist()),
        of_head=grid.of_head,
        times=hit.times,
        parts=hit.parts,
        sound_share=sound_share(hit.parts, AUDIO),
    )


def neighbours_of(
    corpus: Corpus, mean: NDArray[np.float32], top: int, *, but: str
) -> list[Neighbour]:
    """The videos whose mean frames are nearest to one, without the video it is of.

    Args:
        corpus: to look in.
        mean: of the frames, at unit length.
        top: how many.
        but: opaque id of the video itself.
    """
    similarity = corpus.means @ mean
    order = np.lexsort((corpus.places, -similarity))[: max(0, top) + 1]
    nearest = [row for row in order.tolist() if corpus.opaque_ids[row] != but][: max(0, top)]
    features = corpus.features
    return [
        Neighbour(
            rank=rank,
            id=corpus.opaque_ids[row],
            name=Path(features.paths[row]).name,
            path=features.paths[row],
            video_id=features.video_ids[row],
            similarity=float(similarity[row]),
            sound=str(features.audio_state[row]),
            duration=float(features.durations[row]),
        )
        for rank, row in enumerate(nearest, 1)
    ]
