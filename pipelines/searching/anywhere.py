"""A searcher as commands ask for one: in this process, or with the workers of a cluster."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from vidret.data.manifest import read_manifest
from vidret.extract.schedule import Place, dask_client
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.display.progress import OnProgress
from vidret.pipelines.searching.known import naming_what_to_build
from vidret.pipelines.searching.searcher import Searcher, what_to_search
from vidret.pipelines.searching.spread import SpreadSearcher

AnySearcher = Searcher | SpreadSearcher


@contextmanager
def searching(
    *,
    work: Path,
    path: Path | None,
    cache: Path | None,
    runs: Sequence[str],
    device: str,
    offline: bool,
    place: Place | None = None,
    also: Sequence[Path] = (),
    in_memory: bool = False,
    extract: ExtractConfig | None = None,
    on_progress: OnProgress = lambda _: None,
) -> Iterator[AnySearcher]:
    """A searcher, and the connection that it needs, for as long as the block.

    Args:
        work: the work folder.
        path: a folder of videos, cached first as far as it is new; by the cluster, if there is one.
        cache: to search; None takes that of the first head, or the newest.
        runs: names of runs, or `mean`; empty takes the usual ones.
        device: where heads and text tower compute.
        offline: forbid the hub.
        place: a cluster whose workers answer together; None answers in this process.
        also: more caches for the cluster to search as one with the first.
        in_memory: read the frames into memory of this process, where they leave room.
        extract: how a folder is cached where no run says it.
        on_progress: told how far the caching is.

    Raises:
        MissingError: there is no such run, cache or cluster.
        MismatchError: a head was trained on other features.
    """
    folders, found = what_to_search(
        work=work,
        path=path,
        cache=cache,
        runs=runs,
        device=device,
        offline=offline,
        extract=at_cluster(extract or ExtractConfig(), place),
        on_progress=on_progress,
    )
    for folder in (found, *also):
        read_manifest(folder)  # a name that is no cache is told before anything is loaded
    in_full = naming_what_to_build(cache=found, work=work, head=next(iter(folders)))
    if place is None:
        with in_full:
            searcher = Searcher(
                work=work,
                cache=found,
                runs=folders,
                device=device,
                offline=offline,
                in_memory=in_memory,
            )
        yield searcher
        return
    with dask_client(place) as client:
        with in_full:
            spread = SpreadSearcher(
                client,
                work=work,
                caches=[found, *also],
                runs=folders,
                device=device,
                offline=offline,
            )
        yield spread


def at_cluster(extract: ExtractConfig, place: Place | None) -> ExtractConfig:
    """What is extracted on the way is extracted by the same cluster."""
    if place is None:
        return extract
    return replace(
        extract,
        scheduler=place.scheduler,
        scheduler_file=place.scheduler_file,
        gpus=None,
        workers=0,
    )
