"""Where the right videos stand, for a question that is a caption of the cache itself."""

from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import xxhash
from numpy.typing import NDArray

from vidret.data.batches import Texts
from vidret.data.shards import read_caption_texts
from vidret.pipelines.searching.answering import hits_of, order_of, score_question
from vidret.pipelines.searching.answers import Hit, Question
from vidret.pipelines.searching.asking import Read
from vidret.pipelines.searching.calibrating import Calibration
from vidret.pipelines.searching.corpus import Corpus
from vidret.pipelines.searching.ranker import Ranker


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Which videos a caption belongs to, and where a head ranks them.

    Args:
        question: as it was asked.
        head: the name of the head that ranked.
        videos: how many have this caption; 0 where it is none of the cache.
        left_out: how many of them the filters keep out, which have no rank.
        hits: the others, `top` of them at most, the best first; `rank` is that among all videos
            which the filters let in, every one of them scored.
        searched: how many these are.
    """

    question: Question
    head: str
    videos: int
    left_out: int
    hits: tuple[Hit, ...]
    searched: int


@dataclass(frozen=True)
class _Known:
    """The captions of a corpus: a number for each folded text, rising, and the rows of videos."""

    corpus: Corpus
    texts: NDArray[np.uint64]
    rows: NDArray[np.int64]


class RightVideos:
    """Which videos have a caption; no caption is read before somebody asks."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: _Known | None = None

    def rows(self, corpus: Corpus, text: str) -> NDArray[np.int64]:
        """The rows of the videos with a caption, rising; case and white space do not matter.

        Args:
            corpus: whose captions; another one than last time is read anew.
            text: the whole caption.

        Raises:
            DamagedError: the captions cannot be read.
        """
        with self._lock:
            if self._known is None or self._known.corpus is not corpus:
                self._known = _read_captions(corpus)
            known = self._known
        wanted = np.uint64(_number(text))
        first, last = (np.searchsorted(known.texts, wanted, side) for side in ("left", "right"))
        return np.unique(known.rows[first:last])


def truth_of(
    ranker: Ranker,
    question: Question,
    read: Read,
    right: NDArray[np.int64],
    calibration: Calibration | None,
) -> Truth:
    """Rank every video for a caption, and say where the right ones stand.

    Args:
        ranker: the head.
        question: checked.
        read: its text.
        right: rows of the videos that it belongs to.
        calibration: for its weight of the sound.
    """
    texts, allowed = ranker.texts(read.encoded), ranker.corpus.allowed(question)
    let_in = int(np.isin(right, allowed).sum())
    return Truth(
        question=question,
        head=ranker.name,
        videos=len(right),
        left_out=len(right) - let_in,
        hits=_ranked(ranker, question, texts, right, calibration) if let_in else (),
        searched=len(allowed),
    )


def folded(text: str) -> str:
    """A text without regard to case and white space."""
    return " ".join(text.split()).casefold()


def _ranked(
    ranker: Ranker,
    question: Question,
    texts: Texts,
    right: NDArray[np.int64],
    calibration: Calibration | None,
) -> tuple[Hit, ...]:
    scored = score_question(ranker, replace(question, exhaustive=True), texts)
    order = order_of(ranker.corpus, scored.rows, scored.scores)
    ranks = np.flatnonzero(np.isin(scored.rows[order], right))[: question.top]
    hits = hits_of(ranker, texts, scored, order[ranks], calibration)
    return tuple(
        replace(hit, rank=rank) for rank, hit in zip((ranks + 1).tolist(), hits, strict=True)
    )


def _read_captions(corpus: Corpus) -> _Known:
    cache = corpus.cache
    row_of = {name: row for row, name in enumerate(corpus.features.video_ids)}
    gone = set(cache.manifest.removed.captions)
    texts: list[int] = []
    rows: list[int] = []
    for entry in cache.manifest.shards:
        if entry.kind != "caption":
            continue
        for name, video, text in read_caption_texts(cache.folder / entry.file):
            if name not in gone and video in row_of:
                texts.append(_number(text))
                rows.append(row_of[video])
    numbers, owners = np.array(texts, np.uint64), np.array(rows, np.int64)
    order = numbers.argsort(kind="stable")
    return _Known(corpus=corpus, texts=numbers[order], rows=owners[order])


def _number(text: str) -> int:
    """A number for a folded text, so that millions of captions take little room."""
    return xxhash.xxh3_64_intdigest(folded(text).encode("utf-8", "surrogatepass"))
