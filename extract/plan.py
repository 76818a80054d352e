"""Which shards an extraction consists of, and which of them are still to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vidret.data.errors import DamagedError, MismatchError
from vidret.data.samples import Caption, Dataset, Video
from vidret.data.shards import ShardEntry, read_shard_entry

CAPTIONS_PER_SHARD = 2_000

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoShard:
    """The videos of one shard."""

    file: str
    videos: tuple[Video, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionShard:
    """The captions of one shard."""

    file: str
    captions: tuple[Caption, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done, and what is there already."""

    videos: tuple[VideoShard, ...]
    captions: tuple[CaptionShard, ...]
    done: tuple[ShardEntry, ...]


def plan_shards(
    dataset: Dataset,
    folder: Path,
    *,
    shard_size: int,
    features_digest: str,
    retry_failed: bool = False,
) -> Plan:
    """Divide a dataset into shards, always in the same way, and leave out those that are done.

    Args:
        dataset: videos and captions in the dataset's own order.
        folder: the cache.
        shard_size: videos in a shard.
        features_digest: a shard made by anything else is made again.
        retry_failed: so is a shard in which a video failed.
    """
    videos = [
        VideoShard(file=f"videos-{number:05d}.h5", videos=chunk)
        for number, chunk in enumerate(_chunks(dataset.videos, shard_size))
    ]
    captions = [
        CaptionShard(file=f"captions-{number:05d}.h5", captions=chunk)
        for number, chunk in enumerate(_chunks(dataset.captions, CAPTIONS_PER_SHARD))
    ]
    shards: list[VideoShard | CaptionShard] = [*videos, *captions]
    done = {
        shard.file: entry
        for shard in shards
        if (entry := _done(folder / shard.file, features_digest, retry_failed=retry_failed))
    }
    return Plan(
        videos=tuple(shard for shard in videos if shard.file not in done),
        captions=tuple(shard for shard in captions if shard.file not in done),
        done=tuple(done.values()),
    )


def _done(path: Path, features_digest: str, *, retry_failed: bool) -> ShardEntry | None:
    if not path.exists():
        return None
    try:
        entry = read_shard_entry(path)
    except (DamagedError, MismatchError):
        return None
    if entry.fingerprint != features_digest or (retry_failed and entry.failed):
        return None
    return entry


def _chunks(items: Sequence[Item], size: int) -> list[tuple[Item, ...]]:
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]
