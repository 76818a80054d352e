from dataclasses import replace

import numpy as np
import pytest
import torch
from making.planted import DIM, FRAMES, write_planted_cache

from vidret.data.cache import FeatureCache
from vidret.data.errors import ConfigError
from vidret.extract.decoding.sampling import uniform_indices
from vidret.pipelines.training.fitting import as_split
from vidret.pipelines.training.splits import begin_epoch, dense_frames, segments

CPU = torch.device("cpu")
SPLITS = {"train": 21, "test": 4}


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    folder = write_planted_cache(tmp_path_factory.mktemp("dense"), splits=SPLITS, dense=True)
    return FeatureCache.open(folder).load("train")


@pytest.fixture(scope="module")
def split(features):
    return as_split(features, CPU, jitter=True)


def dense_of(features, video):
    offsets = features.dense.offsets
    return features.dense.values[offsets[video] : offsets[video + 1]].astype(np.float32)


def epoch(split, seed=0):
    return begin_epoch(split, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("wanted", [1, 4, 12, 30])
def test_the_middles_of_the_parts_are_the_frames_that_extract_takes(wanted):
    counts = np.arange(1, 400)
    starts, widths = segments(counts, wanted)
    for count, start, width in zip(counts, starts, widths, strict=True):
        taken = uniform_indices(int(count), wanted)
        kept = width > 0
        assert kept.sum() == len(taken)
        np.testing.assert_array_equal((start + (width - 1) // 2)[kept], taken)


def test_the_parts_share_out_all_frames():
    starts, widths = segments(np.array([3, 4, 17, 130]), 4)
    assert widths.sum(1).tolist() == [3, 4, 17, 130]
    assert (starts[:, 1:] == starts[:, :-1] + widths[:, :-1])[1:].all()


def test_an_epoch_takes_one_frame_of_every_part_of_every_video(features, split):
    gather = epoch(split)
    batch = gather(torch.arange(len(split)))
    short = 0
    for row, video in enumerate(batch.owners.tolist()):
        dense = dense_of(features, video)
        starts, widths = segments(np.array([len(dense)]), FRAMES)
        kept = widths[0] > 0
        assert batch.videos.frame_mask[row].tolist() == kept.tolist()
        short += not kept.all()
        for start, width, frame in zip(
            starts[0][kept], widths[0][kept], batch.videos.frames[row][kept], strict=True
        ):
            part = torch.from_numpy(dense[start : start + width])
            assert (part == frame).all(1).any()
    assert short, "some video has fewer frames than are asked for"


def test_over_epochs_every_frame_of_a_part_is_drawn_about_as_often(split):
    generator, dense = torch.Generator().manual_seed(0), split.dense
    drawn = torch.stack([dense.draw(generator) for _ in range(900)])
    wide = dense.widths == 4
    assert wide.any()
    offsets = (drawn - dense.starts)[:, wide]
    for place in range(4):
        share = (offsets == place).float().mean(0)
        assert (share - 0.25).abs().max() < 0.075, "five standard deviations"


def test_within_an_epoch_a_video_shows_the_same_frames_and_in_the_next_others(split):
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(len(split))
    first, second = begin_epoch(split, generator), begin_epoch(split, generator)
    assert torch.equal(first(rows).videos.frames, first(rows).videos.frames)
    assert not torch.equal(first(rows).videos.frames, second(rows).videos.frames)


def test_the_same_seed_draws_the_same_frames(split):
    rows = torch.arange(8)
    assert torch.equal(epoch(split, 3)(rows).videos.frames, epoch(split, 3)(rows).videos.frames)


def test_without_jitter_a_batch_shows_what_evaluation_sees(features):
    plain = as_split(features, CPU)
    rows = torch.tensor([5, 2, 2])
    batch = epoch(plain)(rows)
    assert torch.equal(batch.videos.frames, plain.videos.frames[plain.owners[rows]])
    assert torch.equal(batch.texts.sentence, plain.texts.sentence[rows])
    assert batch.videos.frames.shape[1:] == (FRAMES, DIM)


def test_a_cache_without_dense_frames_has_nothing_to_draw_from(tmp_path):
    folder = write_planted_cache(tmp_path / "uniform", splits=SPLITS)
    with pytest.raises(ConfigError, match=r"uniform holds no frames .*--sampling fps:1"):
        dense_frames(FeatureCache.open(folder).load("train"), CPU)


def test_a_video_without_dense_frames_keeps_its_own(split):
    none = split.dense.widths.clone()
    none[0] = 0
    batch = epoch(replace(split, dense=replace(split.dense, widths=none)))(torch.tensor([0, 2]))
    assert batch.owners.tolist() == [0, 1]
    assert torch.equal(batch.videos.frames[0], split.videos.frames[0])
    assert torch.equal(batch.videos.frame_mask[0], split.videos.frame_mask[0])
