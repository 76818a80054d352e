from collections import Counter
from itertools import combinations

import pytest
import torch

from vidret.pipelines.training.drawing import draw_batches

MSVD_LIKE = torch.arange(60).repeat_interleave(torch.arange(60) % 7 + 8)  # 8 to 14 captions each


def epoch(owners, *, size, pairs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(draw_batches(owners, size=size, pairs=pairs, generator=generator))


@pytest.mark.parametrize("pairs", ["all", "distinct", "one-each"])
def test_two_epochs_of_one_generator_differ(pairs):
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.cat([*draw_batches(MSVD_LIKE, size=8, pairs=pairs, generator=generator)]).tolist()
        for _ in range(2)
    )
    assert first != second


def test_over_many_epochs_every_caption_of_a_video_is_its_one():
    owners = torch.tensor([0, 0, 0, 1, 2, 2])
    drawn = Counter()
    for seed in range(600):
        drawn.update(torch.cat(epoch(owners, size=4, pairs="one-each", seed=seed)).tolist())
    assert drawn[3] == 600
    for caption, expected in ((0, 200), (1, 200), (2, 200), (4, 300), (5, 300)):
        assert abs(drawn[caption] - expected) < 60, "five standard deviations"


def test_over_many_epochs_distinct_pairs_meet_all_alike():
    """Every two videos share batches about as often as by chance, so no negatives go unseen."""
    met = Counter()
    for seed in range(60):
        for rows in epoch(MSVD_LIKE, size=12, pairs="distinct", seed=seed):
            met.update(combinations(sorted(MSVD_LIKE[rows].tolist()), 2))
    captions = MSVD_LIKE.bincount().tolist()
    rates = [
        met[pair] / (captions[pair[0]] * captions[pair[1]]) for pair in combinations(range(60), 2)
    ]
    mean = sum(rates) / len(rates)
    assert min(rates) > 0.6 * mean
    assert max(rates) < 1.5 * mean


def test_within_an_epoch_the_captions_of_a_video_meet_many_others():
    """Dealt out side by side in the same order, they would meet the same few again and again."""
    met = {video: set() for video in range(60)}
    for rows in epoch(MSVD_LIKE, size=12, pairs="distinct"):
        videos = MSVD_LIKE[rows].tolist()
        for video in videos:
            met[video] |= set(videos) - {video}
    assert min(len(others) for others in met.values()) > 35


def test_a_video_that_has_most_captions_makes_batches_smaller_and_loses_none():
    owners = torch.tensor([0] * 12 + list(range(1, 13)))
    batches = epoch(owners, size=8, pairs="distinct")
    assert [len(rows) for rows in batches] == [2] * 12
    assert all(0 in owners[rows] for rows in batches)
