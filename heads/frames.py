"""What every head asks of a video's frames: that there are some, and that padding is inert."""

from jaxtyping import Bool, Float
from torch import Tensor

from vidret.data.batches import Videos
from vidret.data.errors import DamagedError


def inert_frames(videos: Videos) -> Float[Tensor, "video frame dim"]:
    """The frames with zeros for padding, which may hold anything, even NaN.

    Raises:
        DamagedError: a video has no frame at all, so no similarity is defined for it.
    """
    empty = ~videos.frame_mask.any(-1)
    if empty.any():
        raise DamagedError(
            f"row {int(empty.nonzero()[0])} of a batch of {len(videos)} videos has no frames: "
            "extract that video again, or leave it out"
        )
    if videos.frame_mask.all():
        return videos.frames
    return videos.frames.masked_fill(~videos.frame_mask[..., None], 0)


def uniform_weights(
    frame_mask: Bool[Tensor, "video frame"], like: Float[Tensor, "text dim"]
) -> Float[Tensor, "text video frame"]:
    """The same weight for every real frame of a video, whatever the text says."""
    weights = frame_mask.to(like.dtype)
    return (weights / weights.sum(-1, keepdim=True)).expand(len(like), -1, -1)
