"""Other pictures of the same videos in every epoch: one crop and one flip for all frames of one."""

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor

CROP, FLIP = "crop", "flip"
LEAST_AREA = 0.5  # X-Pool's; torchvision's own is 0.08
MOST_STRETCH = 4 / 3  # of a side by the other, as torchvision has it
TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """How an epoch sees the pictures of each video.

    Args:
        boxes: top, left, height and width of what it sees of them; all of it where nothing is cut.
        flipped: whether left and right change places.
    """

    boxes: Int[Tensor, "video 4"]
    flipped: Bool[Tensor, " video"]


def draw_views(
    augment: Collection[str], videos: int, side: int, generator: torch.Generator
) -> Views:
    """Draw the views of an epoch.

    Args:
        augment: some of `crop` and `flip`.
        videos: how many there are.
        side: of the pictures, which are square.
        generator: of the draws, on the CPU.
    """
    whole = torch.tensor([0, 0, side, side]).expand(videos, 4)
    boxes = _draw_boxes(videos, side, generator) if CROP in augment else whole
    flipped = torch.zeros(videos, dtype=torch.bool)
    if FLIP in augment:
        flipped = torch.rand(videos, generator=generator) < 0.5
    return Views(boxes=boxes, flipped=flipped)


def seen(
    pictures: UInt8[Tensor, "frame 3 side side"], views: Views, video: int
) -> UInt8[Tensor, "frame 3 side side"]:
    """The pictures of a video as an epoch sees them, on whatever device they are."""
    from torchvision.transforms.v2 import functional as pixels

    top, left, height, width = views.boxes[video].tolist()
    side = pictures.shape[-1]
    if (height, width) != (side, side):
        cut = pictures[..., top : top + height, left : left + width]
        pictures = pixels.resize(
            cut, [side, side], interpolation=pixels.InterpolationMode.BICUBIC, antialias=True
        )
    return pictures.flip(-1) if views.flipped[video] else pictures


def _draw_boxes(videos: int, side: int, generator: torch.Generator) -> Int[Tensor, "video 4"]:
    """Boxes as torchvision's RandomResizedCrop draws them from a square, all videos at once.

    Each has ten tries at an area and a stretch; where no try fits into the picture, all of it is
    taken.
    """
    drawn = torch.rand(videos, TRIES, 2, generator=generator, dtype=torch.float64)
    area = side * side * (LEAST_AREA + (1 - LEAST_AREA) * drawn[..., 0])
    stretch = (math.log(MOST_STRETCH) * (2 * drawn[..., 1] - 1)).exp()
    width, height = (area * stretch).sqrt().round(), (area / stretch).sqrt().round()
    fits = (width <= side) & (height <= side)
    first = fits.int().argmax(1, keepdim=True)
    found = fits.any(1)
    sizes = torch.stack([height.gather(1, first)[:, 0], width.gather(1, first)[:, 0]], 1)
    sizes = sizes.where(found[:, None], torch.tensor(side, dtype=torch.float64))
    places = torch.rand(videos, 2, generator=generator, dtype=torch.float64)
    corners = (places * (side - sizes + 1)).floor()
    return torch.cat([corners, sizes], 1).long()
