"""A searcher whose videos lie with the workers of a Dask cluster.

The question is read here, once. Each worker ranks the videos of its parts and sends the best; they
are merged by score and id, as one process would have sorted them. A second word asks how many of
each part match, and where the hits would stand without the sound.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vidret.extract.encoders import pick_device
from vidret.extract.schedule import require_shared
from vidret.pipelines.searching import parts as tasks
from vidret.pipelines.searching.answers import (
    Answer,
    Differences,
    Explanation,
    Hit,
    Neighbour,
    Question,
    Status,
    unknown_video,
)
from vidret.pipelines.searching.asking import check_question, open_reader
from vidret.pipelines.searching.calibrating import Calibration, Calibrations
from vidret.pipelines.searching.corpus import existing, open_without_videos
from vidret.pipelines.searching.crew import Crew
from vidret.pipelines.searching.cutting import parts_of, parts_that_know_each_other
from vidret.pipelines.searching.explaining import readable
from vidret.pipelines.searching.parts import Asked, Candidates, Comparison, Look, Mark, Standing
from vidret.pipelines.searching.ranker import AUDIO, Ranker, make_ranker
from vidret.pipelines.searching.scene import Part, find_ranker
from vidret.pipelines.searching.shortlist import EXHAUSTIVE_BELOW
from vidret.pipelines.searching.truth import Truth

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """All parts as they were when they were looked at.

    Args:
        parts: in the order of caches and shares.
        looks: at each of them.
        stamps: when what each is made of was written.
    """

    parts: tuple[Part, ...]
    looks: tuple[Look, ...]
    stamps: tuple[tuple[int, ...], ...]

    @property
    def videos(self) -> int:
        """How many can be found."""
        return sum(look.videos for look in self.looks)


class SpreadSearcher:
    """Answers as `Searcher` does, with the workers of a cluster; safe to ask from many threads.

    Args:
        client: of the cluster.
        work: the work folder, which every worker sees.
        caches: folders of the caches; their features were made alike.
        runs: the folder of each head's run by its name; None for the untrained mean.
        device: where heads and text tower compute.
        offline: forbid the hub.
        exhaustive_below: so many videos of a part or fewer are all scored.
    """

    def __init__(
        self,
        client: "Client",
        *,
        work: Path,
        caches: Sequence[Path],
        runs: Mapping[str, Path | None],
        device: str = "auto",
        offline: bool = False,
        exhaustive_below: int = EXHAUSTIVE_BELOW,
    ) -> None:
        self.work, self.cache, self.runs = work, caches[0], dict(runs)
        self.crew = Crew(client)
        self._caches, self._device, self._below = tuple(caches), device, exhaustive_below
        self._refreshing = Lock()
        require_shared(client, work.absolute())
        nobody = open_without_videos(self.cache)
        self._rankers = {
            name: make_ranker(name, folder, nobody, pick_device(device))
            for name, folder in self.runs.items()
        }
        self._calibrations = Calibrations(work)
        self._reader = open_reader(nobody.cache, device=device, offline=offline)
        self._spread = self._look()

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads; the first one is asked where a question names none."""
        return tuple(self.runs)

    def ranker(self, head: str | None = None) -> Ranker:
        """The head of a name, or the first one; it knows no video.

        Raises:
            ConfigError: there is none of that name.
        """
        return find_ranker(self._rankers, head)

    def search(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions; their texts go through the text tower together.

        Raises:
            ConfigError: a question makes no sense, or names a head that there is not.
            DamagedError: features cannot be read.
        """
        began, spread = time.perf_counter(), self._spread
        checked = [check_question(question) for question in questions]
        asked = self._read(checked)
        found = self.crew.ask(spread.parts, tasks.candidates, asked)
        merged = [
            _merged(one, of_parts)
            for one, of_parts in zip(asked, zip(*found, strict=True), strict=True)
        ]
        comparisons = [
            Comparison(
                marks=tuple(map(_mark, hits)),
                calibration=self._calibration(one),
                searched=searched,
            )
            for one, (hits, searched, _) in zip(asked, merged, strict=True)
        ]
        standings = self._compared(spread, asked, [hits for hits, _, _ in merged], comparisons)
        failed = sum(look.failed for look in spread.looks)
        seconds = time.perf_counter() - began
        return [
            Answer(
                question=one.question,
                head=one.head,
                hits=_placed(hits, comparison, of_parts),
                searched=searched,
                matches=(
                    None
                    if comparison.calibration is None
                    else sum(standing.matches for standing in of_parts)
                ),
                failed=failed,
                truncated=one.read.truncated,
                tokens=tuple(map(readable, one.read.tokens)),
                seconds=seconds,
                exhaustive=exhaustive,
            )
            for one, (hits, searched, exhaustive), comparison, of_parts in zip(
                asked, merged, comparisons, standings, strict=True
            )
        ]

    def explain(self, question: Question, video: str) -> Explanation:
        """Say which words, which frames and which parts speak for a video; see `Searcher`.

        Raises:
            UnknownVideoError: no video has this id.
            ConfigError: the question makes no sense.
        """
        spread = self._spread
        (asked,) = self._read([check_question(question)])
        calibration = self._calibration(asked)
        found = self.crew.ask(spread.parts, tasks.explain, asked, video, calibration, spread.videos)
        return _the_one(found, video)

    def truth(self, question: Question) -> Truth:
        """Where a head ranks the videos that a caption belongs to; see `Searcher`.

        Raises:
            ConfigError: the question makes no sense.
            DamagedError: captions or features cannot be read.
        """
        parts = self._spread.parts
        (asked,) = self._read([replace(check_question(question), exhaustive=True)])
        found = self.crew.ask(parts, tasks.truth, asked)
        hits = sorted((hit for one in found for hit in one.hits), key=_by_score)[: question.top]
        silent = Comparison(
            marks=tuple(map(_mark, hits)),
            calibration=self._calibration(asked),
            searched=sum(one.searched for one in found),
        )
        marks = tuple((hit.score, hit.video_id) for hit in hits)
        loud = replace(silent, marks=marks, with_sound=True)
        standings = self.crew.ask(parts, tasks.compare, [asked, asked], [silent, loud])
        placed = _placed(hits, silent, [first for first, _ in standings])
        ahead = _ahead([second for _, second in standings])
        return replace(
            found[0],
            question=question,
            videos=sum(one.videos for one in found),
            left_out=sum(one.left_out for one in found),
            hits=tuple(
                replace(hit, rank=before + 1) for hit, before in zip(placed, ahead, strict=True)
            ),
            searched=silent.searched,
        )

    def neighbours(self, video: str, top: int = 5) -> list[Neighbour]:
        """The videos whose frames look most like those of another one.

        Raises:
            UnknownVideoError: no video has this id.
        """
        spread = self._spread
        mean = _the_one(self.crew.ask(spread.parts, tasks.mean_of, video), video)
        found = self.crew.ask(spread.parts, tasks.neighbours, mean, top, video)
        nearest = sorted(
            (one for of_part in found for one in of_part),
            key=lambda one: (-one.similarity, one.video_id),
        )
        return [replace(one, rank=rank) for rank, one in enumerate(nearest[: max(0, top)], 1)]

    def file_of(self, video: str) -> Path:
        """Where the file of a video is.

        Raises:
            UnknownVideoError: no video has this id.
            MissingError: its file is gone.
        """
        found = self.crew.ask(self._spread.parts, tasks.file_of, video)
        return existing(_the_one(found, video))

    def status(self) -> Status:
        """What is searched, and how the files differ from it by now; of new files it knows none."""
        found = self.crew.ask(self._spread.parts, tasks.status)
        first = found[0]
        return replace(
            first,
            videos=sum(one.videos for one in found),
            failed=sum(one.failed for one in found),
            with_sound=sum(one.with_sound for one in found),
            index={name: _told(name, found) for name in first.index},
            updated=max(one.updated for one in found),
            changed=Differences(
                gone=tuple(name for one in found for name in one.changed.gone),
                changed=tuple(name for one in found for name in one.changed.changed),
            ),
        )

    def refresh(self) -> bool:
        """Take up what `vidret index update` has made since; whether there was anything.

        Raises:
            MismatchError: the cache was made anew with other settings than the heads are for.
            MissingError: the cache is being made, or gone.
        """
        with self._refreshing:
            spread = self._spread
            if tuple(part.stamp() for part in spread.parts) == spread.stamps:
                return False
            self._spread = self._look()
            return True

    def _look(self) -> Spread:
        """Have every worker open its parts, and learn what all of them must know of each other."""
        bare = parts_of(
            self.work,
            self._caches,
            self.runs,
            workers=len(self.crew.client.nthreads()),
            device=self._device,
            exhaustive_below=self._below,
        )
        stamps = tuple(part.stamp() for part in bare)
        looks = self.crew.ask(bare, tasks.look)
        parts = parts_that_know_each_other(bare, looks)
        return Spread(parts=tuple(parts), looks=tuple(looks), stamps=stamps)

    def _read(self, questions: Sequence[Question]) -> list[Asked]:
        rankers = [self.ranker(question.head) for question in questions]
        read = self._reader.read_each(
            [
                (question.text, ranker.hidden)
                for question, ranker in zip(questions, rankers, strict=True)
            ]
        )
        return [
            Asked(question=question, head=ranker.name, read=text)
            for question, ranker, text in zip(questions, rankers, read, strict=True)
        ]

    def _compared(
        self,
        spread: Spread,
        asked: Sequence[Asked],
        hits: Sequence[Sequence[Hit]],
        comparisons: Sequence[Comparison],
    ) -> list[Sequence[Standing]]:
        """Where the hits of each question stand in each part; nobody is asked what is known."""
        heard = any(AUDIO in hit.parts for of_question in hits for hit in of_question)
        if heard or any(one.calibration is not None for one in comparisons):
            found = self.crew.ask(spread.parts, tasks.compare, asked, comparisons)
            return list(zip(*found, strict=True))
        return [[Standing(matches=0, ahead=tuple(range(len(one))))] for one in hits]

    def _calibration(self, asked: Asked) -> Calibration | None:
        return self._calibrations.of(self.ranker(asked.head), asked.question.audio_weight)


def _merged(asked: Asked, found: Sequence[Candidates]) -> tuple[list[Hit], int, bool]:
    """The best hits of all parts, how many videos compete, and whether each was scored."""
    hits = sorted(
        (hit for one in found for hit in one.hits),
        key=_by_score,
    )
    searched = sum(one.searched for one in found)
    return hits[: asked.question.top], searched, all(one.exhaustive for one in found)


def _placed(
    hits: Sequence[Hit], comparison: Comparison, standings: Sequence[Standing]
) -> tuple[Hit, ...]:
    """Hits as they stand among the videos of all parts."""
    ahead = _ahead(standings)
    placed = [
        replace(hit, rank=rank, rank_without_sound=before + 1)
        for rank, (hit, before) in enumerate(zip(hits, ahead, strict=True), 1)
    ]
    learned = comparison.calibration
    if learned is None:
        return tuple(placed)
    chances = learned.probability(np.array([hit.score for hit in hits]), comparison.searched)
    return tuple(
        replace(hit, probability=chance, weaker=chance < learned.threshold)
        for hit, chance in zip(placed, chances.tolist(), strict=True)
    )


def _ahead(standings: Sequence[Standing]) -> list[int]:
    """How many of all parts stand ahead of each mark."""
    return [sum(places) for places in zip(*(one.ahead for one in standings), strict=True)]


def _by_score(hit: Hit) -> tuple[float, str, Path]:
    return -hit.score, hit.video_id, hit.file


def _mark(hit: Hit) -> Mark:
    return sum(part for name, part in hit.parts.items() if name != AUDIO), hit.video_id


def _the_one(found: Sequence[T | None], video: str) -> T:
    """What the part said that has the video.

    Raises:
        UnknownVideoError: none has it.
    """
    for one in found:
        if one is not None:
            return one
    raise unknown_video(video)


def _told(head: str, found: Sequence[Status]) -> str:
    kinds = dict.fromkeys(one.index[head] for one in found)
    return f"{len(found)} parts: {'; '.join(kinds)}"
