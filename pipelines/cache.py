"""`vidret cache info | verify | repair`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidret.data.cache import Coverage, FeatureCache, newest_cache
from vidret.data.check import Problem, repair_cache, verify_cache
from vidret.data.errors import DamagedError, VidretError
from vidret.data.manifest import Manifest
from vidret.pipelines.config.settings import CacheConfig


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
            f"{len(self.problems)} files of {self.folder} are not as they were written: "
            f"vidret cache repair --cache {self.folder}"
        )

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return asdict(self)


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


def _folder(config: CacheConfig) -> Path:
    return config.cache or newest_cache(config.work)
