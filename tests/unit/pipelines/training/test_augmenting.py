import warnings

import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop

from vidret.pipelines.training.augmenting import CROP, FLIP, Views, draw_views, seen

SIDE = 64
BOTH = (CROP, FLIP)


def drawn(augment=BOTH, videos=2_000, seed=0):
    return draw_views(augment, videos, SIDE, torch.Generator().manual_seed(seed))


def pictures(frames=3, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(256, (frames, 3, SIDE, SIDE), generator=draw, dtype=torch.uint8)


def test_every_box_lies_inside_the_picture_and_has_its_share_of_it():
    top, left, height, width = drawn().boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= SIDE).all()
    assert (left + width <= SIDE).all()
    area, stretch = height * width / SIDE**2, width / height
    assert 0.48 < area.min() < 0.55  # rounded to whole pixels
    assert area.max() > 0.95
    assert stretch.min() > 0.72
    assert stretch.max() < 1.39


def test_boxes_are_spread_as_torchvision_spreads_them():
    """The same law, drawn for all videos at once."""
    boxes = drawn(videos=4_000).boxes.double()
    blank = torch.zeros(3, SIDE, SIDE)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        theirs = torch.tensor(
            [
                RandomResizedCrop.get_params(blank, scale=(0.5, 1.0), ratio=(3 / 4, 4 / 3))
                for _ in range(4_000)
            ],
            dtype=torch.float64,
        )
    for name, side in (("top", 0), ("left", 1), ("height", 2), ("width", 3)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of ties, which whole pixels have
            found = ks_2samp(boxes[:, side], theirs[:, side])
        assert found.pvalue > 1e-3, name


def test_half_of_the_videos_are_flipped():
    assert 0.45 < drawn().flipped.float().mean() < 0.55


def test_what_is_not_asked_for_is_not_drawn():
    assert not drawn((CROP,)).flipped.any()
    assert (drawn((FLIP,)).boxes == torch.tensor([0, 0, SIDE, SIDE])).all()


def test_the_same_state_of_the_generator_draws_the_same_views():
    first, again, other = drawn(), drawn(), drawn(seed=1)
    assert torch.equal(first.boxes, again.boxes)
    assert torch.equal(first.flipped, again.flipped)
    assert not torch.equal(first.boxes, other.boxes)


def test_all_frames_of_a_video_are_seen_alike_and_in_their_size():
    still = pictures(1).expand(4, -1, -1, -1)
    views = Views(boxes=torch.tensor([[4, 6, 40, 50]]), flipped=torch.tensor([True]))
    found = seen(still, views, 0)
    assert (found.shape, found.dtype) == (still.shape, torch.uint8)
    assert all(torch.equal(one, found[0]) for one in found)


def test_a_flip_mirrors_and_a_whole_box_cuts_nothing():
    own = pictures()
    views = Views(boxes=torch.tensor([[0, 0, SIDE, SIDE]] * 2), flipped=torch.tensor([False, True]))
    assert torch.equal(seen(own, views, 0), own)
    mirrored = own.numpy()[..., ::-1]
    assert (seen(own, views, 1).numpy() == mirrored).all()


def test_a_crop_shows_what_is_in_its_box():
    """Four flat quarters: a box inside one of them shows its colour alone."""
    quarters = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    quarters[..., : SIDE // 2, : SIDE // 2] = 50
    quarters[..., SIDE // 2 :, SIDE // 2 :] = 200
    for box, colour in (([2, 3, 20, 24], 50), ([40, 36, 20, 24], 200)):
        views = Views(boxes=torch.tensor([box]), flipped=torch.tensor([False]))
        assert seen(quarters, views, 0).unique().tolist() == [colour]


@pytest.mark.parametrize("videos", [0, 1])
def test_few_videos_and_none_are_no_special_case(videos):
    assert drawn(videos=videos).boxes.shape == (videos, 4)
