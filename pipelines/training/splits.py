"""A split on the device, and how a batch is gathered from it: index arithmetic and no loader."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from vidret.data.batches import AnyTexts, Texts, Videos
from vidret.data.features import SplitFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseFrames:
    """All frames of a fixed rate, of which every epoch draws some: one from each equal part.

    Args:
        values: one row a frame, the frames of each video behind one another.
        starts: the first row of each part of each video.
        widths: how many rows a part has; 0 behind the last part of a video with few frames.
    """

    values: Float[Tensor, "row dim"]
    starts: Int[Tensor, "video frame"]
    widths: Int[Tensor, "video frame"]

    def draw(self, generator: torch.Generator) -> Int[Tensor, "video frame"]:
        """A random row of every part; evaluation has the middle ones."""
        where = torch.rand(self.widths.shape, generator=generator, dtype=torch.float64)
        return self.starts + (where.to(self.widths.device) * self.widths).long()


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A split on the device: every caption, every video, and whose caption each is.

    Args:
        texts: packed or padded.
        videos: as evaluation sees them.
        owners: the row of each caption's video.
        caption_ids: what a message calls the captions; their numbers if there are none.
        video_ids: what it calls the videos.
        dense: what training draws its frames from; None where it sees what evaluation sees.
    """

    texts: AnyTexts
    videos: Videos
    owners: Tensor
    caption_ids: Sequence[str] = ()
    video_ids: Sequence[str] = ()
    dense: DenseFrames | None = None

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some captions, and the video of each."""

    texts: Texts
    videos: Videos
    owners: Tensor


def begin_epoch(split: Split, generator: torch.Generator) -> Callable[[Tensor], Batch]:
    """Draw what an epoch sees, and return what gathers its batches by the rows of captions."""
    drawn = None if split.dense is None else split.dense.draw(generator)

    def gather(rows: Tensor) -> Batch:
        rows = rows.to(split.owners.device)
        owners = split.owners[rows]
        videos = videos_of_epoch(split, drawn, owners)
        return Batch(texts=split.texts[rows], videos=videos, owners=owners)

    return gather


def videos_of_epoch(
    split: Split, drawn: Int[Tensor, "video frame"] | None, owners: Tensor
) -> Videos:
    """Some videos with the frames that an epoch drew, or with those that evaluation sees."""
    videos = split.videos[owners]
    if split.dense is None or drawn is None:
        return videos
    return _with_drawn_frames(videos, split.dense, drawn[owners], owners)


def dense_frames(features: SplitFeatures, device: torch.device) -> DenseFrames:
    """The dense frames of a split on a device, in as many parts as a video has frames.

    Raises:
        ConfigError: the cache has none.
    """
    values = features.dense_tensor()
    assert features.dense is not None
    offsets = features.dense.offsets
    starts, widths = segments(np.diff(offsets), features.frames.shape[1])
    return DenseFrames(
        values=values.to(device),
        starts=torch.from_numpy(starts + offsets[:-1, None]).to(device),
        widths=torch.from_numpy(widths).to(device),
    )


def segments(counts: NDArray[np.int64], wanted: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Start and width of `wanted` equal parts of so many frames each, or of fewer where few are.

    The parts are those whose middles `vidret extract` takes, bound for bound.
    """
    parts = np.minimum(counts, wanted)[:, None]
    places = np.arange(wanted + 1)
    # A step times a number, as numpy's linspace does it: its rounding decides some bounds.
    bounds = (places * (counts[:, None] / np.maximum(parts, 1))).astype(np.int64)
    bounds = np.where(places < parts, bounds, counts[:, None])
    return np.where(places[:-1] < parts, bounds[:, :-1], 0), np.diff(bounds)


def _with_drawn_frames(
    videos: Videos, dense: DenseFrames, rows: Int[Tensor, "video frame"], owners: Tensor
) -> Videos:
    """The drawn frames instead of the middle ones; a video without dense ones keeps its own."""
    mask: Bool[Tensor, "video frame"] = dense.widths[owners] > 0
    has_any = mask.any(1, keepdim=True)
    return replace(
        videos,
        frames=dense.values[rows.where(mask, 0)].where(has_any[..., None], videos.frames),
        frame_mask=mask.where(has_any, videos.frame_mask),
    )
