"""A task that has nothing to do; Dask imports it in its workers."""

from collections.abc import Sequence
from pathlib import Path

from vidret.data.storage.hdf5 import ShardEntry
from vidret.extract.plan import VideoShard
from vidret.extract.task import TaskResult, TaskSettings


def finish_at_once(
    shard: VideoShard, settings: TaskSettings, _pixels: Sequence[Path] = ()
) -> TaskResult:
    """Say that a shard is done, in as many bytes as `extract_videos` would."""
    entry = ShardEntry(
        file=shard.file,
        kind="video",
        items=len(shard.videos),
        failed=0,
        bytes=262_144,
        checksum=f"{hash(shard.file) % 16**16:032x}",
        fingerprint=settings.features_digest,
    )
    return TaskResult(entry=entry, encoded=len(shard.videos), waited=15.0, busy=15.0)
