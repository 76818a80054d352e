"""What is searched: the videos of a cache, which of them a question lets in, where they lie."""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from threading import Thread

import numpy as np
import psutil
import xxhash
from numpy.typing import NDArray

from vidret.data.batches import Videos
from vidret.data.cache import FeatureCache
from vidret.data.errors import MissingError
from vidret.data.features import SplitFeatures
from vidret.data.folder import FOLDER_NAME
from vidret.data.folders.listing import list_folder
from vidret.data.manifest import MANIFEST
from vidret.data.printable import printable
from vidret.data.samples import AudioState
from vidret.data.storage.projections import Projections
from vidret.data.storage.rows import ShardRows
from vidret.heads.mean import MeanPooling
from vidret.pipelines.searching.answers import Differences, Question, unknown_video
from vidret.pipelines.searching.globs import Glob

log = logging.getLogger(__name__)

IN_MEMORY = 512 * 2**20  # bytes of frames that are read at once; more stay on the disk
SHARE_OF_MEMORY = 2 / 3  # of what is free, that frames may take where one asks for long
EXAMPLES = 5
AT_ONCE = 1024  # videos that are read together


@dataclass(frozen=True)
class Corpus:
    """The videos of a cache as they were when it was opened.

    Args:
        cache: it came from.
        features: of all videos, without captions.
        root: where the files lie.
        failed: how many could not be read.
        share: which of how many shares of the cache it is; (0, 1) is all of it.
        keys: a number for each video, made of its id, which an index knows it by.
        versions: a number for each video, made of its file's content.
    """

    cache: FeatureCache
    features: SplitFeatures
    root: Path
    failed: int
    keys: NDArray[np.int64]
    versions: NDArray[np.int64]
    share: tuple[int, int] = (0, 1)
    _modified: dict[int, float | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.features.video_ids)

    def keep_in_memory(self) -> Thread | None:
        """Read frames that lie on the disk into memory, in the background, where they leave room.

        Questions are answered meanwhile, from wherever frames are by then.

        Returns:
            what reads; None where there is nothing to read, or no room.
        """
        frames = self.features.frames
        room = psutil.virtual_memory().available * SHARE_OF_MEMORY
        if not isinstance(frames, ShardRows) or frames.nbytes > room:
            return None
        reader = Thread(target=frames.hold, daemon=True)
        reader.start()
        return reader

    @cached_property
    def opaque_ids(self) -> list[str]:
        """What each video is called outside: a hash of its id."""
        return [opaque_id(name) for name in self.features.video_ids]

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Where each video stands in the order of their ids, which decides between equal scores."""
        order = sorted(range(len(self)), key=self.features.video_ids.__getitem__)
        places = np.empty(len(self), np.int64)
        places[order] = np.arange(len(self))
        return places

    @cached_property
    def means(self) -> NDArray[np.float32]:
        """The mean of the frames of each video at unit length, each frame at unit length before."""
        means = np.zeros((len(self), self.cache.fingerprint.dim), np.float32)
        for start in range(0, len(self), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            videos = self.videos(rows)
            means[rows] = MeanPooling().prepare_videos(videos).numpy()
        return means

    @cached_property
    def _row_of_id(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.opaque_ids)}

    @cached_property
    def _by_key(self) -> NDArray[np.int64]:
        return self.keys.argsort()

    @cached_property
    def _sorted_keys(self) -> NDArray[np.int64]:
        return self.keys[self._by_key]

    def row(self, opaque_id: str) -> int:
        """The row of a video by its opaque id.

        Raises:
            UnknownVideoError: no video has it.
        """
        row = self._row_of_id.get(opaque_id)
        if row is None:
            raise unknown_video(opaque_id)
        return row

    def rows_of_keys(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of some keys, without those that no video has any more."""
        places = np.searchsorted(self._sorted_keys, keys)
        rows = self._by_key[np.minimum(places, len(self) - 1)]
        return rows[self.keys[rows] == keys] if len(self) else rows[:0]

    def file(self, row: int) -> Path:
        """Where the file of a video is, or was."""
        return self.root / self.features.paths[row]

    def existing_file(self, row: int) -> Path:
        """Where the file of a video is.

        Raises:
            MissingError: it is not there any more.
        """
        return existing(self.file(row))

    def videos(
        self, rows: NDArray[np.int64] | slice, projections: Projections | None = None
    ) -> Videos:
        """Some videos as the heads take them.

        Args:
            rows: which.
            projections: other ones than the cache's, where a head has trained its own.
        """
        features = self.features
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        numbers = rows.tolist()
        some = replace(
            features,
            video_ids=[features.video_ids[row] for row in numbers],
            frames=features.frames[rows],
            frame_mask=features.frame_mask[rows],
            audio=features.audio[rows],
            audio_state=[features.audio_state[row] for row in numbers],
            projections=features.projections if projections is None else projections,
        )
        return some.videos_tensors()

    def sounds(self, rows: slice) -> Videos:
        """Some videos without their frames: all that a head for sound asks for."""
        features = self.features
        names = features.video_ids[rows]
        some = replace(
            features,
            video_ids=names,
            frames=np.zeros((len(names), 1, 1), np.float16),
            frame_mask=np.ones((len(names), 1), bool),
            audio=features.audio[rows],
            audio_state=features.audio_state[rows],
            projections=None,
        )
        return some.videos_tensors()

    def allowed(self, question: Question) -> NDArray[np.int64]:
        """The rows that a question lets in.

        Raises:
            ConfigError: a glob is empty or far too long.
        """
        features, allowed = self.features, np.ones(len(self), bool)
        if question.only_with_sound:
            allowed &= np.array([it is AudioState.OK for it in features.audio_state], bool)
        if question.where:
            fits = [Glob(glob).fits for glob in question.where]
            allowed &= np.array([any(fit(it) for fit in fits) for it in features.paths], bool)
        if question.since is not None:
            for row in np.flatnonzero(allowed):
                allowed[row] = self._is_since(int(row), question.since)
        return np.flatnonzero(allowed)

    def differences(self) -> Differences:
        """Which files are gone, changed, or new.

        A file of another size has changed; so has one of a folder of one's own that was written to
        after the cache was, which is what `vidret extract` would look into, too.
        """
        features, own = self.features, self.cache.fingerprint.dataset == FOLDER_NAME
        since = _written(self.cache.folder) if own else math.inf
        gone, changed = [], []
        for row, name in enumerate(features.video_ids):
            try:
                facts = self.file(row).stat()
            except OSError:
                gone.append(name)
                continue
            if facts.st_size != features.sizes[row] or facts.st_mtime_ns > since:
                changed.append(name)
        new: tuple[str, ...] = ()
        if own and self.share[1] == 1 and self.root.is_dir():  # a share knows not what others hold
            known = {*features.video_ids, *(one.id for one in self.cache.failures())}
            new = tuple(name for name in list_folder(self.root).videos if name not in known)
        return Differences(gone=tuple(gone), changed=tuple(changed), new=new)

    @cached_property
    def examples(self) -> tuple[str, ...]:
        """A few captions of the cache, from as many videos."""
        for split, count in reversed(list(self.cache.splits.items())):
            if count.captions:
                features = self.cache.load(split, view="lazy")
                _, first = np.unique(features.owners, return_index=True)
                return tuple(features.text[row] for row in first[:EXAMPLES])
        return ()

    def _is_since(self, row: int, since: date) -> bool:
        if row not in self._modified:
            try:
                self._modified[row] = self.file(row).stat().st_mtime
            except OSError:
                self._modified[row] = None
        modified = self._modified[row]
        return modified is not None and datetime.fromtimestamp(modified).date() >= since


def open_corpus(folder: Path, share: tuple[int, int] = (0, 1)) -> Corpus:
    """Open the videos of a cache; frames stay on the disk where there are many.

    Args:
        folder: the cache.
        share: which of how many shares of it.

    Raises:
        MissingError: the folder is no cache, or not complete.
        MismatchError: a newer vidret wrote it.
        DamagedError: a shard is not there, or cannot be read.
    """
    number, of = share
    return _corpus(FeatureCache.open(folder).share(number, of), share)


def open_without_videos(folder: Path) -> Corpus:
    """What is known of a cache before any of its videos is looked at."""
    cache = FeatureCache.open(folder)
    return replace(_corpus(cache.without_videos(), (0, 1)), cache=cache)


def _corpus(cache: FeatureCache, share: tuple[int, int]) -> Corpus:
    facts = cache.fingerprint
    videos = sum(entry.items for entry in cache.manifest.shards if entry.kind == "video")
    small = videos * facts.frames * facts.frame_dim * 2 <= IN_MEMORY
    features = cache.load_videos(view="ram" if small else "mapped")
    return Corpus(
        cache=cache,
        features=features,
        root=Path(cache.manifest.settings["root"]),
        failed=len(cache.failures()),
        share=share,
        keys=numbers_of(features.video_ids),
        versions=numbers_of(
            f"{digest} {size}"
            for digest, size in zip(features.content_hashes, features.sizes, strict=True)
        ),
    )


def existing(path: Path) -> Path:
    """The file of a video, if it is there.

    Raises:
        MissingError: it is not.
    """
    if not path.is_file():
        raise MissingError(
            f"{printable(path.name)} is not there any more: bring the index up to date with "
            "`vidret index update FOLDER`, with the folder that is searched"
        )
    return path


def _written(folder: Path) -> float:
    """When a cache was written last, in nanoseconds; never, where it is gone."""
    try:
        return (folder / MANIFEST).stat().st_mtime_ns
    except OSError:
        return math.inf


def opaque_id(name: str) -> str:
    """What a video is called outside: a hash of its id."""
    return xxhash.xxh3_128_hexdigest(_bytes(name))


def numbers_of(names: Iterable[str]) -> NDArray[np.int64]:
    """A number for each name; two names of millions meet with a chance of one in a million."""
    return np.array([xxhash.xxh3_64_intdigest(_bytes(name)) >> 1 for name in names], np.int64)


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")
