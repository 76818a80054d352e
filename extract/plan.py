"""Which shards an extraction consists of, and which of them are still to do.

Nothing but the shards themselves says what is done. An item is taken by the good shard that holds
it, or its failure. What no shard has taken is cut into shards in the dataset's order, and these get
the numbers that no good shard has, in rising order. All of them but the last are full: so after a
kill, whatever is finished, the rest is cut just as before.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TypeVar

from vidret.data.manifest import Removed
from vidret.data.samples import Caption, Dataset, Failure, Video
from vidret.data.storage.hdf5 import ShardEntry, ShardKind
from vidret.extract.planning.content import path_below
from vidret.extract.planning.contents import (
    CaptionRow,
    Content,
    Row,
    VideoRow,
    caption_contents,
    shard_name,
    video_contents,
)

CAPTIONS_PER_SHARD = 2_000

Item = TypeVar("Item", Video, Caption)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVideo:
    """A row of a shard that is what a video would be encoded to, if its file is the same still.

    Args:
        id: of the video that it is for.
        shard: where it lies.
        stored_id: its id there.
        size: of the file that it was made from; so is `content_hash`.
        since: a file that was not touched after this (in nanoseconds) is the same if its size is;
            0 asks for its hash in any case.
    """

    id: str
    shard: Path
    stored_id: str
    size: int
    content_hash: str
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCaption:
    """A row of a shard with the text of a caption; `id` is the caption that it is for."""

    id: str
    shard: Path
    stored_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoShard:
    """The videos of one shard, and what need not be encoded again for it.

    Args:
        file: its name.
        videos: of the dataset, in the dataset's order.
        stored: what may be taken over for them from the shards that are there.
        failed: failures that stay as they are.
        kept: ids of rows that the dataset no longer has: they stay, in case it has them again.
        kept_from: the shard that they lie in.
    """

    file: str
    videos: tuple[Video, ...]
    stored: tuple[StoredVideo, ...] = ()
    failed: tuple[Failure, ...] = ()
    kept: tuple[str, ...] = ()
    kept_from: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionShard:
    """The captions of one shard, and what need not be encoded again for it; see `VideoShard`."""

    file: str
    captions: tuple[Caption, ...]
    stored: tuple[StoredCaption, ...] = ()
    kept: tuple[str, ...] = ()
    kept_from: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done, what is there already, and what of it the dataset no longer has."""

    videos: tuple[VideoShard, ...]
    captions: tuple[CaptionShard, ...]
    done: tuple[ShardEntry, ...]
    removed: Removed = field(default_factory=Removed)


def plan_shards(
    dataset: Dataset,
    folder: Path,
    *,
    shard_size: int,
    features_digest: str,
    retry_failed: bool = False,
    force: bool = False,
) -> Plan:
    """Find out what a cache lacks of a dataset; no file of the dataset is read for it.

    Args:
        dataset: videos and captions in the dataset's own order.
        folder: the cache.
        shard_size: videos in a shard.
        features_digest: a shard made by anything else is none.
        retry_failed: a shard in which a video failed is made again.
        force: so is every shard, and nothing is taken over from what is there.
    """
    ask = _Ask(
        videos={video.id: video for video in dataset.videos},
        captions={caption.id: caption for caption in dataset.captions},
        root=dataset.root,
        retry_failed=retry_failed,
        force=force,
    )
    videos = video_contents(folder, features_digest)
    captions = caption_contents(folder, features_digest)
    to_do = _plan_videos(dataset.videos, videos, ask, shard_size)
    to_read = _plan_captions(dataset.captions, captions, ask)
    again = {shard.file for shard in to_do} | {shard.file for shard in to_read}
    there = [*(it.entry for it in videos), *(it.entry for it in captions)]
    return Plan(
        videos=to_do,
        captions=to_read,
        done=tuple(entry for entry in there if entry.file not in again),
        removed=Removed(
            videos=_beyond(videos, ask.videos), captions=_beyond(captions, ask.captions)
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """What the dataset has now, by id, and how much of the old is to be trusted."""

    videos: Mapping[str, Video]
    captions: Mapping[str, Caption]
    root: Path
    retry_failed: bool
    force: bool


def _plan_videos(
    videos: Sequence[Video], contents: Sequence[Content[VideoRow]], ask: _Ask, shard_size: int
) -> tuple[VideoShard, ...]:
    gone = {} if ask.force else _gone(contents, ask)
    due = [content for content in contents if _has_due_video(content, ask)]
    again = [
        VideoShard(
            file=content.entry.file,
            videos=items,
            stored=() if ask.force else tuple(_stored_videos(content, items, gone, ask.root)),
            failed=tuple(one for one in content.failed if not _is_tried_again(one, content, ask)),
            kept=tuple(row.id for row in content.rows if row.id not in ask.videos),
            kept_from=content.path,
        )
        for content, items in _items_of(due, videos)
    ]
    new = [
        VideoShard(file=file, videos=items, stored=tuple(_moved(items, gone)))
        for file, items in _new_shards("video", videos, contents, shard_size)
    ]
    return tuple(sorted([*again, *new], key=lambda shard: shard.file))


def _plan_captions(
    captions: Sequence[Caption], contents: Sequence[Content[CaptionRow]], ask: _Ask
) -> tuple[CaptionShard, ...]:
    texts = {} if ask.force else _texts(contents, ask)
    due = [
        content
        for content in contents
        if any(_caption_is_due(row, ask) for row in content.rows if row.id in ask.captions)
    ]
    again = [
        CaptionShard(
            file=content.entry.file,
            captions=items,
            stored=() if ask.force else tuple(_stored_captions(content, items, texts)),
            kept=tuple(row.id for row in content.rows if row.id not in ask.captions),
            kept_from=content.path,
        )
        for content, items in _items_of(due, captions)
    ]
    new = [
        CaptionShard(file=file, captions=items, stored=tuple(_same_text(items, texts)))
        for file, items in _new_shards("caption", captions, contents, CAPTIONS_PER_SHARD)
    ]
    return tuple(sorted([*again, *new], key=lambda shard: shard.file))


def _has_due_video(content: Content[VideoRow], ask: _Ask) -> bool:
    rows = (row for row in content.rows if row.id in ask.videos)
    return any(_is_tried_again(failure, content, ask) for failure in content.failed) or any(
        _video_is_due(row, content, ask) for row in rows
    )


def _video_is_due(row: VideoRow, content: Content[VideoRow], ask: _Ask) -> bool:
    """Whether a row is, or may be, not what it would be now; a file that is gone changes nothing.

    A file that was only touched looks like one that was replaced: the task will tell them apart.
    """
    video = ask.videos[row.id]
    if ask.force or (video.split, path_below(ask.root, video.path)) != (row.split, row.path):
        return True
    found = _facts(video.path)
    return found is not None and (found.st_size != row.size or found.st_mtime_ns > content.since)


def _is_tried_again(failure: Failure, content: Content[VideoRow], ask: _Ask) -> bool:
    """Whether that is asked for, or the file is another one since."""
    video = ask.videos.get(failure.id)
    if video is None:
        return False
    if ask.force or ask.retry_failed or path_below(ask.root, video.path) != failure.path:
        return True
    found = _facts(video.path)  # its bytes may be the same, and may be let read only now
    return found is not None and max(found.st_mtime_ns, found.st_ctime_ns) > content.since


def _caption_is_due(row: CaptionRow, ask: _Ask) -> bool:
    caption = ask.captions[row.id]
    now = (caption.video_id, caption.text, caption.kind)
    return ask.force or now != (row.video_id, row.text, row.kind)


def _stored_videos(
    content: Content[VideoRow],
    videos: Iterable[Video],
    gone: Mapping[int, Sequence[StoredVideo]],
    root: Path,
) -> Iterator[StoredVideo]:
    """The own row of each video, then those of files that have disappeared elsewhere."""
    rows = {row.id: row for row in content.rows}
    for video in videos:
        if row := rows.get(video.id):
            same_path = path_below(root, video.path) == row.path
            yield _stored(video.id, row, content, content.since if same_path else 0)
        yield from _moved([video], gone)


def _stored(id_: str, row: VideoRow, content: Content[VideoRow], since: int) -> StoredVideo:
    return StoredVideo(
        id=id_,
        shard=content.path,
        stored_id=row.id,
        size=row.size,
        content_hash=row.content_hash,
        since=since,
    )


def _gone(contents: Iterable[Content[VideoRow]], ask: _Ask) -> Mapping[int, Sequence[StoredVideo]]:
    """The rows that the dataset no longer has, by the size of their file: it may have moved."""
    by_size = defaultdict(list)
    for content in contents:
        for row in content.rows:
            if row.id not in ask.videos:
                by_size[row.size].append(_stored("", row, content, 0))
    return by_size


def _moved(
    videos: Iterable[Video], gone: Mapping[int, Sequence[StoredVideo]]
) -> Iterator[StoredVideo]:
    for video in videos if gone else ():
        if found := _facts(video.path):
            yield from (replace(one, id=video.id) for one in gone.get(found.st_size, ()))


def _facts(path: Path) -> os.stat_result | None:
    """Size and time of a file; None for one that is not there."""
    try:
        return path.stat()
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return None


def _stored_captions(
    content: Content[CaptionRow],
    captions: Iterable[Caption],
    texts: Mapping[str, StoredCaption],
) -> Iterator[StoredCaption]:
    rows = {row.id: row for row in content.rows}
    for caption in captions:
        if rows[caption.id].text == caption.text:
            yield StoredCaption(id=caption.id, shard=content.path, stored_id=caption.id)
        else:
            yield from _same_text([caption], texts)


def _texts(contents: Iterable[Content[CaptionRow]], ask: _Ask) -> Mapping[str, StoredCaption]:
    """The captions that the dataset no longer has, by their text."""
    return {
        row.text: StoredCaption(id="", shard=content.path, stored_id=row.id)
        for content in contents
        for row in content.rows
        if row.id not in ask.captions
    }


def _same_text(
    captions: Iterable[Caption], texts: Mapping[str, StoredCaption]
) -> Iterator[StoredCaption]:
    for caption in captions:
        if stored := texts.get(caption.text):
            yield replace(stored, id=caption.id)


def _items_of(
    contents: Sequence[Content[Row]], items: Iterable[Item]
) -> Iterator[tuple[Content[Row], tuple[Item, ...]]]:
    """Each shard with those of the dataset's items that it holds, in the dataset's order."""
    owner = {id_: content.entry.file for content in contents for id_ in content.ids}
    of_file = defaultdict(list)
    for item in items:
        if item.id in owner:
            of_file[owner[item.id]].append(item)
    for content in contents:
        yield content, tuple(of_file[content.entry.file])


def _new_shards(
    kind: ShardKind, items: Iterable[Item], contents: Sequence[Content[Row]], size: int
) -> Iterator[tuple[str, tuple[Item, ...]]]:
    """What no shard has taken, in shards whose names are free."""
    taken = {id_ for content in contents for id_ in content.ids}
    untaken = [item for item in items if item.id not in taken]
    used = {content.entry.file for content in contents}
    free = (name for number in count() if (name := shard_name(kind, number)) not in used)
    for start, file in zip(range(0, len(untaken), size), free, strict=False):
        yield file, tuple(untaken[start : start + size])


def _beyond(contents: Iterable[Content[Row]], wanted: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(sorted(id_ for content in contents for id_ in content.ids if id_ not in wanted))
