"""What is searched at a time: the videos of a cache or of a share of it, and the heads for them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from vidret.data.errors import ConfigError, MissingError
from vidret.data.index.store import INDEX
from vidret.data.manifest import MANIFEST
from vidret.extract.encoders import pick_device
from vidret.pipelines.indexing.places import index_place
from vidret.pipelines.searching.answers import Status
from vidret.pipelines.searching.corpus import Corpus, open_corpus
from vidret.pipelines.searching.ranker import Ranker, make_ranker
from vidret.pipelines.searching.shortlist import (
    EXHAUSTIVE_BELOW,
    Shortlister,
    index_kind,
    open_shortlister,
)

EXHAUSTIVE = "exhaustive"

Place = tuple[Path, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one process answers for: all videos of a cache, or those of every `of`-th shard.

    Args:
        work: the work folder.
        cache: folder of the cache.
        runs: the name and the folder of each head's run; None for the untrained mean.
        device: where heads compute.
        exhaustive_below: so many videos or fewer are all scored; more are looked up in an index.
        number: of the share, from 0.
        of: how many shares there are.
        in_memory: read the frames into memory, where they leave room; see `Corpus`.
        stand_ins: for the sound of silent videos where those of other parts compete, too, a row of
            numbers for each head that has not learned it.
    """

    work: Path
    cache: Path
    runs: tuple[tuple[str, Path | None], ...]
    device: str = "auto"
    exhaustive_below: int = EXHAUSTIVE_BELOW
    number: int = 0
    of: int = 1
    in_memory: bool = False
    stand_ins: tuple[tuple[str, tuple[float, ...]], ...] = ()

    @property
    def place(self) -> Place:
        """The cache and the share, whatever ranks it."""
        return self.cache, self.number, self.of

    def stamp(self) -> tuple[int, ...]:
        """When what it is made of was written last.

        Raises:
            MissingError: the cache is gone.
        """
        try:
            made = (self.cache / MANIFEST).stat().st_mtime_ns
        except OSError as error:
            raise MissingError(
                f"{self.cache} is no cache any more ({error.strerror}): extract again"
            ) from error
        return (made, *(self._indexed(name) for name, _ in self.runs))

    def _indexed(self, head: str) -> int:
        """When the index for a head was written; 0 where there is none."""
        folder = index_place(self.work, self.cache, head, self.number, self.of)
        try:
            return (folder / INDEX).stat().st_mtime_ns
        except OSError:
            return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A part as it was opened; another one takes its place when the index has changed."""

    corpus: Corpus
    rankers: dict[str, Ranker]
    shortlisters: dict[str, Shortlister | None]
    stamp: tuple[int, ...]

    def ranker(self, head: str | None) -> Ranker:
        """The head of a name, or the first one.

        Raises:
            ConfigError: there is none of that name.
        """
        return find_ranker(self.rankers, head)

    def with_stand_ins(self, rows: tuple[tuple[str, tuple[float, ...]], ...]) -> "Scene":
        """The same where more videos compete; see `Part`."""
        rankers = dict(self.rankers)
        for name, row in rows:
            rankers[name] = rankers[name].with_stand_in(torch.tensor(row))
        shortlisters = {
            name: None if lister is None else replace(lister, ranker=rankers[name])
            for name, lister in self.shortlisters.items()
        }
        return replace(self, rankers=rankers, shortlisters=shortlisters)


def find_ranker(rankers: Mapping[str, Ranker], head: str | None) -> Ranker:
    """The head of a name, or the first one.

    Raises:
        ConfigError: there is none of that name.
    """
    name = next(iter(rankers)) if head is None else head
    if name not in rankers:
        raise ConfigError(f"no head {name!r} is loaded: choose {' or '.join(rankers)}")
    return rankers[name]


def open_scene(part: Part, before: Scene | None = None) -> Scene:
    """Read what a part is made of.

    Args:
        part: to open.
        before: as it was; where only an index has changed since, its videos are not read again.

    Raises:
        MissingError: there is no cache, or it is being made.
        MismatchError: cache, heads and indexes do not belong together.
        DamagedError: something cannot be read.
    """
    stamp = part.stamp()  # before it is read: what changes meanwhile is taken up next time
    if before is not None and before.stamp[0] == stamp[0]:
        corpus, rankers = before.corpus, before.rankers
    else:
        corpus, device = open_corpus(part.cache, (part.number, part.of)), pick_device(part.device)
        rankers = {name: make_ranker(name, folder, corpus, device) for name, folder in part.runs}
        if part.in_memory:
            corpus.keep_in_memory()
    shortlisters = {
        name: open_shortlister(part.work, ranker, below=part.exhaustive_below)
        for name, ranker in rankers.items()
    }
    return Scene(corpus=corpus, rankers=rankers, shortlisters=shortlisters, stamp=stamp)


def status_of(scene: Scene, work: Path) -> Status:
    """What is searched, and how the files differ from it by now."""
    corpus = scene.corpus
    return Status(
        videos=len(corpus),
        failed=corpus.failed,
        with_sound=sum(str(state) == "ok" for state in corpus.features.audio_state),
        cache=corpus.cache.folder,
        fingerprint=corpus.cache.fingerprint.digest,
        heads={name: ranker.digest for name, ranker in scene.rankers.items()},
        index={
            name: EXHAUSTIVE if scene.shortlisters[name] is None else index_kind(work, ranker)
            for name, ranker in scene.rankers.items()
        },
        updated=datetime.fromtimestamp(max(scene.stamp) / 1e9, UTC),
        changed=corpus.differences(),
        examples=corpus.examples,
    )
