import pytest
import torch
from making.heads import draw_videos
from making.scenes import draw_scenes
from torch.nn.functional import normalize
from torch.testing import assert_close

from vidret.heads.clustering import Grouping, density_groups, even_groups

VIDEOS = draw_videos([4, 1, 6, 3, 2], 8, 2)


def share_found(find, *, noise, shortest=3, longest=6, number=300, seed=0):
    """The share of videos whose scenes come out exactly, to the frame."""
    drawn = draw_scenes(number, shortest=shortest, longest=longest, noise=noise, seed=seed)
    groups = find(drawn.videos.frames, drawn.videos.frame_mask, 3)
    hits = 0
    for row, scene in zip(groups, drawn.scene, strict=True):
        shown = scene >= 0
        group = row[:, shown].int().argmax(0)
        hits += torch.equal(group[:, None] == group, scene[shown][:, None] == scene[shown])
    return hits / number


@pytest.mark.parametrize(("noise", "least"), [(0.3, 0.99), (0.6, 0.98), (0.9, 0.80)])
def test_density_finds_planted_scenes(noise, least):
    """Frames of a scene have a cosine of 0.96, 0.85 and 0.71, those of two scenes about half."""
    assert share_found(density_groups, noise=noise) >= least


def test_density_finds_most_scenes_of_two_frames_where_they_are_clear():
    assert share_found(density_groups, noise=0.6, shortest=2) >= 0.95


def test_equal_stretches_find_planted_scenes_by_chance_alone():
    assert share_found(even_groups, noise=0.3) < 0.1


@pytest.mark.parametrize("find", [density_groups, even_groups])
@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_every_frame_is_in_one_group_and_padding_in_none(find, most):
    groups = find(VIDEOS.frames, VIDEOS.frame_mask, most)
    assert torch.equal(groups.sum(1), VIDEOS.frame_mask.long())
    assert groups.any(-1).sum(-1).tolist() == [min(most, frames) for frames in (4, 1, 6, 3, 2)]


def test_the_order_of_frames_changes_no_dense_group():
    order = torch.tensor([3, 5, 0, 4, 1, 2])
    groups = density_groups(VIDEOS.frames[2:3], VIDEOS.frame_mask[2:3], 3)[0]
    turned = density_groups(VIDEOS.frames[2:3, order], VIDEOS.frame_mask[2:3], 3)[0]
    assert torch.equal(turned, groups[:, order])


def test_frames_that_are_all_the_same_still_make_groups():
    frames, mask = torch.ones(1, 5, 4), torch.ones(1, 5, dtype=torch.bool)
    groups = density_groups(frames, mask, 3)
    assert torch.equal(groups, density_groups(frames, mask, 3))
    assert groups.sum(-1).tolist() == [[3, 1, 1]]


def test_the_length_of_a_frame_does_not_move_it():
    scale = torch.tensor([1.0, 20.0, 0.1, 3.0, 1.0, 7.0], dtype=torch.float64)[:, None]
    groups = density_groups(VIDEOS.frames, VIDEOS.frame_mask, 2)
    assert torch.equal(density_groups(VIDEOS.frames * scale, VIDEOS.frame_mask, 2), groups)


def test_coarse_products_do_not_move_frames_either():
    frames = VIDEOS.frames.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        groups = density_groups(frames, VIDEOS.frame_mask, 2)
    assert torch.equal(groups, density_groups(frames, VIDEOS.frame_mask, 2))


@pytest.mark.parametrize("way", ["density", "soft", "even"])
def test_the_shares_of_a_group_sum_to_one(way):
    shares = grouping(way)(VIDEOS.frames.nan_to_num(), VIDEOS.frame_mask)
    total = shares.sum(-1)
    there = shares.any(-1)
    assert_close(total, there.double())
    assert not shares.transpose(1, 2)[~VIDEOS.frame_mask].any()


@pytest.mark.parametrize("way", ["density", "even"])
def test_at_the_start_a_group_is_the_mean_of_its_frames(way):
    module = grouping(way)
    shares = module(VIDEOS.frames, VIDEOS.frame_mask)
    counts = (shares > 0).sum(-1, keepdim=True)
    assert_close(shares, (shares > 0) / counts.clamp_min(1).double())


def test_a_frame_that_says_more_counts_for_more_in_its_group():
    module = grouping("even")
    with torch.no_grad():
        module.weight.weight.fill_(0.0)[0, 0] = 2.0
    shares = module(VIDEOS.frames[:1, :4], VIDEOS.frame_mask[:1, :4])
    says = 2.0 * torch.nn.functional.layer_norm(VIDEOS.frames[0, :4], (8,))[:, 0]
    assert_close(shares[0, 0, :2], says[:2].softmax(0))


def test_prototypes_share_every_frame_out():
    module = grouping("soft")
    with torch.no_grad():
        module.prototypes.copy_(normalize(VIDEOS.frames[2, :3], dim=-1) * 40)
    shares = module(VIDEOS.frames[2:3], VIDEOS.frame_mask[2:3])[0]
    assert shares[:, :3].argmax(-1).tolist() == [0, 1, 2]


def grouping(way):
    torch.manual_seed(0)
    return Grouping(8, 3, way, start="clip").double()
