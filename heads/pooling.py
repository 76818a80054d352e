"""Heads that make one vector of a video, whatever the text says: CLIP4Clip's, AdaCLIP's, EA's."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from vidret.data.batches import Texts, Videos
from vidret.heads.mean import MeanPooling
from vidret.heads.mgfi import ACTIVATIONS
from vidret.heads.options import HeadOptions
from vidret.heads.temporal import OrderedFrames, in_order

SLOTS = 64  # places of a video that EA's layers tell apart
REDUCTION = 4  # how many times narrower they are inside


@runtime_checkable
class AlongFrames(Protocol):
    """What changes frames by what stands beside them."""

    def __call__(
        self, frames: Float[Tensor, "video frame dim"], mask: Bool[Tensor, "video frame"]
    ) -> Float[Tensor, "video frame dim"]:
        """Return as many frames."""

    def floats(self, frames: int, dim: int) -> int:
        """How many numbers a video of so many frames holds at once."""


@runtime_checkable
class FrameWeights(Protocol):
    """What says how much each frame counts, for all texts alike."""

    def __call__(
        self, frames: Float[Tensor, "video frame dim"], mask: Bool[Tensor, "video frame"]
    ) -> Float[Tensor, "video frame"]:
        """Return weights that sum to 1, 0 for padding."""

    def floats(self, frames: int, dim: int) -> int:
        """How many numbers a video of so many frames holds at once."""


class PooledFrames(MeanPooling):
    """Cosine of the sentence with a weighted sum of frames, and not with their plain mean.

    Args:
        along: changes the frames before; None leaves them.
        weigh: their weights; None gives all the same.
        unit: brings frames to unit length first, so that none counts more for its norm.
    """

    def __init__(
        self,
        *,
        along: AlongFrames | None = None,
        weigh: FrameWeights | None = None,
        unit: bool = True,
    ) -> None:
        super().__init__()
        self.along = along
        self.weigh = weigh
        self.unit = unit

    def frame_weights(self, texts: Texts, videos: Videos) -> Float[Tensor, "text video frame"]:
        """Return how much each frame counts, which no text changes."""
        ordered = in_order(videos)
        weights = ordered.put_back(self._weights(self._frames(ordered), ordered.mask))
        return weights.expand(len(texts), -1, -1)

    def prepare_videos(self, videos: Videos) -> Float[Tensor, "video dim"]:
        """What depends on the videos alone: all but one product."""
        ordered = in_order(videos)
        frames = self._frames(ordered)
        weights = self._weights(frames, ordered.mask)
        return normalize((weights[..., None] * frames).sum(1), dim=-1)

    def floats_per_video(self, frames: int, dim: int) -> int:
        """How many numbers preparing a video takes; one vector of them is kept."""
        inside = [part.floats(frames, dim) for part in (self.along, self.weigh) if part is not None]
        return 4 * frames * dim + dim + max(inside, default=0)

    def _frames(self, ordered: OrderedFrames) -> Float[Tensor, "video frame dim"]:
        frames = ordered.frames
        if self.along is not None:
            frames = self.along(frames, ordered.mask)
        return normalize(frames, dim=-1) if self.unit else frames

    def _weights(
        self, frames: Float[Tensor, "video frame dim"], mask: Bool[Tensor, "video frame"]
    ) -> Float[Tensor, "video frame"]:
        if self.weigh is not None:
            return self.weigh(frames, mask)
        weights = mask.to(frames.dtype)
        return weights / weights.sum(-1, keepdim=True)


class FrameScorer(nn.Module):
    """AdaCLIP's pooling: three layers give each frame a score, a softmax makes weights of them.

    Args:
        dim: width C.
        options: the first layer is 2C wide where `hidden` is not said. Where a head starts as CLIP,
            the last layer is silent, and all frames count the same.
    """

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.first = nn.Linear(dim, options.hidden or 2 * dim)
        self.second = nn.Linear(self.first.out_features, dim)
        self.last = nn.Linear(dim, 1)
        self.activation = options.activation
        if options.start == "clip":
            silence(self.last)

    def forward(
        self, frames: Float[Tensor, "video frame dim"], mask: Bool[Tensor, "video frame"]
    ) -> Float[Tensor, "video frame"]:
        """Return the weights of the frames."""
        activate = ACTIVATIONS[self.activation]
        scores = self.last(activate(self.second(activate(self.first(frames)))))[..., 0]
        return scores.masked_fill(~mask, -torch.inf).softmax(-1)

    def floats(self, frames: int, dim: int) -> int:
        """How many numbers a video of so many frames holds at once."""
        return 3 * frames * (self.first.out_features + dim)


class ExcitedFrames(nn.Module):
    """Weights in the manner of EA-CLIP4Clip: what each place of a video says about all places.

    A reconstruction from the abstract and from the published code of a predecessor: squeeze and
    excitation along the frames, then a second such net whose softmax sums them. Its layers have a
    place for every frame, so there are `SLOTS` of them; a longer video shares them out.
    """

    def __init__(self, options: HeadOptions) -> None:
        super().__init__()
        narrow = SLOTS // REDUCTION
        self.excite = nn.Sequential(nn.Linear(SLOTS, narrow), nn.ReLU(), nn.Linear(narrow, SLOTS))
        self.aggregate = nn.Sequential(
            nn.Linear(SLOTS, narrow), nn.ReLU(), nn.Linear(narrow, SLOTS)
        )
        if options.start == "clip":
            silence(self.excite[-1])
            silence(self.aggregate[-1])

    def forward(
        self, frames: Float[Tensor, "video frame dim"], mask: Bool[Tensor, "video frame"]
    ) -> Float[Tensor, "video frame"]:
        """Return the weights of the frames, brought to the sum of 1."""
        slots, squeezed = slots_of(mask), frames.mean(-1) * mask
        excitation = self.excite(means_of_slots(squeezed, slots, mask)).gather(1, slots).sigmoid()
        sums = self.aggregate(means_of_slots(squeezed * excitation, slots, mask)).gather(1, slots)
        weights = sums.masked_fill(~mask, -torch.inf).softmax(-1) * excitation
        return weights / weights.sum(-1, keepdim=True)

    def floats(self, frames: int, dim: int) -> int:  # noqa: ARG002 (as of all weights)
        """How many numbers a video of so many frames holds at once."""
        return 10 * frames + 6 * SLOTS


def slots_of(mask: Bool[Tensor, "video frame"]) -> Int[Tensor, "video frame"]:
    """The slot of each frame: its place, or where frames outnumber slots an even share of them."""
    counts = mask.sum(1, keepdim=True).clamp_min(SLOTS)
    places = torch.arange(mask.shape[1], device=mask.device)
    return (places * SLOTS // counts).clamp_max(SLOTS - 1)


def means_of_slots(
    values: Float[Tensor, "video frame"],
    slots: Int[Tensor, "video frame"],
    mask: Bool[Tensor, "video frame"],
) -> Float[Tensor, "video slot"]:
    """The mean of the frames in each slot, 0 in empty ones."""
    zeros = values.new_zeros(len(values), SLOTS)
    counts = zeros.scatter_add(1, slots, mask.to(values.dtype))
    return zeros.scatter_add(1, slots, values * mask) / counts.clamp_min(1)


def silence(linear: nn.Module) -> None:
    """Let a layer begin with saying nothing."""
    for weight in linear.parameters():
        nn.init.zeros_(weight)
