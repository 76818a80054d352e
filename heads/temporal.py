"""What looks along the frames of a video in their order: positions, transformer layers, an LSTM.

Everything here takes frames whose real ones stand in front, and gives padding no say.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, einsum, nn

from vidret.data.batches import Videos
from vidret.heads.frames import inert_frames
from vidret.heads.mgfi import ACTIVATIONS, FeedForward
from vidret.heads.options import HeadOptions, Start

POSITIONS = 77  # rows of CLIP's table for words, which CLIP4Clip takes for frames
WIDTH_OF_HEAD = 64  # as in CLIP
SMALL = 0.01  # deviation of the entries of a table, as in CLIP


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedFrames:
    """The frames of some videos, the real ones in front and zeros behind.

    Args:
        places: the column of the batch that each came from.
    """

    frames: Float[Tensor, "video frame dim"]
    mask: Bool[Tensor, "video frame"]
    places: Int[Tensor, "video frame"]

    def put_back(self, values: Float[Tensor, "video frame"]) -> Float[Tensor, "video frame"]:
        """A number for each frame, where it stands in the batch."""
        return torch.zeros_like(values).scatter(1, self.places, values)


def in_order(videos: Videos) -> OrderedFrames:
    """The real frames of every video in front, in the order in which they come."""
    places = (~videos.frame_mask).int().argsort(dim=1, stable=True)
    frames = inert_frames(videos)
    if not videos.frame_mask.all():
        frames = frames.gather(1, places[..., None].expand_as(frames))
    return OrderedFrames(frames=frames, mask=videos.frame_mask.gather(1, places), places=places)


class Positions(nn.Module):
    """A vector for each place in a video.

    A video with more frames than the table has rows is stretched over all of it: what lies between
    two rows is mixed of both.
    """

    def __init__(self, dim: int, start: Start) -> None:
        super().__init__()
        self.table = nn.Parameter(starting_table(POSITIONS, dim, start))

    def forward(self, mask: Bool[Tensor, "video frame"]) -> Float[Tensor, "rows frame dim"]:
        """Return the vectors of each video's places; one row for all videos where that does."""
        length = mask.shape[1]
        if length <= POSITIONS:
            return self.table[None, :length]
        counts = mask.sum(1, keepdim=True).to(self.table.dtype).clamp_min(POSITIONS)
        places = torch.arange(length, device=mask.device) * ((POSITIONS - 1) / (counts - 1))
        places = places.clamp_max(POSITIONS - 1)  # of padding alone
        below = places.floor().long()
        above = (below + 1).clamp_max(POSITIONS - 1)
        share = (places - below)[..., None]
        return self.table[below] * (1 - share) + self.table[above] * share


class TransformerLayer(nn.Module):
    """A block of CLIP's transformers: attention, then a feed-forward; x goes past both of them.

    Args:
        dim: width C.
        options: the width of the feed-forward is 4C where `hidden` is not said, as CLIP's is. Where
            a head starts as CLIP the block starts as the identity.
        start: instead of the options'.
    """

    def __init__(self, dim: int, options: HeadOptions, *, start: Start | None = None) -> None:
        super().__init__()
        start = start or options.start
        self.heads = count_heads(dim)
        self.norm = nn.LayerNorm(dim)
        self.projections = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.feed_forward = FeedForward(dim, options.hidden or 4 * dim, start)
        self.activation = options.activation
        self.dropout = nn.Dropout(options.dropout)
        if start == "clip":
            nn.init.zeros_(self.out.weight)
            nn.init.zeros_(self.out.bias)

    def forward(
        self, x: Float[Tensor, "row token dim"], mask: Bool[Tensor, "row token"]
    ) -> Float[Tensor, "row token dim"]:
        """Let every token look at all real ones of its row."""
        return self.after_projections(x, self.project(x), mask)

    def project(self, x: Float[Tensor, "row token dim"]) -> Float[Tensor, "row token three_dim"]:
        """Queries, keys and values of each token alone, side by side."""
        return self.projections(self.norm(x))

    def after_projections(
        self,
        x: Float[Tensor, "row token dim"],
        projected: Float[Tensor, "row token three_dim"],
        mask: Bool[Tensor, "row token"],
        *,
        asking: int | None = None,
    ) -> Float[Tensor, "row asking dim"]:
        """The rest of the block.

        Args:
            x: what enters it.
            projected: what `project` makes of that.
            mask: False for padding, which nobody looks at.
            asking: how many tokens of each row, from the first on, are wanted; None is all.
        """
        q, k, v = projected.unflatten(-1, (3, self.heads, -1)).unbind(2)
        seen = einsum("rhqk,rkhd->rqhd", self.weigh(q[:, :asking], k, mask), v)
        x = x[:, :asking] + self.out(seen.flatten(2))
        part = self.feed_forward
        hidden = ACTIVATIONS[self.activation](part.first(part.norm(x)))
        return x + self.dropout(part.second(hidden))

    def weigh(
        self,
        q: Float[Tensor, "row asking head width"],
        k: Float[Tensor, "row token head width"],
        mask: Bool[Tensor, "row token"],
    ) -> Float[Tensor, "row head asking token"]:
        """How much each asking token looks at each other."""
        scores = einsum("rqhd,rkhd->rhqk", q, k) / math.sqrt(q.shape[-1])
        # Not minus infinity: a row may have no token at all, and what it says is then left out.
        hidden = torch.finfo(scores.dtype).min
        return scores.masked_fill(~mask[:, None, None], hidden).softmax(-1)

    def floats(self, tokens: int, dim: int) -> int:
        """How many numbers a row of so many tokens holds at once."""
        wide = self.feed_forward.first.out_features
        return tokens * (6 * dim + 3 * wide) + 3 * self.heads * tokens * tokens


class FrameTransformer(nn.Module):
    """CLIP4Clip's seqTransf: frames that have looked at one another, beside themselves."""

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.positions = Positions(dim, options.start)
        self.layers = nn.ModuleList(TransformerLayer(dim, options) for _ in range(options.layers))

    def forward(
        self, frames: Float[Tensor, "video frame dim"], mask: Bool[Tensor, "video frame"]
    ) -> Float[Tensor, "video frame dim"]:
        """Return the frames as they are, and what the layers make of them, together."""
        x = frames + self.positions(mask)
        for layer in self.layers:
            x = layer(x, mask)
        return x + frames

    def floats(self, frames: int, dim: int) -> int:
        """How many numbers a video of so many frames holds at once."""
        return 3 * frames * dim + layers_of(self.layers)[0].floats(frames, dim)


class FrameLSTM(nn.Module):
    """CLIP4Clip's seqLSTM: what one LSTM has seen up to each frame, beside the frame.

    It runs forward and padding stands behind, so nothing has to be packed.
    """

    def __init__(self, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        if options.start == "clip":  # the cell is offered nothing, so its state says nothing
            for weight in self.lstm.parameters():
                nn.init.zeros_(weight.data[2 * dim : 3 * dim])  # torch's order: input, forget, cell

    def forward(
        self,
        frames: Float[Tensor, "video frame dim"],
        mask: Bool[Tensor, "video frame"],  # noqa: ARG002 (as of all that looks along frames)
    ) -> Float[Tensor, "video frame dim"]:
        """Return the frames and the states after them, together."""
        states, _ = self.lstm(frames)
        return states + frames

    def floats(self, frames: int, dim: int) -> int:
        """How many numbers a video of so many frames holds at once."""
        return 8 * frames * dim + 8 * dim


def layers_of(modules: nn.ModuleList) -> list[TransformerLayer]:
    """The layers of a stack, which torch knows as modules alone."""
    return cast("list[TransformerLayer]", list(modules))


def count_heads(dim: int) -> int:
    """Attention heads of a width: one for each 64 as in CLIP, or the next fewer that divide it."""
    return next(heads for heads in range(max(1, dim // WIDTH_OF_HEAD), 0, -1) if dim % heads == 0)


def starting_table(rows: int, dim: int, start: Start) -> Float[Tensor, "row dim"]:
    """A table that begins with nothing, or with small numbers as CLIP's tables do."""
    return torch.zeros(rows, dim) if start == "clip" else SMALL * torch.randn(rows, dim)
