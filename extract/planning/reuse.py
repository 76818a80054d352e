"""What need not be encoded again: rows of finished shards whose file, or text, is still the same.

Nothing here is an error. A shard that was damaged or replaced since the plan was made is one that
nothing can be taken from, and its videos are encoded as if it had never been.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from vidret.data.errors import DamagedError, DecodeError, MismatchError
from vidret.data.samples import Caption, Failure, TextEmbeddings, Video, VideoEmbeddings
from vidret.data.shards import read_caption_table, read_video_table
from vidret.data.storage.stored import read_captions, read_videos
from vidret.extract.plan import CaptionShard, StoredVideo, VideoShard
from vidret.extract.planning.content import look_at_content, path_below

log = logging.getLogger(__name__)

Found = TypeVar("Found", VideoEmbeddings, TextEmbeddings)


def reuse_videos(
    shard: VideoShard, root: Path
) -> tuple[list[VideoEmbeddings], list[Failure], list[Video]]:
    """What is known of a shard's videos, the failures that stay, and the videos to encode.

    The embeddings are those that were stored, bit for bit, under the id, split and path of today.
    Behind those of `shard.videos` come the rows that the dataset no longer has.

    Args:
        shard: what the plan says.
        root: of the dataset.
    """
    wanted = _by_shard((stored.shard, stored.stored_id) for stored in shard.stored)
    rows = {path: _read(path, ids, _videos_of) for path, ids in wanted.items()}
    candidates = defaultdict(list)
    for stored in shard.stored:
        candidates[stored.id].append(stored)
    failed = {failure.id for failure in shard.failed}
    known, rest = [], []
    for video in shard.videos:
        found = _confirmed(video, candidates[video.id], rows)
        if found is not None:
            path = path_below(root, video.path)
            known.append(replace(found, id=video.id, split=video.split, path=path))
        elif video.id not in failed:
            rest.append(video)
    return known + _kept(shard, _videos_of), list(shard.failed), rest


def reuse_captions(shard: CaptionShard) -> tuple[list[TextEmbeddings], list[Caption]]:
    """What is known of a shard's captions, and the captions to encode; as for videos."""
    wanted = _by_shard((stored.shard, stored.stored_id) for stored in shard.stored)
    rows = {path: _read(path, ids, _captions_of) for path, ids in wanted.items()}
    stored = {one.id: rows[one.shard].get(one.stored_id) for one in shard.stored}
    known, rest = [], []
    for caption in shard.captions:
        found = stored.get(caption.id)
        if found is None or found.text != caption.text:
            rest.append(caption)
        else:
            known.append(
                replace(found, id=caption.id, video_id=caption.video_id, kind=caption.kind)
            )
    return known + _kept(shard, _captions_of), rest


def outlook(shard: VideoShard) -> tuple[list[Video], list[Video]]:
    """What a shard will take, told before any file is read.

    Returns:
        The videos that have to be encoded, and those that need not be if their files hold what
        some file held before.
    """
    candidates = defaultdict(list)
    for stored in shard.stored:
        candidates[stored.id].append(stored)
    failed = {failure.id for failure in shard.failed}
    new: list[Video] = []
    maybe: list[Video] = []
    for video in shard.videos:
        try:
            found = video.path.stat()
        except (OSError, ValueError):
            continue
        alike = [one for one in candidates[video.id] if one.size == found.st_size]
        if any(found.st_mtime_ns <= one.since for one in alike) or video.id in failed:
            continue
        (maybe if alike else new).append(video)
    return new, maybe


def _confirmed(
    video: Video,
    candidates: Iterable[StoredVideo],
    rows: Mapping[Path, Mapping[str, VideoEmbeddings]],
) -> VideoEmbeddings | None:
    """The stored row that was made from just the file that a video is now."""
    content: tuple[int, str] | None = None
    for stored in candidates:
        row = rows[stored.shard].get(stored.stored_id)
        if row is None or (row.size, row.content_hash) != (stored.size, stored.content_hash):
            continue
        try:
            found = video.path.stat()
            if found.st_size != stored.size:
                continue
            if found.st_mtime_ns <= stored.since:
                return row
            content = content or look_at_content(video.path)
        except (OSError, ValueError, DecodeError):
            # What is gone cannot be encoded: what is known of it stays.
            return row if stored.since else None
        if content == (stored.size, stored.content_hash):
            return row
    return None


def _kept(
    shard: VideoShard | CaptionShard, read: Callable[[Path, set[str]], list[Found]]
) -> list[Found]:
    """The rows that the dataset no longer has, in the order in which they lie there."""
    if shard.kept_from is None or not shard.kept:
        return []
    return list(_read(shard.kept_from, set(shard.kept), read).values())


def _read(
    path: Path, ids: set[str], read: Callable[[Path, set[str]], list[Found]]
) -> dict[str, Found]:
    try:
        return {item.id: item for item in read(path, ids)}
    except (DamagedError, MismatchError) as error:
        log.warning("%s cannot be used: what lies in it is encoded again (%s)", path, error)
        return {}


def _videos_of(path: Path, ids: set[str]) -> list[VideoEmbeddings]:
    return read_videos(path, _rows(read_video_table(path).ids, ids))


def _captions_of(path: Path, ids: set[str]) -> list[TextEmbeddings]:
    return read_captions(path, _rows(read_caption_table(path).ids, ids))


def _rows(there: Sequence[str], ids: set[str]) -> list[int]:
    return [row for row, id_ in enumerate(there) if id_ in ids]


def _by_shard(places: Iterable[tuple[Path, str]]) -> dict[Path, set[str]]:
    found = defaultdict(set)
    for path, id_ in places:
        found[path].add(id_)
    return dict(found)
