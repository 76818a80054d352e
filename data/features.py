"""The features of one split, videos and captions, as the trainers and the evaluator take them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import xxhash
from numpy.typing import NDArray

from vidret.data.errors import ConfigError, DamagedError
from vidret.data.fingerprint import Fingerprint
from vidret.data.manifest import Removed
from vidret.data.samples import AudioState
from vidret.data.shards import CaptionTable, VideoTable
from vidret.data.storage.hdf5 import how_to_repair
from vidret.data.storage.projections import Projections, Side, project
from vidret.data.storage.rows import ShardRows, View, chosen_rows, ragged_rows

if TYPE_CHECKING:  # torch takes seconds to import, and reading a cache needs none of it
    import torch

    import vidret.data.batches

Rows = NDArray[Any] | ShardRows
Part = Literal["all", "held-out", "rest"]
T = TypeVar("T")

HELD_OUT = 0.05
MOST_HELD_OUT = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseRows:
    """All frames of a fixed rate: video `n` has the rows `offsets[n]` to `offsets[n + 1]`."""

    values: Rows
    offsets: NDArray[np.int64]
    times: NDArray[np.float64]
    indices: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitFeatures:
    """One split of a cache: a row a video, a row a caption, words ragged.

    `frames`, `sentence` and `words` are as they were stored. `videos_tensors`, `texts_tensors` and
    their like give what the heads take, whether the cache was made before or behind the last
    projections.

    Args:
        folder: the cache that they come from.
        owners: the row of each caption's video.
        words: caption `n` has the rows `word_offsets[n]` to `word_offsets[n + 1]`; likewise
            `tokens`.
        dropped_captions: captions left out because their video is not in the cache.
        dense: the frames at a fixed rate that `frames` were taken from, or None.
        projections: still to be applied to the features; None where they are projected already.
    """

    folder: Path
    split: str
    video_ids: list[str]
    paths: list[str]
    sizes: NDArray[np.int64]
    content_hashes: list[str]
    durations: NDArray[np.float64]
    frames: Rows
    frame_mask: NDArray[np.bool_]
    times: NDArray[np.float64]
    indices: NDArray[np.int64]
    audio: Rows
    audio_state: list[AudioState]
    caption_ids: list[str]
    owners: NDArray[np.int64]
    text: list[str]
    kind: list[str]
    truncated: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    token_offsets: NDArray[np.int64]
    sentence: Rows
    words: Rows
    word_offsets: NDArray[np.int64]
    dropped_captions: int
    dense: DenseRows | None = None
    projections: Projections | None = None

    def videos_tensors(self) -> "vidret.data.batches.Videos":
        """All videos in float32.

        Raises:
            DamagedError: a feature is not finite.
        """
        import torch

        from vidret.data.batches import Videos

        frame_mask = torch.from_numpy(self.frame_mask)
        frames = self._projected(self._tensor(self.frames[:], self.video_ids), "visual")
        encoded = self.audio.shape[1] > 0  # without a sound encoder a video may sound all the same
        return Videos(
            frames=frames if self.projections is None else frames * frame_mask[..., None],
            frame_mask=frame_mask,
            audio=self._tensor(self.audio[:], self.video_ids),
            audio_mask=torch.tensor(
                [encoded and state is AudioState.OK for state in self.audio_state], dtype=torch.bool
            ),
        )

    def texts_tensors(self, rows: NDArray[np.int64] | None = None) -> "vidret.data.batches.Texts":
        """Some captions, or all of them, in float32 and padded to the longest.

        Raises:
            DamagedError: a feature is not finite.
        """
        from vidret.data.batches import Texts, pad_words

        packed = self.packed_texts(rows)
        words, mask = pad_words(packed.values, packed.offsets)
        return Texts(sentence=packed.sentence, words=words, word_mask=mask)

    def packed_texts(
        self, rows: NDArray[np.int64] | None = None
    ) -> "vidret.data.batches.PackedTexts":
        """Some captions, or all of them, in float32 and without padding.

        Raises:
            DamagedError: a feature is not finite.
        """
        import torch

        from vidret.data.batches import PackedTexts

        rows = np.arange(len(self.caption_ids)) if rows is None else rows
        ids = [self.caption_ids[row] for row in rows]
        word_rows, offsets = ragged_rows(self.word_offsets, rows)
        owners = np.repeat(np.arange(len(rows)), np.diff(offsets))
        values = self._projected(self._tensor(self.words[word_rows], ids, owners), "text")
        sentence = self._projected(self._tensor(self.sentence[rows], ids), "text")
        return PackedTexts(sentence=sentence, values=values, offsets=torch.from_numpy(offsets))

    def dense_tensor(self) -> "torch.Tensor":
        """All frames of the fixed rate in float32, row by row as in `dense`.

        Raises:
            ConfigError: there are none.
            DamagedError: a feature is not finite.
        """
        if self.dense is None:
            raise ConfigError(
                f"{self.folder} holds no frames beyond those that stand for each video: "
                "extract with --sampling fps:1, or leave out --jitter"
            )
        owners = np.repeat(np.arange(len(self.video_ids)), np.diff(self.dense.offsets))
        return self._projected(self._tensor(self.dense.values[:], self.video_ids, owners), "visual")

    def _projected(self, values: "torch.Tensor", side: Side) -> "torch.Tensor":
        return values if self.projections is None else project(values, self.projections, side)

    def _tensor(
        self, values: NDArray[Any], ids: list[str], owners: NDArray[np.int64] | None = None
    ) -> "torch.Tensor":
        """As float32; row `n` belongs to `ids[n]`, or to `ids[owners[n]]`."""
        import torch

        tensor = torch.from_numpy(np.asarray(values)).float()  # NumPy takes ten times as long
        if tensor.sum().isfinite():  # one number that is not finite makes the sum so, too
            return tensor
        bad = np.flatnonzero(~tensor.isfinite().flatten(1).all(1).numpy())
        if len(bad):
            named = dict.fromkeys(ids[row] for row in (bad if owners is None else owners[bad]))
            raise DamagedError(
                f"{self.folder}: features of {', '.join(list(named)[:5])} are not finite: "
                f"{how_to_repair(self.folder)}"
            )
        return tensor


def gather_split(
    folder: Path,
    split: str,
    videos: Sequence[VideoTable],
    captions: Sequence[CaptionTable],
    *,
    fingerprint: Fingerprint,
    num_captions: int,
    view: View,
    removed: Removed,
    projections: Projections | None = None,
    part: Part = "all",
) -> SplitFeatures:
    """Put the shards of a cache end to end and keep one split of them.

    Args:
        folder: where they lie, for errors.
        split: the split to keep.
        videos: the video shards.
        captions: the caption shards; a caption is kept if its video is.
        fingerprint: says how wide the features are.
        num_captions: how many captions the dataset has in this split.
        view: whether to read the embeddings now.
        removed: what the shards hold, and the dataset does not.
        projections: see `SplitFeatures`.
        part: the videos that `held_out` picks, the others, or all.

    Raises:
        DamagedError: an id is there twice.
    """
    gone = set(removed.videos)
    items = [item for table in videos for item in _items(table)]
    kept = [its == split and id_ not in gone for id_, its in items]
    if part != "all":
        held = held_out([id_ for (id_, _), its in zip(items, kept, strict=True) if its])
        wanted = part == "held-out"
        kept = [its and (id_ in held) == wanted for (id_, _), its in zip(items, kept, strict=True)]
    video_columns = _videos(videos, np.flatnonzero(kept), fingerprint, view)
    row_of = {id_: row for row, id_ in enumerate(video_columns["video_ids"])}
    caption_columns = _captions(captions, row_of, set(removed.captions), fingerprint.text_dim, view)
    _require_unique(video_columns["video_ids"], folder)
    _require_unique(caption_columns["caption_ids"], folder)
    return SplitFeatures(
        folder=folder,
        split=split,
        dropped_captions=(
            num_captions - len(caption_columns["caption_ids"]) if part == "all" else 0
        ),
        projections=projections,
        **video_columns,
        **caption_columns,
    )


def held_out(ids: Sequence[str]) -> set[str]:
    """A twentieth of some videos, at least one and at most 1,000: always the same of the same."""
    number = max(1, min(MOST_HELD_OUT, round(len(ids) * HELD_OUT)))
    return set(sorted(ids, key=lambda id_: (xxhash.xxh3_64_digest(_bytes(id_)), id_))[:number])


def _bytes(id_: str) -> bytes:
    return id_.encode("utf-8", "surrogateescape")


def _items(table: VideoTable) -> Iterator[tuple[str, str]]:
    """The id of each video of a shard, and its split."""
    return zip(table.ids, table.split, strict=True)


def _videos(
    tables: Sequence[VideoTable], kept: NDArray[np.int64], fingerprint: Fingerprint, view: View
) -> dict[str, Any]:
    length = max((table.frame_mask.shape[1] for table in tables), default=fingerprint.frames)
    frame_shape = (length, fingerprint.frame_dim)
    audio_shape = (fingerprint.audio_dim,)
    return {
        "video_ids": _pick([table.ids for table in tables], kept),
        "paths": _pick([table.path for table in tables], kept),
        "sizes": _join([table.size for table in tables], np.int64)[kept],
        "content_hashes": _pick([table.content_hash for table in tables], kept),
        "durations": _join([table.duration for table in tables], np.float64)[kept],
        "frames": chosen_rows([table.frames for table in tables], kept, frame_shape, view),
        "frame_mask": _widen([table.frame_mask for table in tables], length, np.bool_)[kept],
        "times": _widen([table.times for table in tables], length, np.float64)[kept],
        "indices": _widen([table.indices for table in tables], length, np.int64)[kept],
        "audio": chosen_rows([table.audio for table in tables], kept, audio_shape, view),
        "audio_state": _pick([table.audio_state for table in tables], kept),
        "dense": _dense(tables, kept, fingerprint.frame_dim, view),
    }


def _dense(
    tables: Sequence[VideoTable], kept: NDArray[np.int64], dim: int, view: View
) -> DenseRows | None:
    """The dense frames of some videos; a video without any has no rows."""
    found = [table.dense for table in tables if table.dense is not None]
    if not found:
        return None
    offsets = _offsets(
        [
            np.zeros(len(table.ids) + 1, np.int64) if table.dense is None else table.dense.offsets
            for table in tables
        ]
    )
    rows, new_offsets = ragged_rows(offsets, kept)
    return DenseRows(
        values=chosen_rows([dense.values for dense in found], rows, (dim,), view),
        offsets=new_offsets,
        times=_join([dense.times for dense in found], np.float64)[rows],
        indices=_join([dense.indices for dense in found], np.int64)[rows],
    )


def _captions(
    tables: Sequence[CaptionTable], row_of: dict[str, int], gone: set[str], dim: int, view: View
) -> dict[str, Any]:
    owners = np.array(
        [
            -1 if id_ in gone else row_of.get(video, -1)
            for table in tables
            for id_, video in zip(table.ids, table.video_ids, strict=True)
        ],
        np.int64,
    )
    kept = np.flatnonzero(owners >= 0)
    word_rows, word_offsets = ragged_rows(_offsets([t.word_offsets for t in tables]), kept)
    token_rows, token_offsets = ragged_rows(_offsets([t.token_offsets for t in tables]), kept)
    return {
        "caption_ids": _pick([table.ids for table in tables], kept),
        "owners": owners[kept],
        "text": _pick([table.text for table in tables], kept),
        "kind": _pick([table.kind for table in tables], kept),
        "truncated": _join([table.truncated for table in tables], np.bool_)[kept],
        "tokens": _join([table.tokens for table in tables], np.int64)[token_rows],
        "token_offsets": token_offsets,
        "sentence": chosen_rows([table.sentence for table in tables], kept, (dim,), view),
        "words": chosen_rows([table.words for table in tables], word_rows, (dim,), view),
        "word_offsets": word_offsets,
    }


def _pick(columns: Sequence[Sequence[T]], rows: NDArray[np.int64]) -> list[T]:
    joined = [value for column in columns for value in column]
    return [joined[row] for row in rows]


def _join(columns: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *columns])


def _widen(columns: Sequence[NDArray[Any]], length: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Tables end to end, the narrower ones filled up with zeros."""
    wide = np.zeros((sum(map(len, columns)), length), dtype)
    start = 0
    for column in columns:
        wide[start : start + len(column), : column.shape[1]] = column
        start += len(column)
    return wide


def _offsets(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The offsets of ragged shards that were put end to end."""
    lengths = _join([np.diff(part) for part in parts], np.int64)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _require_unique(ids: list[str], folder: Path) -> None:
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise DamagedError(f"{folder} holds {twice} twice: remove the folder and extract again")
