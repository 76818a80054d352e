"""The searcher: models, heads and features loaded once, asked as often as one likes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

from vidret.data.cache import newest_cache
from vidret.data.manifest import read_manifest
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.display.progress import OnProgress
from vidret.pipelines.searching.answering import answer_question
from vidret.pipelines.searching.answers import Answer, Explanation, Neighbour, Question, Status
from vidret.pipelines.searching.asking import check_question, open_reader
from vidret.pipelines.searching.calibrating import Calibrations
from vidret.pipelines.searching.choosing import usual_runs
from vidret.pipelines.searching.corpus import Corpus
from vidret.pipelines.searching.folders import cache_of_folder
from vidret.pipelines.searching.known import naming_what_to_build
from vidret.pipelines.searching.one_video import explain_video, neighbours_of
from vidret.pipelines.searching.ranker import ZERO_SHOT, Ranker
from vidret.pipelines.searching.scene import Part, open_scene, status_of
from vidret.pipelines.searching.shortlist import EXHAUSTIVE_BELOW
from vidret.pipelines.searching.truth import RightVideos, Truth, truth_of
from vidret.pipelines.training.runs import cache_of_run, find_run, read_run


class Searcher:
    """Answers questions on one cache with one or several heads; safe to ask from many threads.

    Args:
        work: the work folder.
        cache: folder of the cache.
        runs: the folder of each head's run by its name; None for the untrained mean.
        device: where heads and text tower compute.
        offline: forbid the hub.
        exhaustive_below: so many videos or fewer are all scored; more are looked up in an index.
        in_memory: read the frames into memory, in the background, where they leave room.
    """

    def __init__(
        self,
        *,
        work: Path,
        cache: Path,
        runs: Mapping[str, Path | None],
        device: str = "auto",
        offline: bool = False,
        exhaustive_below: int = EXHAUSTIVE_BELOW,
        in_memory: bool = False,
    ) -> None:
        self.work, self.cache, self.runs = work, cache, dict(runs)
        self._part = Part(
            work=work,
            cache=cache,
            runs=tuple(runs.items()),
            device=device,
            exhaustive_below=exhaustive_below,
            in_memory=in_memory,
        )
        self._refreshing, self._right = Lock(), RightVideos()
        self._scene = open_scene(self._part)
        self._calibrations = Calibrations(work)
        self._reader = open_reader(self._scene.corpus.cache, device=device, offline=offline)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads; the first one is asked where a question names none."""
        return tuple(self.runs)

    @property
    def corpus(self) -> Corpus:
        """What is searched now."""
        return self._scene.corpus

    def ranker(self, head: str | None = None) -> Ranker:
        """The head of a name, or the first one.

        Raises:
            ConfigError: there is none of that name.
        """
        return self._scene.ranker(head)

    def search(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions; their texts go through the text tower together.

        Raises:
            ConfigError: a question makes no sense, or names a head that there is not.
            DamagedError: features cannot be read.
        """
        began, scene = time.perf_counter(), self._scene
        asked = [check_question(question) for question in questions]
        rankers = [scene.ranker(question.head) for question in asked]
        read = self._reader.read_each(
            [
                (question.text, ranker.hidden)
                for ranker, question in zip(rankers, asked, strict=True)
            ]
        )
        answers = [
            answer_question(
                ranker,
                question,
                text,
                self._calibrations.of(ranker, question.audio_weight),
                scene.shortlisters[ranker.name],
            )
            for ranker, question, text in zip(rankers, asked, read, strict=True)
        ]
        seconds = time.perf_counter() - began
        return [replace(answer, seconds=seconds) for answer in answers]

    def explain(self, question: Question, video: str) -> Explanation:
        """Say which words, which frames and which parts speak for a video.

        Args:
            question: as for `search`; filters and `top` do not matter.
            video: its opaque id.

        Raises:
            UnknownVideoError: no video has this id.
            ConfigError: the question makes no sense.
        """
        scene, question = self._scene, check_question(question)
        ranker, row = scene.ranker(question.head), scene.corpus.row(video)
        (read,) = self._reader.read_each([(question.text, ranker.hidden)])
        return explain_video(
            ranker,
            question,
            read,
            row,
            calibration=self._calibrations.of(ranker, question.audio_weight),
            searched=len(scene.corpus),
        )

    def truth(self, question: Question) -> Truth:
        """Where a head ranks the videos that a caption of the cache belongs to, however far down.

        Args:
            question: as for `search`; its text is held against every caption, folded.

        Raises:
            ConfigError: the question makes no sense.
            DamagedError: captions or features cannot be read.
        """
        scene, question = self._scene, check_question(question)
        ranker = scene.ranker(question.head)
        right = self._right.rows(scene.corpus, question.text)
        (read,) = self._reader.read_each([(question.text, ranker.hidden)])
        calibration = self._calibrations.of(ranker, question.audio_weight)
        return truth_of(ranker, question, read, right, calibration)

    def neighbours(self, video: str, top: int = 5) -> list[Neighbour]:
        """The videos whose frames look most like those of another one.

        Raises:
            UnknownVideoError: no video has this id.
        """
        corpus = self._scene.corpus
        return neighbours_of(corpus, corpus.means[corpus.row(video)], top, but=video)

    def file_of(self, video: str) -> Path:
        """Where the file of a video is.

        Raises:
            UnknownVideoError: no video has this id.
            MissingError: its file is gone.
        """
        corpus = self._scene.corpus
        return corpus.existing_file(corpus.row(video))

    def status(self) -> Status:
        """What is searched, and how the files differ from it by now."""
        return status_of(self._scene, self.work)

    def refresh(self) -> bool:
        """Take up what `vidret index update` has made since; whether there was anything.

        Raises:
            MismatchError: the cache was made anew with other settings than the heads are for.
            MissingError: the cache is being made, or gone.
        """
        with self._refreshing:
            if self._part.stamp() == self._scene.stamp:
                return False
            self._scene = open_scene(self._part, self._scene)
            return True


def open_searcher(
    *,
    work: Path,
    path: Path | None = None,
    cache: Path | None = None,
    runs: Sequence[str] = (),
    device: str = "auto",
    offline: bool = False,
    extract: ExtractConfig | None = None,
    on_progress: OnProgress = lambda _: None,
) -> Searcher:
    """Load what answers questions on one cache.

    Args:
        work: the work folder.
        path: a folder of videos, cached first as far as it is new.
        cache: to search; None takes that of the first head, or the newest.
        runs: names of runs, or `mean` for CLIP's own mean of the frames; empty takes the newest run
            and, behind it, `mean`.
        device: where heads and text tower compute.
        offline: forbid the hub.
        extract: how a folder is cached where no run says it.
        on_progress: told how far the caching is.

    Raises:
        MissingError: there is no such run or cache.
        MismatchError: a head was trained on other features.
    """
    folders, found = what_to_search(
        work=work,
        path=path,
        cache=cache,
        runs=runs,
        device=device,
        offline=offline,
        extract=extract,
        on_progress=on_progress,
    )
    read_manifest(found)  # a name that is no cache is told before anything is loaded
    with naming_what_to_build(cache=found, work=work, head=next(iter(folders))):
        return Searcher(work=work, cache=found, runs=folders, device=device, offline=offline)


def what_to_search(
    *,
    work: Path,
    path: Path | None,
    cache: Path | None,
    runs: Sequence[str],
    device: str,
    offline: bool,
    extract: ExtractConfig | None,
    on_progress: OnProgress,
) -> tuple[dict[str, Path | None], Path]:
    """The folders of the runs that rank, and the cache to search; see `open_searcher`."""
    folders = {
        name: None if name == ZERO_SHOT else find_run(work, name)
        for name in runs or usual_runs(work)
    }
    first = next((folder for folder in folders.values() if folder is not None), None)
    if path is not None:
        cache = cache_of_folder(
            path,
            work=work,
            run_folder=first,
            extract=extract or ExtractConfig(),
            device=device,
            offline=offline,
            on_progress=on_progress,
        )
    elif cache is None:
        cache = newest_cache(work) if first is None else cache_of_run(work, read_run(first))
    return folders, cache
