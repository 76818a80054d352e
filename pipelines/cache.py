"""`vidret cache info | verify | repair | export | gc`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidret.data.cache import Coverage, FeatureCache, find_caches, newest_cache
from vidret.data.errors import ConfigError, DamagedError, VidretError
from vidret.data.manifest import Manifest, read_manifest
from vidret.data.upkeep.check import Problem, repair_cache, verify_cache
from vidret.data.upkeep.export import export_cache
from vidret.data.upkeep.sweep import (
    Garbage,
    describe_cache,
    find_garbage,
    remove_cache,
    sweep_cache,
)
from vidret.data.words import counted
from vidret.pipelines.config.settings import CacheConfig, CacheExportConfig, CacheGcConfig
from vidret.pipelines.training.runs import RUN, read_run, trained_on


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheInfoReport:
    """What a cache holds."""

    folder: Path
    manifest: Manifest
    coverage: dict[str, Coverage]
    failures: int

    @property
    def verdict(self) -> VidretError | None:
        """Looking has no verdict."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCheckReport:
    """What is wrong with a cache, and whether it was set right."""

    folder: Path
    problems: tuple[Problem, ...]
    repaired: bool

    @property
    def verdict(self) -> VidretError | None:
        """A damaged cache that nobody repaired."""
        if self.repaired or not self.problems:
            return None
        return DamagedError(
            f"{counted(len(self.problems), 'file')} of {self.folder} not as they should be: "
            f"vidret cache repair --cache {self.folder}"
        )

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheExportReport:
    """What was written where."""

    folder: Path
    to: Path
    files: tuple[Path, ...]

    @property
    def verdict(self) -> VidretError | None:
        """What was written is whole."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheGcReport:
    """What lay in caches without use, and whether it was removed."""

    folders: tuple[Path, ...]
    garbage: tuple[Garbage, ...]
    dry_run: bool

    @property
    def bytes(self) -> int:
        """How much room that is."""
        return sum(one.bytes for one in self.garbage)

    @property
    def verdict(self) -> VidretError | None:
        """There is none."""
        return None

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self) | {"bytes": self.bytes}


def run_cache_info(config: CacheConfig) -> CacheInfoReport:
    """Show a cache, finished or not."""
    cache = FeatureCache.open(_folder(config), partial=True)
    return CacheInfoReport(
        folder=cache.folder,
        manifest=cache.manifest,
        coverage={split: cache.coverage(split) for split in cache.splits},
        failures=len(cache.failures()),
    )


def run_cache_verify(config: CacheConfig) -> CacheCheckReport:
    """Compare every byte with the manifest."""
    folder = _folder(config)
    return CacheCheckReport(folder=folder, problems=tuple(verify_cache(folder)), repaired=False)


def run_cache_repair(config: CacheConfig) -> CacheCheckReport:
    """Remove what is damaged."""
    folder = _folder(config)
    return CacheCheckReport(folder=folder, problems=tuple(repair_cache(folder)), repaired=True)


def run_cache_export(config: CacheExportConfig) -> CacheExportReport:
    """Write a cache, or one split of it, in files that need no vidret."""
    if config.to is None:
        raise ConfigError("it is not said where to export: name an empty folder with --to")
    cache = FeatureCache.open(_folder(config))
    splits = [config.split] if config.split is not None else list(cache.splits)
    files = export_cache(cache, config.to, file_format=config.format, splits=splits)
    return CacheExportReport(folder=cache.folder, to=config.to, files=tuple(files))


def run_cache_gc(config: CacheGcConfig) -> CacheGcReport:
    """Remove what lies in caches without use, or only say what that is."""
    unused = _unused(config.work) if config.unused else []
    folders = find_caches(config.work) if config.all else [_folder(config)]
    folders = [folder for folder in folders if folder not in unused]
    sweep, remove = (
        (find_garbage, describe_cache) if config.dry_run else (sweep_cache, remove_cache)
    )
    garbage = [one for folder in folders for one in sweep(folder)]
    garbage += [remove(folder) for folder in unused]
    return CacheGcReport(folders=tuple(folders), garbage=tuple(garbage), dry_run=config.dry_run)


def _unused(work: Path) -> list[Path]:
    """The caches that no run was trained on or can be scored on, but for the newest."""
    caches = find_caches(work)
    runs = [read_run(path.parent) for path in sorted((work / "runs").rglob(RUN))]
    used = {trained_on(work, run).name for run in runs} | {caches[0].name if caches else ""}
    made_for = [run.fingerprint for run in runs]
    return [
        folder
        for folder in caches
        if folder.name not in used
        and all(read_manifest(folder).fingerprint.differences(one) for one in made_for)
    ]


def _folder(config: CacheConfig) -> Path:
    return config.cache or newest_cache(config.work)
