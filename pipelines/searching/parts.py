"""What a worker of a cluster does in a search: it keeps its parts open, and answers for them.

The first word about a part opens it, which takes a while; from then on it stays open, for whoever
asks, until nobody has asked for half an hour. Every function here is a task: its first argument is
the part, and what it takes and returns is small.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidret.pipelines.searching.answering import Scored, best_hits, score_question
from vidret.pipelines.searching.answers import (
    Explanation,
    Hit,
    Neighbour,
    Question,
    Status,
    UnknownVideoError,
)
from vidret.pipelines.searching.asking import Read
from vidret.pipelines.searching.calibrating import Calibration
from vidret.pipelines.searching.one_video import explain_video, neighbours_of
from vidret.pipelines.searching.scene import Part, Scene, open_scene, status_of
from vidret.pipelines.searching.truth import RightVideos, Truth, truth_of

KEPT_SECONDS = 1800.0
KEPT_SCORES = 8  # questions whose scores wait for a second word about them

Mark = tuple[float, str]  # a score, and the video's own id


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question that has been read, and the head that is to rank."""

    question: Question
    head: str
    read: Read


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a part is.

    Args:
        videos: how many can be found.
        failed: how many could not be read.
        heard: for each head that has not learned what stands in for no sound, the sum that this is
            the mean of, and of how many.
    """

    videos: int
    failed: int
    heard: dict[str, tuple[tuple[float, ...], int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The best of a part, as if it were alone; see `Answer`."""

    hits: tuple[Hit, ...]
    searched: int
    exhaustive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is to be compared with all scores of a part.

    Args:
        marks: of the hits that are shown.
        with_sound: whether they are scores with the sound.
        calibration: of the head; None where nothing was learned.
        searched: how many videos compete in all parts.
    """

    marks: tuple[Mark, ...]
    calibration: Calibration | None
    searched: int
    with_sound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What came of a comparison.

    Args:
        matches: how many of the part lie above the threshold; 0 where none was learned.
        ahead: for each mark, how many of the part stand ahead of it.
    """

    matches: int
    ahead: tuple[int, ...]


class _Desk:
    """The scenes that this process holds, and the scores that it found last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.scenes: dict[Part, tuple[Part, Scene]] = {}
        self.scores: OrderedDict[tuple[int, str, Question], tuple[Scene, Scored]] = OrderedDict()
        self.right = RightVideos()
        self.used = 0.0
        self.timer: threading.Timer | None = None

    def scene(self, part: Part) -> Scene:
        """A part, opened if it is not open, or not as it is on the disk."""
        bare = replace(part, stand_ins=())
        with self.lock:
            self.used = time.monotonic()
            self._watch()
            opened, scene = self.scenes.get(bare, (bare, None))
            if scene is None or scene.stamp != part.stamp():
                before, scene = scene, open_scene(bare, scene)
                if before is None or scene.corpus is not before.corpus:
                    opened = bare
            if opened != part:
                scene = scene.with_stand_ins(part.stand_ins)
            self.scenes[bare] = part, scene
            return scene

    def scored(self, scene: Scene, asked: Asked) -> Scored:
        """The scores of a part for a question; the last ones are kept."""
        key = id(scene), asked.head, asked.question
        kept, scored = self.scores.get(key, (None, None))
        if kept is not scene or scored is None:
            ranker = scene.ranker(asked.head)
            texts = ranker.texts(asked.read.encoded)
            shortlister = scene.shortlisters[ranker.name]
            scored = score_question(ranker, asked.question, texts, shortlister)
        with self.lock:
            self.scores[key] = scene, scored
            self.scores.move_to_end(key)
            while len(self.scores) > KEPT_SCORES:
                self.scores.popitem(last=False)
        return scored

    def _watch(self) -> None:
        if self.timer is None:
            self.timer = threading.Timer(KEPT_SECONDS, self._let_go)
            self.timer.daemon = True
            self.timer.start()

    def _let_go(self) -> None:
        with self.lock:
            self.timer = None
            if time.monotonic() - self.used < KEPT_SECONDS:
                self._watch()
                return
            self.scenes.clear()
            self.scores.clear()
            self.right = RightVideos()


_DESK = _Desk()


def look(part: Part) -> Look:
    """Open a part, and say what it is."""
    scene = _DESK.scene(part)
    heard = {
        name: (tuple(ranker.heard[0].tolist()), ranker.heard[1])
        for name, ranker in scene.rankers.items()
        if ranker.heard is not None
    }
    return Look(videos=len(scene.corpus), failed=scene.corpus.failed, heard=heard)


def candidates(part: Part, asked: Sequence[Asked]) -> list[Candidates]:
    """The best videos of a part for each question."""
    scene, found = _DESK.scene(part), []
    for one in asked:
        ranker, scored = scene.ranker(one.head), _DESK.scored(scene, one)
        texts = ranker.texts(one.read.encoded)
        hits = best_hits(ranker, texts, scored, one.question.top, None)
        found.append(Candidates(hits=hits, searched=scored.searched, exhaustive=scored.exhaustive))
    return found


def compare(
    part: Part, asked: Sequence[Asked], comparisons: Sequence[Comparison]
) -> list[Standing]:
    """Where hits of all parts stand among the videos of one, and how many of it match."""
    scene = _DESK.scene(part)
    return [
        _compare(scene, _DESK.scored(scene, one), comparison)
        for one, comparison in zip(asked, comparisons, strict=True)
    ]


def explain(
    part: Part, asked: Asked, video: str, calibration: Calibration | None, searched: int
) -> Explanation | None:
    """Why a video answers a question; None where it is of another part."""
    scene = _DESK.scene(part)
    row = _row(scene, video)
    if row is None:
        return None
    return explain_video(
        scene.ranker(asked.head),
        asked.question,
        asked.read,
        row,
        calibration=calibration,
        searched=searched,
    )


def truth(part: Part, asked: Asked) -> Truth:
    """The right videos of a part for a caption, as if it were alone."""
    scene = _DESK.scene(part)
    rows = _DESK.right.rows(scene.corpus, asked.question.text)
    return truth_of(scene.ranker(asked.head), asked.question, asked.read, rows, None)


def mean_of(part: Part, video: str) -> NDArray[np.float32] | None:
    """The mean frame of a video; None where it is of another part."""
    scene = _DESK.scene(part)
    row = _row(scene, video)
    return None if row is None else scene.corpus.means[row]


def neighbours(part: Part, mean: NDArray[np.float32], top: int, but: str) -> list[Neighbour]:
    """The videos of a part whose mean frames are nearest to one."""
    return neighbours_of(_DESK.scene(part).corpus, mean, top, but=but)


def file_of(part: Part, video: str) -> Path | None:
    """Where the file of a video is, or was; None where it is of another part."""
    scene = _DESK.scene(part)
    row = _row(scene, video)
    return None if row is None else scene.corpus.file(row)


def status(part: Part) -> Status:
    """What is searched in a part, and how the files differ from it by now."""
    return status_of(_DESK.scene(part), part.work)


def scene_of(part: Part) -> Scene:
    """A part as this worker has it open."""
    return _DESK.scene(part)


def _row(scene: Scene, video: str) -> int | None:
    try:
        return scene.corpus.row(video)
    except UnknownVideoError:
        return None


def _compare(scene: Scene, scored: Scored, comparison: Comparison) -> Standing:
    scores = scored.scores if comparison.with_sound else scored.silent_scores
    ids, ahead = scene.corpus.features.video_ids, []
    for score, video_id in comparison.marks:
        tied = scored.rows[scores == score].tolist()
        ahead.append(int((scores > score).sum()) + sum(ids[row] < video_id for row in tied))
    matches = 0
    if comparison.calibration is not None:
        chances = comparison.calibration.probability(scored.scores, comparison.searched)
        matches = int((chances >= comparison.calibration.threshold).sum())
    return Standing(matches=matches, ahead=tuple(ahead))
