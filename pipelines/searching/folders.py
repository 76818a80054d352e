"""A folder of one's own, cached so that it can be searched, and not looked at twice."""

import json
import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import xxhash

from vidret.data.cache import FeatureCache
from vidret.data.catalog import FOLDER_PREFIX
from vidret.data.errors import MissingError, VidretError
from vidret.data.folder import FOLDER_NAME, NoFolderError, NoVideosError, load_folder, root_of
from vidret.data.folders.listing import video_files, walk
from vidret.data.manifest import MANIFEST
from vidret.data.printable import printable
from vidret.data.storage.locks import BeingWrittenError, is_being_written
from vidret.data.storage.publish import CannotWriteError, publish
from vidret.data.words import counted
from vidret.extract.backends import installed
from vidret.pipelines.config.settings import REAL_AUDIO, REAL_BACKBONE, TINY, ExtractConfig
from vidret.pipelines.display.progress import OnProgress, Progress
from vidret.pipelines.extraction.report import shell_word
from vidret.pipelines.searching.corpus import open_corpus
from vidret.pipelines.searching.known import caches_of_folder, changes_text, held_by
from vidret.pipelines.training.runs import encoders_of_run, read_run, trained_on

log = logging.getLogger(__name__)

SEEN = "folders"  # below the work folder's index/
LOOK_SECONDS = 0.5  # between two looks whether another command has ended


def cache_of_folder(
    path: Path,
    *,
    work: Path,
    run_folder: Path | None,
    extract: ExtractConfig,
    device: str = "auto",
    offline: bool = False,
    on_progress: OnProgress = lambda _: None,
) -> Path:
    """The cache of a folder of videos, brought up to date where files came, changed or went.

    What the folder looked like is written down: as long as names, sizes and times are the same, no
    file is opened and nothing is extracted. Where another command is caching it, that is waited
    for; where nothing may be written, it is taken as it was cached.

    Args:
        path: the folder.
        work: the work folder.
        run_folder: of the run that is to rank it; the cache is made with its encoders.
        extract: how to cache it where no run says so; where no encoder is named either, it is
            cached as it was the last time.
        device: where encoders run.
        offline: forbid the hub.
        on_progress: told how far the caching is.

    Raises:
        MissingError: there is no such folder, no video in it, or no weights of an encoder.
    """
    config = how_to_cache(
        path, work=work, run_folder=run_folder, extract=extract, device=device, offline=offline
    )
    return _up_to_date(root_of(path), config, on_progress)


def how_to_cache(
    path: Path,
    *,
    work: Path,
    run_folder: Path | None,
    extract: ExtractConfig,
    device: str = "auto",
    offline: bool = False,
) -> ExtractConfig:
    """The settings that a folder is cached with; see `cache_of_folder`. Nothing is cached here.

    Raises:
        MissingError: there is no such folder, or no weights of an encoder are named.
    """
    root = root_of(path)
    _require_videos(root, work)
    if run_folder is not None:
        extract = replace(extract, **settings_of_run(work, run_folder))
    elif extract.backbone is None:
        extract = _as_the_last_time(root, work, extract)
    if extract.backbone == TINY and extract.audio is None:
        extract = replace(extract, audio=TINY)
    return _settings_for(root, work, extract, device=device, offline=offline)


def refreshed(
    cache: FeatureCache,
    extract: ExtractConfig,
    *,
    device: str = "auto",
    offline: bool = False,
    on_progress: OnProgress = lambda _: None,
) -> Path:
    """A cache of a folder of videos, brought up to date where it lies; any other as it is.

    Args:
        cache: to take.
        extract: where and how fast to extract; what decides features is as it was.
        device: where encoders run.
        offline: forbid the hub.
        on_progress: told how far the caching is.
    """
    root = Path(cache.manifest.settings["root"])
    if cache.fingerprint.dataset != FOLDER_NAME or not root.is_dir():
        return cache.folder
    work = cache.folder.absolute().parent.parent
    extract = replace(extract, **settings_of_cache(cache))
    config = _settings_for(root_of(root), work, extract, device=device, offline=offline)
    if _known_cache(_place(config), look_of(root)) is None and not _is_made_again(cache, config):
        log.warning(
            "%s is taken as it is: its folder would be cached in another place today, by "
            "`vidret extract`",
            printable(cache.folder),
        )
        return cache.folder
    _up_to_date(root, config, on_progress)
    return cache.folder


def _is_made_again(cache: FeatureCache, config: ExtractConfig) -> bool:
    """Whether an extraction would go on in this very cache."""
    from vidret.pipelines.extract import settle  # Dask takes a second to import

    return settle(config).folder.resolve() == cache.folder.resolve()


def _settings_for(
    root: Path, work: Path, extract: ExtractConfig, *, device: str, offline: bool
) -> ExtractConfig:
    """How a folder is cached; what it would be refused for is said before anything is done."""
    config = replace(
        extract,
        work=work,
        offline=offline,
        device=device,
        dataset=f"{FOLDER_PREFIX}{root}",
        root=None,
        clips=None,
        dry_run=False,
    )
    require_weights(config)
    return config


def require_weights(config: ExtractConfig) -> None:
    """Refuse encoders whose weights nobody named, before a file is looked at.

    Raises:
        MissingError: there are none.
    """
    if config.backbone is None:
        name = REAL_BACKBONE.partition("@")[0]
        hub = f"--backbone {REAL_BACKBONE} --audio none to fetch OpenAI's from the hub, "
        raise MissingError(
            "no weights are known to look at videos with, and no run names any: add "
            f"{'' if config.offline else hub}--backbone {name}@FILE with weights that are here, or "
            "--backbone tiny to try the way with the bundled toy (docs/search.md says how to keep "
            "this choice)"
        )
    if config.audio_name == REAL_AUDIO:
        raise MissingError(
            f"no weights are known to listen with: add --audio {REAL_AUDIO}@FILE, or "
            "--audio none to leave the sound out (docs/search.md says how to keep this choice)"
        )


def _as_the_last_time(root: Path, work: Path, extract: ExtractConfig) -> ExtractConfig:
    """The settings that the folder was cached with, where it was."""
    for folder, _ in caches_of_folder(root, work):
        try:
            return replace(extract, **settings_of_cache(FeatureCache.open(folder, partial=True)))
        except VidretError as error:
            log.warning("Leaving out %s: %s", printable(folder), error)
    return extract


def _up_to_date(root: Path, config: ExtractConfig, on_progress: OnProgress) -> Path:
    """The cache of a folder, after what changed in it was taken up; what this was is said."""
    seen, place = look_of(root), _place(config)
    if not (config.force or config.retry_failed):
        known = _known_cache(place, seen)
        if known is not None:
            log.debug("%s is as it was: nothing is cached anew", printable(root))
            return known
    before = {folder: held_by(folder) for folder, _ in caches_of_folder(root, config.work)}
    try:
        folder = extracting(config, on_progress)
    except BeingWrittenError as error:
        on_progress(Progress(note=f"waiting: {error}"))
        while is_being_written(error.folder):
            time.sleep(LOOK_SECONDS)
        return _up_to_date(root, config, on_progress)
    except CannotWriteError as error:
        if error.path not in before or config.force or config.retry_failed:
            raise
        if changed := open_corpus(error.path).differences():
            log.warning(
                "%s is taken as it was cached, and not as it is (%s since): %s",
                *(printable(root), changed, error),
            )
        return error.path
    _remember(place, seen, folder)
    told = changes_text(before.get(folder), held_by(folder))
    if told:
        log.info("%s: %s", printable(root), told)
    return folder


def _require_videos(root: Path, work: Path) -> None:
    """Refuse a folder without videos, and say so where it had some.

    Raises:
        MissingError: there is no such folder, or no video in it.
    """
    if root.is_dir():
        if next(video_files(root, []), None) is not None:
            return
        what = "holds no video any more"
    else:
        what = "is not there any more"
    try:
        load_folder(root)
    except (NoVideosError, NoFolderError) as error:
        for cache, _ in caches_of_folder(root, work):
            if held := held_by(cache):
                raise MissingError(
                    f"{printable(root)} {what}, and {counted(len(held), 'video')} of it are "
                    "cached: bring them back, such as by connecting a drive, or, if they are gone "
                    f"for good, forget them with `rm -r {shell_word(str(cache))}`"
                ) from error
        raise


def extracting(config: ExtractConfig, on_progress: OnProgress) -> Path:
    """Cache what is new, and return the cache."""
    from vidret.pipelines.extract import run_extract  # Dask takes a second to import

    return run_extract(config, on_progress=on_progress).folder


def settings_of_run(work: Path, run_folder: Path) -> dict[str, Any]:
    """What an extraction has to be told so that a run can rank what comes out."""
    run = read_run(run_folder)
    wanted = settings_of_cache(FeatureCache.open(trained_on(work, run), partial=True))
    if run.has_own_encoders:  # also where nothing is cached with them yet
        wanted["backbone"], wanted["audio"] = encoders_of_run(work, run.name)
    return wanted


def settings_of_cache(cache: FeatureCache) -> dict[str, Any]:
    """What an extraction has to be told so that its features are those of a cache."""
    settings, facts = cache.manifest.settings, cache.fingerprint
    return {
        "backbone": settings["backbone"],
        "audio": settings["audio"],
        "decoder": settings["decoder"],
        "frames": facts.frames,
        "sampling": facts.frame_policy,
        "features": facts.features,
        "precision": facts.precision,
    }


def look_of(root: Path) -> str:
    """A digest of the names, sizes and times of all files below a folder; none is opened."""
    told = xxhash.xxh3_128()
    unreadable: list[str] = []
    for name, entry in sorted(walk(root, unreadable), key=lambda found: found[0]):
        try:
            facts = entry.stat()
            what = f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ino}"
        except OSError as error:
            what = str(error.errno)
        told.update(f"{name}\0{what}\0".encode("utf-8", "surrogatepass"))
    for name in sorted(unreadable):
        told.update(name.encode("utf-8", "surrogatepass"))
    return told.hexdigest()


def _place(config: ExtractConfig) -> Path:
    """Where it is written down what a folder looked like when it was cached in this way."""
    values = {
        name: value
        for name, value in asdict(config).items()
        if name not in ("work", "workers", "gpus", "json", "device", "timeout", "decoders")
    }
    weights = [_weights_of(spec) for spec in (config.backbone_name, config.audio_name)]
    told = json.dumps([installed("vidret"), values, weights], sort_keys=True, default=str)
    digest = xxhash.xxh3_128_hexdigest(told.encode("utf-8", "surrogatepass"))
    return config.work / "index" / SEEN / f"{digest[:16]}.json"


def _weights_of(spec: str) -> str:
    """Size and time of the weights that an encoder is read from."""
    try:
        facts = Path(spec.partition("@")[2] or "/nowhere").stat()
    except OSError:
        return ""
    return f"{facts.st_size} {facts.st_mtime_ns}"


def _known_cache(place: Path, seen: str) -> Path | None:
    """The cache of a folder that looks as it did when the cache was written last."""
    try:
        values = json.loads(place.read_bytes())
        folder = place.parents[2] / "cache" / values["cache"]
        if values["seen"] != seen or values["written"] != _written(folder):
            return None
        FeatureCache.open(folder)
    except (OSError, ValueError, KeyError, TypeError, VidretError):
        return None
    return folder


def _remember(place: Path, seen: str, folder: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    values = {"seen": seen, "cache": folder.name, "written": _written(folder)}
    with publish(place) as part:
        part.write_text(json.dumps(values), encoding="utf-8")


def _written(folder: Path) -> int:
    return (folder / MANIFEST).stat().st_mtime_ns
