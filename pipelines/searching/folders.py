"""A folder of one's own, cached so that it can be searched, and not looked at twice."""

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import xxhash

from vidret.data.cache import FeatureCache
from vidret.data.errors import MissingError, VidretError
from vidret.data.folders.listing import walk
from vidret.data.manifest import MANIFEST
from vidret.data.printable import printable
from vidret.data.storage.publish import publish
from vidret.extract.backends import installed
from vidret.pipelines.config.settings import ExtractConfig
from vidret.pipelines.display.progress import OnProgress
from vidret.pipelines.training.runs import encoders_of_run, read_run, trained_on

log = logging.getLogger(__name__)

SEEN = "folders"  # below the work folder's index/
FOLDER = "folder:"


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
    file is opened and nothing is extracted.

    Args:
        path: the folder.
        work: the work folder.
        run_folder: of the run that is to rank it; the cache is made with its encoders.
        extract: how to cache it where no run says so.
        device: where encoders run.
        offline: forbid the hub.
        on_progress: told how far the caching is.

    Raises:
        MissingError: there is no such folder, no video in it, or no weights of an encoder.
    """
    root = path.expanduser().absolute()
    if not root.is_dir():
        raise MissingError(f"{printable(root)} is no folder: give one that holds videos")
    config = replace(
        extract,
        work=work,
        offline=offline,
        device=device,
        dataset=f"{FOLDER}{root}",
        root=None,
        clips=None,
        dry_run=False,
        **({} if run_folder is None else settings_of_run(work, run_folder)),
    )
    seen, place = look_of(root), _place(config)
    if not (config.force or config.retry_failed):
        known = _known_cache(place, seen)
        if known is not None:
            log.debug("%s is as it was: nothing is cached anew", printable(root))
            return known
    folder = extracting(config, on_progress)
    _remember(place, seen, folder)
    return folder


def extracting(config: ExtractConfig, on_progress: OnProgress) -> Path:
    """Cache what is new, and return the cache."""
    from vidret.pipelines.extract import run_extract  # Dask takes a second to import

    return run_extract(config, on_progress=on_progress).folder


def settings_of_run(work: Path, run_folder: Path) -> dict[str, Any]:
    """What an extraction has to be told so that a run can rank what comes out."""
    run = read_run(run_folder)
    made = FeatureCache.open(trained_on(work, run), partial=True)
    facts = made.fingerprint
    wanted = {name: made.manifest.settings[name] for name in ("backbone", "audio", "decoder")}
    wanted |= {"frames": facts.frames, "sampling": facts.frame_policy}
    wanted |= {"features": facts.features, "precision": facts.precision}
    if run.has_own_encoders:  # also where nothing is cached with them yet
        wanted["backbone"], wanted["audio"] = encoders_of_run(work, run.name)
    return wanted


def extraction_of_cache(cache: FeatureCache, work: Path, *, offline: bool) -> ExtractConfig:
    """The settings that made the cache of a folder, to bring it up to date."""
    settings, facts = cache.manifest.settings, cache.fingerprint
    return ExtractConfig(
        work=work,
        offline=offline,
        backbone=settings["backbone"],
        audio=settings["audio"],
        decoder=settings["decoder"],
        frames=facts.frames,
        sampling=facts.frame_policy,
        features=facts.features,
        precision=facts.precision,
    )


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
