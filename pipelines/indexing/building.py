"""An index of a cache for a head: made, or brought up to date in place."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidret.data.batches import Videos
from vidret.data.errors import DamagedError, MismatchError
from vidret.data.index.store import (
    AGAIN,
    FRAMES,
    POOLED,
    Entries,
    IndexHeader,
    StoredIndex,
    open_index,
    verify_index,
    write_index,
)
from vidret.data.index.strays import Strays, empty_strays, find_basis, make_strays
from vidret.data.index.vectors import (
    FLAT,
    LISTS_FROM,
    Block,
    VectorIndex,
    build_vectors,
    sample_size,
)
from vidret.data.storage.locks import folder_lock
from vidret.pipelines.display.progress import OnProgress, Progress
from vidret.pipelines.indexing.vectors import frame_vectors, pooled_vectors, question_vector
from vidret.pipelines.searching.ranker import Ranker

AT_ONCE = 512  # videos
TRIED = 200  # questions to tune with
SAMPLED = 4096  # videos, to see how frames stray
OUTGROWN = 4  # times the videos that lists were made for


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What an update did."""

    added: int = 0
    changed: int = 0
    removed: int = 0


def build_index(
    folder: Path,
    ranker: Ranker,
    *,
    every_frame: bool,
    on_progress: OnProgress = lambda _: None,
) -> IndexHeader:
    """Make an index anew; the one that is there answers until this one is whole.

    Args:
        folder: of the index.
        ranker: the head and what it ranks.
        every_frame: hold every frame beside one vector a video.
        on_progress: told how many videos are in it.
    """
    with folder_lock(folder):
        return _build(folder, ranker, every_frame=every_frame, on_progress=on_progress)


def update_index(
    folder: Path, ranker: Ranker, *, on_progress: OnProgress = lambda _: None
) -> tuple[IndexHeader, Changes]:
    """Take in new and changed videos, and forget those that are gone.

    Nothing that stayed is computed or put into another list. Only an index without lists that has
    outgrown them, or one with many times the videos of its first day, is made anew.

    Raises:
        MissingError: there is no index.
        MismatchError: it was made for another cache or head.
        DamagedError: it cannot be read, or has other bytes than were written.
    """
    with folder_lock(folder):
        stored = open_index(folder, mapped=False)
        require_fitting(stored.header, ranker)
        rows, gone, changes = differences(stored.entries, ranker)
        if changes == Changes():
            return stored.header, changes
        problems = verify_index(folder)
        if problems:  # new checksums would hide them for good
            raise DamagedError(f"{folder}: {'; '.join(problems)}: {AGAIN}")
        if _outgrown(stored, len(ranker.corpus)):
            every_frame = stored.header.every_frame
            header = _build(folder, ranker, every_frame=every_frame, on_progress=on_progress)
            return header, changes
        strays = _updated(stored, ranker, rows)
        for role, index in stored.vectors.items():
            index.remove(gone)
            index.add(_blocks(ranker, rows, role, on_progress, strays))
        header = write_index(
            folder,
            replace(stored.header, videos=len(ranker.corpus)),
            _entries(ranker),
            stored.vectors,
            strays,
        )
        return header, changes


def differences(
    entries: Entries, ranker: Ranker
) -> tuple[NDArray[np.int64], NDArray[np.int64], Changes]:
    """The rows to take in, the keys to forget, and how many are new, changed and gone."""
    corpus = ranker.corpus
    places = np.searchsorted(entries.keys, corpus.keys)
    inside = np.minimum(places, max(0, len(entries.keys) - 1))
    known = (
        entries.keys[inside] == corpus.keys if len(entries.keys) else np.zeros(len(corpus), bool)
    )
    same = known.copy()
    same[known] = entries.versions[inside[known]] == corpus.versions[known]
    gone = np.setdiff1d(entries.keys, corpus.keys)
    changed = corpus.keys[known & ~same]
    changes = Changes(added=int((~known).sum()), changed=len(changed), removed=len(gone))
    return np.flatnonzero(~same), np.concatenate([gone, changed]), changes


def require_fitting(header: IndexHeader, ranker: Ranker) -> None:
    """Refuse an index of another cache or another head.

    Raises:
        MismatchError: it is one.
    """
    facts, name = ranker.corpus.cache.fingerprint, ranker.corpus.cache.folder.name
    if header.features != facts.features_digest:
        raise MismatchError(
            f"the index of {header.cache} for {header.head} was made from other features "
            f"({header.features} there, {facts.features_digest} here): {AGAIN}"
        )
    if header.cache != name:
        raise MismatchError(
            f"the index of {header.cache} for {header.head} lies where that of {name} belongs: "
            f"{AGAIN}"
        )
    if header.head_digest != ranker.digest:
        raise MismatchError(
            f"the index of {header.cache} was made for other weights of {header.head} "
            f"({header.head_digest} there, {ranker.digest} here): {AGAIN}"
        )


def _build(
    folder: Path, ranker: Ranker, *, every_frame: bool, on_progress: OnProgress
) -> IndexHeader:
    rows = np.arange(len(ranker.corpus))
    frames = int(ranker.corpus.features.frame_mask.sum())
    strays = _no_strays_yet(ranker)
    vectors = {POOLED: _made(ranker, rows, POOLED, len(rows), on_progress, strays)}
    if every_frame:
        vectors[FRAMES] = _made(ranker, rows, FRAMES, frames, lambda _: None)
    found = vectors[POOLED].tune(_questions(ranker))
    if every_frame:
        found = min(found, vectors[FRAMES].tune(_questions(ranker, frames=True)))
    return write_index(
        folder,
        IndexHeader(
            cache=ranker.corpus.cache.folder.name,
            features=ranker.corpus.cache.fingerprint.features_digest,
            head=ranker.name,
            head_digest=ranker.digest,
            sound=ranker.retriever.audio_head is not None,
            kinds={role: index.kind for role, index in vectors.items()},
            videos=len(rows),
            built_for=len(rows),
            found=found,
        ),
        _entries(ranker),
        vectors,
        strays,
    )


def _made(
    ranker: Ranker,
    rows: NDArray[np.int64],
    role: str,
    total: int,
    on_progress: OnProgress,
    strays: Strays | None = None,
) -> VectorIndex:
    wanted = sample_size(total)
    drawn = np.sort(np.random.default_rng(0).permutation(len(rows))[: max(1, wanted)])
    sample = [vectors for _, vectors in _blocks(ranker, drawn, role, lambda _: None)]
    wide = _wide(ranker, role)
    found = np.concatenate([np.zeros((0, wide), np.float32), *sample])[:wanted]
    return build_vectors(found, _blocks(ranker, rows, role, on_progress, strays), total=total)


def _blocks(
    ranker: Ranker,
    rows: NDArray[np.int64],
    role: str,
    on_progress: OnProgress,
    strays: Strays | None = None,
) -> Iterator[Block]:
    """Keys and vectors of some videos, a few hundred at a time.

    Args:
        ranker: the head and what it ranks.
        rows: of the videos.
        role: which vectors.
        on_progress: told how many videos are done.
        strays: of the whole corpus; where they are, those of the same videos are written into them,
            as frames are read but once.
    """
    progress = Progress(total=len(rows))
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        keys = ranker.corpus.keys[some]
        if role == POOLED:
            videos = ranker.videos(some)
            if strays is not None:
                strays.put(some, make_strays(strays.basis, *_seen(videos)))
            yield keys, pooled_vectors(ranker, videos)
        else:
            vectors, owners = frame_vectors(ranker, some)
            yield keys[owners], vectors
        progress = replace(progress, done=start + len(some))
        on_progress(progress)


def _no_strays_yet(ranker: Ranker) -> Strays | None:
    """Room for those of the corpus; None where the head weighs frames whatever a question says."""
    corpus = ranker.corpus
    if not ranker.retriever.video_head.weighs_by_text or not len(corpus):
        return None
    drawn = np.random.default_rng(2).permutation(len(corpus))[:SAMPLED]
    basis = find_basis(*_seen(ranker.videos(np.sort(drawn))))
    return empty_strays(basis, *corpus.features.frame_mask.shape)


def _updated(stored: StoredIndex, ranker: Ranker, rows: NDArray[np.int64]) -> Strays | None:
    """Strays of all videos as they were; those of some rows are still to be put in."""
    if stored.strays is None:
        return None
    shape = ranker.corpus.features.frame_mask.shape
    strays = empty_strays(stored.strays.basis, *shape)
    stayed = np.setdiff1d(np.arange(shape[0]), rows)
    before = np.searchsorted(stored.entries.keys, ranker.corpus.keys[stayed])
    strays.put(stayed, stored.strays[before])
    return strays


def _seen(videos: Videos) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    return videos.frames.float().cpu().numpy(), videos.frame_mask.cpu().numpy()


def _wide(ranker: Ranker, role: str) -> int:
    dim = ranker.corpus.cache.fingerprint.dim
    return 2 * dim if role == POOLED and ranker.retriever.audio_head is not None else dim


def _questions(ranker: Ranker, *, frames: bool = False) -> NDArray[np.float32]:
    """What to tune with: captions of the cache, or where it has none, single frames."""
    cache, draw = ranker.corpus.cache, np.random.default_rng(1)
    for split, count in reversed(list(cache.splits.items())):
        if count.captions:
            features = cache.load(split, view="lazy")
            if ranker.projections is not None:
                features = replace(features, projections=ranker.projections)
            drawn = np.sort(draw.permutation(len(features.caption_ids))[:TRIED])
            texts = features.texts_tensors(drawn).to(ranker.device)
            vectors = question_vector(ranker, texts, 1.0)
            return vectors[:, : cache.fingerprint.dim] if frames else vectors
    rows = np.sort(draw.permutation(len(ranker.corpus))[:TRIED])
    vectors, owners = frame_vectors(ranker, rows)
    ones = vectors[np.unique(owners, return_index=True)[1]] if len(vectors) else vectors
    if ranker.retriever.audio_head is None or frames:
        return ones
    return np.concatenate([ones, ones], axis=1)


def _entries(ranker: Ranker) -> Entries:
    return Entries(keys=ranker.corpus.keys, versions=ranker.corpus.versions)


def _outgrown(stored: StoredIndex, videos: int) -> bool:
    if any(kind == FLAT for kind in stored.header.kinds.values()):
        return videos >= LISTS_FROM
    return videos > OUTGROWN * max(1, stored.header.built_for)
