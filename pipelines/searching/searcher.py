"""The searcher: models, heads and features loaded once, asked as often as one likes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

import numpy as np

from vidret.data.cache import newest_cache
from vidret.data.errors import ConfigError, MissingError
from vidret.data.manifest import MANIFEST
from vidret.extract.encoders import EncoderSpec, load_encoders, pick_device
from vidret.heads.scoring import scoring
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.display.progress import OnProgress
from vidret.pipelines.searching.answering import answer_question, hits_of, score_rows
from vidret.pipelines.searching.answers import Answer, Explanation, Neighbour, Question, Status
from vidret.pipelines.searching.asking import Read, Reader, check_question
from vidret.pipelines.searching.calibrating import Calibration, Pairs, calibration_of, pairs_of
from vidret.pipelines.searching.choosing import usual_runs
from vidret.pipelines.searching.corpus import Corpus, open_corpus
from vidret.pipelines.searching.explaining import by_word, sound_share, token_frame_grid
from vidret.pipelines.searching.folders import cache_of_folder
from vidret.pipelines.searching.ranker import AUDIO, ZERO_SHOT, Ranker, make_ranker
from vidret.pipelines.searching.shortlist import (
    EXHAUSTIVE_BELOW,
    Shortlister,
    index_kind,
    open_shortlister,
    stamp_of,
)
from vidret.pipelines.training.runs import cache_of_run, find_run, read_run

EXHAUSTIVE = "exhaustive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is searched at a time; another one takes its place when the index has changed."""

    corpus: Corpus
    rankers: dict[str, Ranker]
    shortlisters: dict[str, Shortlister | None]
    stamp: tuple[int, ...]


class Searcher:
    """Answers questions on one cache with one or several heads; safe to ask from many threads.

    Args:
        work: the work folder.
        cache: folder of the cache.
        runs: the folder of each head's run by its name; None for the untrained mean.
        device: where heads and text tower compute.
        offline: forbid the hub.
        exhaustive_below: so many videos or fewer are all scored; more are looked up in an index.
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
    ) -> None:
        self.exhaustive_below = exhaustive_below
        self.work, self.cache, self.runs = work, cache, dict(runs)
        self._device = pick_device(device)
        self._pairs: dict[str, Pairs | None] = {}
        self._lock, self._refreshing = Lock(), Lock()
        self._scene = self._open()
        made = self._scene.corpus.cache
        spec = EncoderSpec(
            backbone=made.manifest.settings["backbone"],
            audio="none",
            device=device,
            offline=offline,
            precision=made.fingerprint.precision,
        )
        self._reader = Reader(load_encoders(spec))

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
        return _ranker(self._scene, head)

    def search(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions; their texts go through the text tower together.

        Raises:
            ConfigError: a question makes no sense, or names a head that there is not.
            DamagedError: features cannot be read.
        """
        began, scene = time.perf_counter(), self._scene
        asked = [check_question(question) for question in questions]
        rankers = [_ranker(scene, question.head) for question in asked]
        answers = [
            answer_question(
                ranker,
                question,
                read,
                self._calibration(ranker, question),
                scene.shortlisters[ranker.name],
            )
            for ranker, question, read in zip(
                rankers, asked, self._read(rankers, asked), strict=True
            )
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
        ranker, rows = _ranker(scene, question.head), np.array([scene.corpus.row(video)])
        (read,) = self._read([ranker], [question])
        texts = ranker.texts(read.encoded)
        scored = score_rows(
            ranker,
            texts,
            rows,
            audio_weight=question.audio_weight,
            searched=len(scene.corpus),
        )
        (hit,) = hits_of(
            ranker, texts, scored, np.zeros(1, np.intp), self._calibration(ranker, question)
        )
        videos = scene.corpus.videos(rows, ranker.projections).to(ranker.device)
        with scoring(ranker.retriever):
            sharpness = scene.corpus.cache.fingerprint.logit_scale
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

    def neighbours(self, video: str, top: int = 5) -> list[Neighbour]:
        """The videos whose frames look most like those of another one.

        Raises:
            UnknownVideoError: no video has this id.
        """
        corpus = self._scene.corpus
        row = corpus.row(video)
        similarity = corpus.means @ corpus.means[row].astype(np.float32)
        order = np.lexsort((corpus.places, -similarity))
        nearest = order[order != row][: max(0, top)].tolist()
        features = corpus.features
        return [
            Neighbour(
                rank=rank,
                id=corpus.opaque_ids[other],
                name=Path(features.paths[other]).name,
                path=features.paths[other],
                video_id=features.video_ids[other],
                similarity=float(similarity[other]),
                sound=str(features.audio_state[other]),
                duration=float(features.durations[other]),
            )
            for rank, other in enumerate(nearest, 1)
        ]

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
        scene = self._scene
        corpus = scene.corpus
        newest = max(scene.stamp) / 1e9
        return Status(
            videos=len(corpus),
            failed=corpus.failed,
            with_sound=sum(str(state) == "ok" for state in corpus.features.audio_state),
            cache=corpus.cache.folder,
            fingerprint=corpus.cache.fingerprint.digest,
            heads={name: ranker.digest for name, ranker in scene.rankers.items()},
            index={
                name: EXHAUSTIVE
                if scene.shortlisters[name] is None
                else index_kind(self.work, ranker)
                for name, ranker in scene.rankers.items()
            },
            updated=datetime.fromtimestamp(newest, UTC),
            changed=corpus.differences(),
            examples=corpus.examples,
        )

    def refresh(self) -> bool:
        """Take up what `vidret index update` has made since; whether there was anything.

        Raises:
            MismatchError: the cache was made anew with other settings than the heads are for.
            MissingError: the cache is being made, or gone.
        """
        with self._refreshing:
            if self._stamp(self._scene) == self._scene.stamp:
                return False
            self._scene = self._open()
            return True

    def _open(self) -> Scene:
        made = self._made()  # before it is read: what changes meanwhile is taken up next time
        corpus = open_corpus(self.cache)
        rankers = {
            name: make_ranker(name, folder, corpus, self._device)
            for name, folder in self.runs.items()
        }
        stamp = (made, *(stamp_of(self.work, ranker) for ranker in rankers.values()))
        shortlisters = {
            name: open_shortlister(self.work, ranker, below=self.exhaustive_below)
            for name, ranker in rankers.items()
        }
        return Scene(corpus=corpus, rankers=rankers, shortlisters=shortlisters, stamp=stamp)

    def _stamp(self, scene: Scene) -> tuple[int, ...]:
        """When what a scene is made of was written last."""
        made = self._made()
        return (made, *(stamp_of(self.work, ranker) for ranker in scene.rankers.values()))

    def _made(self) -> int:
        try:
            return (self.cache / MANIFEST).stat().st_mtime_ns
        except OSError as error:
            raise MissingError(
                f"{self.cache} is no cache any more ({error.strerror}): extract again"
            ) from error

    def _read(self, rankers: Sequence[Ranker], asked: Sequence[Question]) -> list[Read]:
        """The texts of questions as the head of each wants them."""
        read = {
            hidden: self._reader.read(
                [
                    question.text
                    for ranker, question in zip(rankers, asked, strict=True)
                    if ranker.hidden is hidden
                ],
                hidden=hidden,
            )
            for hidden in {ranker.hidden for ranker in rankers}
        }
        return [
            read[ranker.hidden][question.text]
            for ranker, question in zip(rankers, asked, strict=True)
        ]

    def _calibration(self, ranker: Ranker, question: Question) -> Calibration | None:
        with self._lock:
            if ranker.digest not in self._pairs:
                self._pairs[ranker.digest] = pairs_of(ranker, self.work)
        pairs = self._pairs[ranker.digest]
        return None if pairs is None else calibration_of(pairs, question.audio_weight)


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
    """Load what answers questions.

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
    return Searcher(work=work, cache=cache, runs=folders, device=device, offline=offline)


def _ranker(scene: Scene, head: str | None) -> Ranker:
    name = next(iter(scene.rankers)) if head is None else head
    if name not in scene.rankers:
        raise ConfigError(f"no head {name!r} is loaded: choose {' or '.join(scene.rankers)}")
    return scene.rankers[name]
