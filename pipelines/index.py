"""`vidret index`: vectors of a cache for a head, so that a search need not score every video."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidret.data.cache import FeatureCache, newest_cache
from vidret.data.errors import DamagedError, MismatchError, MissingError, VidretError
from vidret.data.folder import FOLDER_NAME
from vidret.data.index.store import IndexHeader, open_index, read_header, verify_index
from vidret.extract.encoders import pick_device
from vidret.pipelines.config.searching import IndexConfig, IndexUpdateConfig, RankConfig
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.display.progress import OnProgress
from vidret.pipelines.indexing.building import (
    Changes,
    build_index,
    differences,
    index_folder,
    require_fitting,
    update_index,
)
from vidret.pipelines.indexing.checking import Agreement, agreement_of
from vidret.pipelines.searching.answers import Differences
from vidret.pipelines.searching.choosing import choose_runs
from vidret.pipelines.searching.corpus import open_corpus
from vidret.pipelines.searching.folders import cache_of_folder, extraction_of_cache
from vidret.pipelines.searching.ranker import ZERO_SHOT, Ranker, make_ranker
from vidret.pipelines.training.runs import cache_of_run, find_run, read_run


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What an index holds after it was built or brought up to date."""

    folder: Path
    header: IndexHeader
    changes: Changes
    built: bool

    @property
    def verdict(self) -> VidretError | None:
        """An index is whole, or an error was raised."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatusReport:
    """What is there and what it lacks; `header` is None where there is no index.

    Args:
        behind: what of the cache the index does not know yet.
        changed: how the files differ from the cache.
        problem: why it cannot be used, or empty.
    """

    folder: Path
    cache: Path
    head: str
    videos: int
    header: IndexHeader | None
    behind: Changes
    changed: Differences
    problem: str

    @property
    def verdict(self) -> VidretError | None:
        """An index that cannot be used."""
        return MismatchError(self.problem) if self.problem else None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexCheckReport:
    """Whether an index is whole, and how often it leads to what an exhaustive search finds."""

    folder: Path
    header: IndexHeader
    agreement: Agreement
    shortlist: int
    problems: tuple[str, ...]

    @property
    def verdict(self) -> VidretError | None:
        """A file has other bytes than were written."""
        if not self.problems:
            return None
        return DamagedError(
            f"{self.folder}: {self.problems[0]}: make it again with `vidret index build`"
        )

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


def run_index_build(
    config: IndexUpdateConfig,
    *,
    extract: ExtractConfig | None = None,
    on_progress: OnProgress = lambda _: None,
) -> IndexReport:
    """Make the index of a cache anew; a folder of videos is cached first."""
    ranker = _ranker(config, _cache_to_index(config, extract, on_progress))
    folder = index_folder(config.work, ranker)
    header = build_index(folder, ranker, every_frame=config.every_frame, on_progress=on_progress)
    return IndexReport(
        folder=folder, header=header, changes=Changes(added=header.videos), built=True
    )


def run_index_update(
    config: IndexUpdateConfig,
    *,
    extract: ExtractConfig | None = None,
    on_progress: OnProgress = lambda _: None,
) -> IndexReport:
    """Bring cache and index of a folder up to date; of another dataset the index alone.

    Where there is no index yet, it is made.
    """
    ranker = _ranker(config, _cache_to_index(config, extract, on_progress))
    folder = index_folder(config.work, ranker)
    try:
        read_header(folder)
    except MissingError:
        header = build_index(
            folder, ranker, every_frame=config.every_frame, on_progress=on_progress
        )
        changes, built = Changes(added=header.videos), True
    else:
        (header, changes), built = update_index(folder, ranker, on_progress=on_progress), False
    return IndexReport(folder=folder, header=header, changes=changes, built=built)


def run_index_status(config: IndexConfig) -> IndexStatusReport:
    """Say what is indexed, and what is not yet."""
    ranker = _ranker(config, _cache(config))
    folder, behind, header, problem = index_folder(config.work, ranker), Changes(), None, ""
    try:
        stored = open_index(folder)
        header = stored.header
        require_fitting(header, ranker)
        _, _, behind = differences(stored.entries, ranker)
    except MissingError:
        behind = Changes(added=len(ranker.corpus))
    except (MismatchError, DamagedError) as error:
        problem = str(error)
    return IndexStatusReport(
        folder=folder,
        cache=ranker.corpus.cache.folder,
        head=ranker.name,
        videos=len(ranker.corpus),
        header=header,
        behind=behind,
        changed=ranker.corpus.differences(),
        problem=problem,
    )


def run_index_check(
    config: IndexConfig, *, on_progress: OnProgress = lambda _: None
) -> IndexCheckReport:
    """Compare the shortlist with an exhaustive search, and every file with its checksum."""
    ranker = _ranker(config, _cache(config))
    folder = index_folder(config.work, ranker)
    problems = verify_index(folder)
    stored = open_index(folder)
    require_fitting(stored.header, ranker)
    return IndexCheckReport(
        folder=folder,
        header=stored.header,
        agreement=agreement_of(
            stored,
            ranker,
            questions=config.questions,
            shortlist=config.shortlist,
            on_progress=on_progress,
        ),
        shortlist=config.shortlist,
        problems=tuple(problems),
    )


def _cache_to_index(
    config: IndexUpdateConfig, extract: ExtractConfig | None, on_progress: OnProgress
) -> Path:
    """The cache, after what is new in its folder has been cached, too."""
    path, settings = config.path, extract or ExtractConfig()
    if path is None:
        found = _cache(config)
        made = FeatureCache.open(found)
        root = Path(made.manifest.settings["root"])
        if made.fingerprint.dataset != FOLDER_NAME or not root.is_dir():
            return found
        path, settings = root, extraction_of_cache(made, config.work, offline=config.offline)
        run_folder = None
    else:
        run_folder = _run_folder(config)
    return cache_of_folder(
        path,
        work=config.work,
        run_folder=run_folder,
        extract=settings,
        device=config.device,
        offline=config.offline,
        on_progress=on_progress,
    )


def _cache(config: RankConfig) -> Path:
    if config.cache is not None:
        return config.cache
    folder = _run_folder(config)
    return (
        newest_cache(config.work) if folder is None else cache_of_run(config.work, read_run(folder))
    )


def _run_folder(config: RankConfig) -> Path | None:
    name = choose_runs(config)[0]
    return None if name == ZERO_SHOT else find_run(config.work, name)


def _ranker(config: RankConfig, cache: Path) -> Ranker:
    name, device = choose_runs(config)[0], pick_device(config.device)
    return make_ranker(name, _run_folder(config), open_corpus(cache), device)
