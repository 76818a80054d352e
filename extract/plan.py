"""Which shards an extraction consists of, and which of them are still to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vidret.data.errors import DamagedError, DecodeError, MismatchError, MissingError
from vidret.data.manifest import read_manifest
from vidret.data.samples import Caption, Dataset, Video
from vidret.data.shards import (
    ShardEntry,
    read_caption_table,
    read_failures,
    read_shard_entry,
    read_video_table,
)
from vidret.extract.content import look_at_content

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

    A shard is made again where it cannot be read, holds other items than it should, or has another
    checksum than the manifest says: to take its bytes as they are would vouch for the damage.

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
    written = _checksums(folder)
    done = {
        shard.file: entry
        for shard in shards
        if (entry := _done(shard, folder, features_digest, retry_failed=retry_failed))
        and written.get(shard.file, entry.checksum) == entry.checksum
    }
    return Plan(
        videos=tuple(shard for shard in videos if shard.file not in done),
        captions=tuple(shard for shard in captions if shard.file not in done),
        done=tuple(done.values()),
    )


def _done(
    shard: VideoShard | CaptionShard, folder: Path, features_digest: str, *, retry_failed: bool
) -> ShardEntry | None:
    path = folder / shard.file
    if not path.exists():
        return None
    try:
        entry = read_shard_entry(path)
        whole = _holds(path, shard)
    except (DamagedError, MismatchError):
        return None
    if not whole or entry.fingerprint != features_digest or (retry_failed and entry.failed):
        return None
    return entry


def _holds(path: Path, shard: VideoShard | CaptionShard) -> bool:
    """Whether a file is of just these items as they are: a dataset may have changed since."""
    if isinstance(shard, CaptionShard):
        return read_caption_table(path).ids == [caption.id for caption in shard.captions]
    table, failed = read_video_table(path), [failure.id for failure in read_failures(path)]
    if sorted([*table.ids, *failed]) != sorted(video.id for video in shard.videos):
        return False
    files = {video.id: video.path for video in shard.videos}
    facts = zip(table.ids, table.size, table.content_hash, strict=True)
    since = path.stat().st_mtime_ns
    return not any(_replaced(files[id_], size, content, since) for id_, size, content in facts)


def _replaced(path: Path, size: int, content: str, since: int) -> bool:
    """Whether a file is no longer the one that was encoded; one that is gone cannot be again.

    Only what is younger than its shard is read: a million videos are looked at, not read.
    """
    try:
        found = path.stat()
        younger = found.st_mtime_ns > since
        return found.st_size != size or (younger and look_at_content(path)[1] != content)
    except (OSError, DecodeError):
        return False


def _checksums(folder: Path) -> dict[str, str]:
    """What the manifest says of the shards; those of a run that was ended early are not in it."""
    try:
        return {entry.file: entry.checksum for entry in read_manifest(folder).shards}
    except (MissingError, DamagedError, MismatchError):
        return {}


def _chunks(items: Sequence[Item], size: int) -> list[tuple[Item, ...]]:
    return [tuple(items[start : start + size]) for start in range(0, len(items), size)]
