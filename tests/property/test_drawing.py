"""Laws of the batches that an epoch is made of."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vidret.pipelines.training.drawing import count_batches, draw_batches

FEW = settings(max_examples=60, deadline=None)

owned = st.lists(st.integers(0, 7), min_size=1, max_size=40)
sizes = st.integers(2, 9)
seeds = st.integers(0, 2**31)


def draw(owners, size, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    return [
        rows.tolist()
        for rows in draw_batches(torch.tensor(owners), size=size, pairs=pairs, generator=generator)
    ]


def most_of_a_video(owners):
    return max(owners.count(video) for video in owners)


@FEW
@given(owned, sizes, seeds)
def test_all_pairs_come_once_but_for_a_last_one_alone(owners, size, seed):
    batches = draw(owners, size, "all", seed)
    drawn = [row for rows in batches for row in rows]
    assert len(set(drawn)) == len(drawn)
    assert len(drawn) == len(owners) - (len(owners) % size == 1)
    assert all(len(rows) == size for rows in batches[:-1])


@FEW
@given(owned, sizes, seeds)
def test_distinct_pairs_come_once_and_no_video_is_in_a_batch_twice(owners, size, seed):
    batches = draw(owners, size, "distinct", seed)
    drawn = [row for rows in batches for row in rows]
    assert len(set(drawn)) == len(drawn)
    for rows in batches:
        videos = [owners[row] for row in rows]
        assert len(set(videos)) == len(videos)
        assert 2 <= len(rows) <= size
    number = max(math.ceil(len(owners) / size), most_of_a_video(owners))
    alone = number * 2 - len(owners)  # batches that only one caption is left for
    assert len(drawn) == len(owners) - max(0, alone)


@FEW
@given(owned, sizes, seeds)
def test_distinct_batches_are_as_few_and_as_even_as_they_can_be(owners, size, seed):
    number = count_batches(torch.tensor(owners), size=size, pairs="distinct")
    assert number == max(math.ceil(len(owners) / size), most_of_a_video(owners))
    lengths = [len(rows) for rows in draw(owners, size, "distinct", seed)]
    assert len(lengths) <= number
    if len(owners) >= 2 * number:
        assert len(lengths) == number
        assert max(lengths) - min(lengths) <= 1


@FEW
@given(owned, sizes, seeds)
def test_one_each_draws_every_video_once(owners, size, seed):
    batches = draw(owners, size, "one-each", seed)
    videos = [owners[row] for rows in batches for row in rows]
    assert len(set(videos)) == len(videos)
    different = len(set(owners))
    assert len(videos) == different - (different % size == 1)
    assert count_batches(torch.tensor(owners), size=size, pairs="one-each") == math.ceil(
        different / size
    )


@FEW
@given(owned, sizes, st.sampled_from(["all", "distinct", "one-each"]), seeds)
def test_the_same_seed_draws_the_same_batches(owners, size, pairs, seed):
    assert draw(owners, size, pairs, seed) == draw(owners, size, pairs, seed)
