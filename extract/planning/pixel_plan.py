"""Which pixel shards are to be made, and where pictures lie that need not be decoded again."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidret.data.errors import DamagedError, DecodeError, MismatchError, MissingError
from vidret.data.manifest import read_manifest
from vidret.data.pixels.index import PixelIndex, PixelPlace
from vidret.data.pixels.reader import PixelTable, read_pixel_table
from vidret.data.samples import Dataset, Failure, Video
from vidret.data.shards import read_failures, read_video_table
from vidret.data.storage.hdf5 import ShardEntry, read_shard_entry, seal_is_broken
from vidret.extract.plan import Plan, VideoShard
from vidret.extract.planning.content import look_at_content

log = logging.getLogger(__name__)

VIDEOS, PIXELS = "videos-", "pixels-"


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelPlan:
    """What is to be decoded and kept; `todo` is empty where pixels are not wanted.

    Args:
        folder: the cache.
        todo: the pixel shards to make.
        done: those that are there already.
        known: pixel shards of this work folder, by the sizes of the files that they hold.
        fresh: decode everything, whatever is there.
    """

    folder: Path
    todo: tuple[VideoShard, ...] = ()
    done: tuple[ShardEntry, ...] = ()
    known: Mapping[int, tuple[Path, ...]] = field(default_factory=dict)
    fresh: bool = False

    def video_file(self, shard: VideoShard | ShardEntry) -> str:
        """The video shard of a pixel shard."""
        return shard.file.replace(PIXELS, VIDEOS)

    def sources_to_store(self, shard: VideoShard) -> tuple[Path, ...]:
        """The pixel shards from which the pixels of a new one can be taken."""
        return () if self.fresh else self.sources(shard)

    def sources(self, shard: VideoShard) -> tuple[Path, ...]:
        """The pixel shards in which a task should look for its videos: its own one first."""
        own = self.folder / shard.file.replace(VIDEOS, PIXELS)
        ours = {entry.file for entry in self.done} | {planned.file for planned in self.todo}
        sizes = {_size_of(video.path) for video in shard.videos} if self.known else set()
        others = dict.fromkeys(
            path for size in sorted(sizes) for path in self.known.get(size, ()) if path != own
        )
        return (*([own] if own.name in ours or own.exists() else []), *others)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPixels:
    """What pixel shards hold of some videos: their places, and those that failed."""

    places: Mapping[str, PixelPlace]
    failures: tuple[Failure, ...]
    tables: Mapping[Path, PixelTable]


def plan_pixels(
    dataset: Dataset,
    folder: Path,
    plan: Plan,
    *,
    digest: str,
    index: PixelIndex,
    keep: bool,
    retry_failed: bool = False,
    force: bool = False,
) -> PixelPlan:
    """Say which pixel shards are to be made, beside which video shards.

    Args:
        dataset: the videos.
        folder: the cache.
        plan: of the video shards, which the pixel shards follow.
        digest: a pixel shard made by anything else is made again.
        index: the pixels that there are in this work folder.
        keep: whether pixels are wanted at all.
        retry_failed: make those again in which a video failed.
        force: make all of them again.
    """
    known = {} if force else _by_size(index)
    if not keep:  # those of an earlier run stay what they are
        return PixelPlan(folder=folder, done=_listed(folder), known=known, fresh=force)
    videos = {video.id: video for video in dataset.videos}
    shards = [*plan.videos, *_shards_of(plan.done, folder, videos)]
    wanted = [
        VideoShard(file=shard.file.replace(VIDEOS, PIXELS), videos=shard.videos)
        for shard in sorted(shards, key=lambda shard: shard.file)
    ]
    done = {
        shard.file: entry
        for shard in ([] if force else wanted)
        if (entry := _made(shard, folder, digest)) and not (retry_failed and entry.failed)
    }
    return PixelPlan(
        folder=folder,
        todo=tuple(shard for shard in wanted if shard.file not in done),
        done=tuple(done.values()),
        known=known,
        fresh=force,
    )


def look_up(videos: Sequence[Video], sources: Sequence[Path]) -> KnownPixels:
    """What the pixel shards `sources` hold of some videos; a replaced file is not taken for itself.

    A file is known by its id, size and time where that will do, else by its content.
    """
    places: dict[str, PixelPlace] = {}
    failures: dict[str, Failure] = {}
    tables: dict[Path, PixelTable] = {}
    for number, path in enumerate(sources):
        rest = [video for video in videos if video.id not in places]
        try:
            table = read_pixel_table(path)
            found = dict(_rows_of(rest, table, path))
            if (found or number == 0) and seal_is_broken(path):
                log.warning("%s does not hold what was written: its videos are decoded again", path)
                continue
        except (DamagedError, MismatchError):
            continue  # then they are decoded
        tables[path] = table
        places |= found
        if number == 0:  # its own shard: what failed there has had its tries
            failures |= {failure.id: failure for failure in table.failures}
    ids = {video.id for video in videos} - places.keys()
    return KnownPixels(
        places=places,
        failures=tuple(failure for id_, failure in failures.items() if id_ in ids),
        tables=tables,
    )


def _rows_of(
    videos: Iterable[Video], table: PixelTable, path: Path
) -> Iterable[tuple[str, PixelPlace]]:
    row_of_id = {id_: row for row, id_ in enumerate(table.ids)}
    contents = zip(table.content_hash, map(int, table.size), strict=True)
    row_of_content = {content: row for row, content in enumerate(contents)}
    sizes, since = {size for _, size in row_of_content}, path.stat().st_mtime_ns
    for video in videos:
        try:
            found = video.path.stat()
            row = row_of_id.get(video.id)
            same = row is not None and found.st_size == table.size[row]
            if not (same and found.st_mtime_ns <= since):
                size, hash_ = look_at_content(video.path) if found.st_size in sizes else (-1, "")
                row = row_of_content.get((hash_, size))
        except (OSError, ValueError, DecodeError):
            continue
        if row is not None:
            yield video.id, PixelPlace(path, row)


def _shards_of(
    done: Iterable[ShardEntry], folder: Path, videos: Mapping[str, Video]
) -> Iterable[VideoShard]:
    """The finished video shards, with the videos of the dataset that are in them."""
    for entry in done:
        if entry.kind == "video":
            path = folder / entry.file
            ids = {*read_video_table(path).ids, *(failure.id for failure in read_failures(path))}
            own = tuple(videos[id_] for id_ in sorted(ids & videos.keys()))
            yield VideoShard(file=entry.file, videos=own)


def _listed(folder: Path) -> tuple[ShardEntry, ...]:
    """The pixel shards that the cache has already."""
    try:
        entries = read_manifest(folder).shards
    except (MissingError, DamagedError, MismatchError):
        return ()
    return tuple(
        entry for entry in entries if entry.kind == "pixel" and (folder / entry.file).exists()
    )


def _made(shard: VideoShard, folder: Path, digest: str) -> ShardEntry | None:
    """The entry of a pixel shard that is there and holds all that it should."""
    path = folder / shard.file
    if not path.exists():
        return None
    try:
        entry = read_shard_entry(path)
        held = look_up(shard.videos, [path])
    except (DamagedError, MismatchError):
        return None
    whole = len(held.places) + len(held.failures) == len(shard.videos)
    return entry if whole and entry.fingerprint == digest else None


def _size_of(path: Path) -> int:
    """Bytes of a file; -1 where it cannot be reached, which no file has."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return -1


def _by_size(index: PixelIndex) -> dict[int, tuple[Path, ...]]:
    files: dict[int, dict[Path, None]] = defaultdict(dict)
    for (_, size), (number, _) in index.rows.items():
        files[size][index.shards[number]] = None
    return {size: tuple(paths) for size, paths in files.items()}
