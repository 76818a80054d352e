"""`vidret index`: vectors of a cache for a head, so that a search need not score every video."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from vidret.data.cache import FeatureCache, newest_cache
from vidret.extract.encoders import pick_device
from vidret.extract.schedule import dask_client
from vidret.pipelines.config.declaring import require
from vidret.pipelines.config.searching import IndexConfig, RankConfig
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.display.progress import OnProgress
from vidret.pipelines.evaluate import require_same_features
from vidret.pipelines.extraction.report import shell_word
from vidret.pipelines.indexing.reports import IndexCheckReport, IndexReport, IndexStatusReport
from vidret.pipelines.indexing.shares import SharedIndex
from vidret.pipelines.indexing.upkeep import bring_up_to_date, check, look_at, make_anew
from vidret.pipelines.searching.anywhere import at_cluster
from vidret.pipelines.searching.choosing import choose_runs
from vidret.pipelines.searching.corpus import open_corpus
from vidret.pipelines.searching.folders import cache_of_folder, refreshed
from vidret.pipelines.searching.known import folders_cached, known_cache
from vidret.pipelines.searching.ranker import ZERO_SHOT, Ranker, make_ranker
from vidret.pipelines.training.runs import cache_of_run, find_run, read_run

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

NAMED = 3  # folders in a line


def run_index_build(
    config: IndexConfig,
    *,
    extract: ExtractConfig | None = None,
    on_progress: OnProgress = lambda _: None,
) -> IndexReport:
    """Make the index of a cache anew; a folder of videos is cached first.

    With a cluster each worker makes the index of its share.

    Raises:
        ConfigError: shares are asked for without a cluster.
    """
    require(
        config.shares is None or config.place is not None,
        "shares are made by a cluster: add --scheduler or --scheduler-file",
    )
    cache, every_frame = _cache_to_index(config, extract, on_progress), config.every_frame
    if config.place is None:
        ranker = _ranker(config, cache)
        return make_anew(config.work, ranker, every_frame=every_frame, on_progress=on_progress)
    with dask_client(config.place) as client:
        shared = _shared(client, config, cache, shares=config.shares)
        return shared.build(every_frame=every_frame, on_progress=on_progress)


def run_index_update(
    config: IndexConfig,
    *,
    extract: ExtractConfig | None = None,
    on_progress: OnProgress = lambda _: None,
) -> IndexReport:
    """Bring cache and index of a folder up to date; of another dataset the index alone.

    Where there is no index yet, it is made.
    """
    cache, every_frame = _cache_to_index(config, extract, on_progress), config.every_frame
    if config.place is None:
        ranker = _ranker(config, cache)
        return bring_up_to_date(
            config.work, ranker, every_frame=every_frame, on_progress=on_progress
        )
    with dask_client(config.place) as client:
        shared = _shared(client, config, cache)
        return shared.update(every_frame=every_frame, on_progress=on_progress)


def run_index_status(config: IndexConfig) -> IndexStatusReport:
    """Say what is indexed, and what is not yet."""
    if config.place is None:
        return look_at(config.work, _ranker(config, _cache(config)))
    with dask_client(config.place) as client:
        return _shared(client, config, _cache(config)).status()


def run_index_check(
    config: IndexConfig, *, on_progress: OnProgress = lambda _: None
) -> IndexCheckReport:
    """Compare the shortlist with an exhaustive search, and every file with its checksum."""
    asked = {"questions": config.questions, "shortlist": config.shortlist}
    if config.place is None:
        ranker = _ranker(config, _cache(config))
        return check(config.work, ranker, **asked, on_progress=on_progress)
    with dask_client(config.place) as client:
        return _shared(client, config, _cache(config)).check(**asked, on_progress=on_progress)


def _shared(
    client: "Client", config: RankConfig, cache: Path, *, shares: int | None = None
) -> SharedIndex:
    return SharedIndex(
        client,
        work=config.work,
        cache=cache,
        head=choose_runs(config)[0],
        run_folder=_run_folder(config),
        device=config.device,
        shares=shares,
    )


def _cache_to_index(
    config: IndexConfig, extract: ExtractConfig | None, on_progress: OnProgress
) -> Path:
    """The cache, after what is new in its folder has been cached, too."""
    run_folder, place = _run_folder(config), config.place
    how = at_cluster(extract or ExtractConfig(), place)
    if config.path is not None:
        return cache_of_folder(
            config.path,
            work=config.work,
            run_folder=run_folder,
            extract=how,
            device=config.device,
            offline=config.offline,
            on_progress=on_progress,
        )
    made = FeatureCache.open(_cache(config))
    if config.cache is None:
        _tell_of_other_folders(made, config.work)
    if run_folder is not None:  # before hours go into it
        expected = read_run(run_folder).fingerprint
        require_same_features(made.fingerprint, expected, str(made.folder))
    return refreshed(
        made, how, device=config.device, offline=config.offline, on_progress=on_progress
    )


def _tell_of_other_folders(made: FeatureCache, work: Path) -> None:
    """Who named nothing may have meant a folder that was searched, which has its own cache."""
    others = [root for root in folders_cached(work) if str(root) != made.manifest.settings["root"]]
    if others:
        log.info(
            "This is about %s; a folder that was searched is brought up to date by its name: %s",
            made.folder.name,
            ", ".join(shell_word(str(root)) for root in others[:NAMED]),
        )


def _cache(config: IndexConfig) -> Path:
    """The cache as it is; nothing is extracted."""
    folder = _run_folder(config)
    if config.path is not None:
        head = choose_runs(config)[0]
        return known_cache(config.path, work=config.work, head=head, run_folder=folder)
    if config.cache is not None:
        return config.cache
    return (
        newest_cache(config.work) if folder is None else cache_of_run(config.work, read_run(folder))
    )


def _run_folder(config: RankConfig) -> Path | None:
    name = choose_runs(config)[0]
    return None if name == ZERO_SHOT else find_run(config.work, name)


def _ranker(config: RankConfig, cache: Path) -> Ranker:
    name, device = choose_runs(config)[0], pick_device(config.device)
    return make_ranker(name, _run_folder(config), open_corpus(cache), device)
