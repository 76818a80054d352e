"""`vidret datasets list | show | verify`: what a dataset should be, and what of it is there.

Nothing is fetched: videos and texts belong to others, who say on what terms they give them.
"""

import hashlib
import queue
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidret.data.catalog import DATASETS, DatasetEntry, load_dataset, require_known
from vidret.data.datasets.assembling import Published
from vidret.data.datasets.known import KNOWN
from vidret.data.errors import MissingError, VidretError
from vidret.data.samples import Dataset, Video
from vidret.data.words import counted
from vidret.extract.decoding.messages import Looked, Refused
from vidret.extract.decoding.process import DecodingProcess, ProcessDiedError
from vidret.extract.schedule import core_count
from vidret.pipelines.config.settings import DatasetsConfig
from vidret.pipelines.display.progress import OnProgress, Progress

TEST = "test"
TOLD_EVERY = 64  # videos between two lines of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetsReport:
    """Every dataset that has a name."""

    entries: dict[str, DatasetEntry]

    @property
    def verdict(self) -> VidretError | None:
        """A list is a list."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {name: _as_json(entry) for name, entry in self.entries.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetReport:
    """One dataset: what it should be."""

    name: str
    entry: DatasetEntry

    @property
    def verdict(self) -> VidretError | None:
        """Looking something up has no verdict."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {"name": self.name, **_as_json(self.entry)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitHoldings:
    """What of a split is there.

    Args:
        videos: of the list.
        captions: of these videos.
        missing: ids without a file.
        unreadable: ids whose file does not open as a video, each with the reason.
        silent: ids whose file has no sound stream.
    """

    videos: int
    captions: int
    missing: tuple[str, ...]
    unreadable: dict[str, str]
    silent: tuple[str, ...]

    @property
    def lacking(self) -> int:
        """Videos that no result can count."""
        return len(self.missing) + len(self.unreadable)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What of a dataset is there, and what that does to a result.

    Args:
        looked: whether the files were opened.
        sources: the annotation files that were read.
        copies: whose copy each known one of them is, empty where nobody's.
        allowed: videos that the test split may lack.
    """

    name: str
    root: Path
    protocol: str
    published: Published | None
    splits: dict[str, SplitHoldings]
    notes: tuple[str, ...]
    looked: bool
    sources: tuple[str, ...]
    copies: dict[str, str]
    allowed: int

    @property
    def measured_on(self) -> str:
        """The split that results are reported on."""
        return _measured_on(self.splits)

    @property
    def verdict(self) -> VidretError | None:
        """The split that results are reported on is not all there."""
        if self.splits and self.usable and self.lacking <= self.allowed:
            return None
        accept = f", or accept it with --allow-missing {self.lacking}" if self.usable else ""
        return MissingError(
            f"{self.name}: {self.usable:,} of {counted(self.usable + self.lacking, 'video')} of "
            f"{self.measured_on} can be used, so no result is over all of them: get the others"
            f"{accept}"
        )

    @property
    def usable(self) -> int:
        """Videos that a result is over."""
        split = self.splits.get(self.measured_on)
        return 0 if split is None else split.videos - split.lacking

    @property
    def lacking(self) -> int:
        """Videos that a result should be over and is not: a list may be cut short, too."""
        return _expected(self.splits, self.published) - self.usable

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self) | {"ok": self.verdict is None}


def run_datasets_list() -> DatasetsReport:
    """All datasets, by name."""
    return DatasetsReport(entries=DATASETS)


def run_datasets_show(name: str) -> DatasetReport:
    """One dataset.

    Raises:
        ConfigError: there is none of this name.
    """
    require_known(name)
    return DatasetReport(name=name, entry=DATASETS[name])


def run_datasets_verify(config: DatasetsConfig, *, on_progress: OnProgress) -> VerifyReport:
    """Read the annotation files, look for each video, and open it."""
    dataset = load_dataset(config.dataset, config.root)
    entry = DATASETS.get(config.dataset)
    there = [video for video in dataset.videos if video.path.is_file()]
    found = dict(_look_all(there, config, on_progress)) if config.look else {}
    splits = _holdings(dataset, {video.id for video in there}, found)
    published = entry.published if entry else None
    return VerifyReport(
        name=dataset.name,
        root=dataset.root,
        protocol=dataset.protocol,
        published=published,
        splits=splits,
        notes=tuple(note for note in dataset.notes if " not found (" not in note),
        looked=config.look,
        sources=dataset.sources,
        copies=dict(_copies(dataset)),
        allowed=config.missing_allowed(_expected(splits, published)),
    )


def _measured_on(splits: dict[str, SplitHoldings]) -> str:
    return TEST if TEST in splits else next(iter(splits), TEST)


def _expected(splits: dict[str, SplitHoldings], published: Published | None) -> int:
    """How many videos a result should be over: those listed, or those published if more."""
    name = _measured_on(splits)
    count = published.splits.get(name) if published else None
    listed = splits[name].videos if name in splits else 0
    return max(listed, (count.videos if count else None) or 0)


def _as_json(entry: DatasetEntry) -> dict[str, Any]:
    if entry.published is not None:
        return asdict(entry.published)
    return {"title": entry.summary, "holds": entry.holds}


def _holdings(
    dataset: Dataset, there: set[str], found: dict[str, Looked | Refused]
) -> dict[str, SplitHoldings]:
    videos: dict[str, list[str]] = defaultdict(list)
    for video in dataset.videos:
        videos[video.split].append(video.id)
    split_of = {video.id: video.split for video in dataset.videos}
    captions: dict[str, int] = defaultdict(int)
    for caption in dataset.captions:
        captions[split_of[caption.video_id]] += 1
    return {
        split: SplitHoldings(
            videos=len(ids),
            captions=captions[split],
            missing=tuple(id_ for id_ in ids if id_ not in there),
            unreadable={
                id_: answer.reason for id_ in ids if isinstance(answer := found.get(id_), Refused)
            },
            silent=tuple(
                id_
                for id_ in ids
                if isinstance(answer := found.get(id_), Looked) and not answer.has_sound
            ),
        )
        for split, ids in videos.items()
    }


def _look_all(
    videos: Sequence[Video], config: DatasetsConfig, on_progress: OnProgress
) -> Iterator[tuple[str, Looked | Refused]]:
    """The headers of every file, a few at once, in processes that may crash or hang over one."""
    number = config.workers or core_count()
    with ExitStack() as stack:
        free: queue.SimpleQueue[DecodingProcess] = queue.SimpleQueue()
        for _ in range(number):
            free.put(stack.enter_context(closing(DecodingProcess())))
        pool = stack.enter_context(ThreadPoolExecutor(number))
        answers = pool.map(lambda video: _look(video, free), videos)
        for done, (video, answer) in enumerate(zip(videos, answers, strict=True)):
            if done % TOLD_EVERY == 0:
                on_progress(Progress(done=done, total=len(videos)))
            yield video.id, answer
        on_progress(Progress(done=len(videos), total=len(videos)))


def _look(video: Video, free: "queue.SimpleQueue[DecodingProcess]") -> Looked | Refused:
    process = free.get()
    try:
        return process.look(video.path)
    except ProcessDiedError as error:
        return Refused(f"{video.path} takes its decoder down ({error}): get it again")
    finally:
        free.put(process)


def _copies(dataset: Dataset) -> Iterable[tuple[str, str]]:
    for source in dataset.sources:
        path = dataset.root / source
        if path.name in KNOWN:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            yield source, KNOWN[path.name].get(digest, "")
