"""Which frames are taken, and when they are shown."""

from fractions import Fraction

import numpy as np
import pytest

from vidret.data.errors import ConfigError
from vidret.extract.decoding.sampling import (
    NO_PTS,
    Sampling,
    centres,
    frame_times,
    parse_sampling,
    shown_seconds,
    uniform_indices,
)

TICK = Fraction(1, 100)


def times_of(pts, rate):
    return frame_times(np.array(pts, np.int64), TICK, rate).tolist()


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (250, [9, 30, 51, 72, 93, 114, 134, 155, 176, 197, 218, 239]),
        (24, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22]),
        (13, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (12, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (5, [0, 1, 2, 3, 4]),
        (1, [0]),
    ],
)
def test_twelve_frames_are_the_published_ones(num_frames, expected):
    assert uniform_indices(num_frames, 12).tolist() == expected


def test_bounds_round_as_published():
    """Whole numbers would give 114 for the first of these: 27 / 30 of 130 is 117 to them."""
    assert uniform_indices(130, 30).tolist()[-4:] == [113, 118, 122, 127]


def test_one_frame_is_the_middle_one():
    assert uniform_indices(101, 1).tolist() == [50]


def test_no_frames_give_no_indices():
    assert uniform_indices(0, 12).tolist() == []


def test_times_count_from_the_first_frame():
    assert times_of([1000, 1004, 1010], Fraction(25)) == [0.0, 0.04, 0.1]


def test_a_missing_stamp_makes_the_frame_rate_count():
    assert times_of([0, NO_PTS, 2], Fraction(10)) == [0.0, 0.1, 0.2]


@pytest.mark.parametrize("pts", [[0, 9, 4], [0, 4, 4]])
def test_stamps_that_do_not_rise_make_the_frame_rate_count(pts):
    assert times_of(pts, Fraction(10)) == [0.0, 0.1, 0.2]


def test_an_unknown_frame_rate_is_taken_for_25():
    assert times_of([NO_PTS, NO_PTS], None) == [0.0, 0.04]


def test_the_last_frame_is_shown_as_long_as_the_others():
    assert shown_seconds(np.array([0.0, 0.25, 0.5, 0.75])) == 1.0


def test_a_single_frame_is_shown_for_no_known_time():
    assert shown_seconds(np.array([0.0])) == 0.0


def test_a_far_stamp_keeps_its_exact_second():
    assert times_of([0, 10**15], None) == [0.0, 1e13]


# Sampling


def test_one_frame_a_second_is_the_one_shown_in_the_middle_of_each():
    times = np.arange(250) / 25
    assert Sampling(12, 1.0).indices(times).tolist() == [12 + 25 * n for n in range(10)]


def test_a_moment_on_a_frames_first_instant_takes_that_frame():
    assert Sampling(12, 5.0).indices(np.arange(10) / 10).tolist() == [1, 3, 5, 7, 9]


def test_a_rate_goes_by_time_where_the_frame_rate_varies():
    times = np.array([0.0, 0.1, 0.2, 0.3, 2.0, 2.9, 3.2])
    assert Sampling(12, 1.0).indices(times).tolist() == [3, 4, 6]


def test_a_frame_that_stays_for_several_steps_is_taken_once():
    assert Sampling(12, 10.0).indices(np.array([0.0, 0.5, 1.0])).tolist() == [0, 1, 2]


def test_a_rate_above_that_of_the_video_takes_every_frame():
    assert Sampling(12, 60.0).indices(np.arange(9) / 25).tolist() == list(range(9))


@pytest.mark.parametrize(("num_frames", "middle"), [(1, 0), (8, 3)])
def test_a_video_shorter_than_half_a_step_gives_its_middle_frame(num_frames, middle):
    assert Sampling(12, 1.0).indices(np.arange(num_frames) / 25).tolist() == [middle]


def test_a_gap_of_years_between_frames_takes_no_memory():
    times = np.array([0.0, 1.0, 1e9])
    assert Sampling(12, 60.0).indices(times).tolist() == [0, 1, 2]


def test_an_even_sampling_goes_by_number():
    times = np.array([0.0, 0.1, 0.2, 5.0])
    assert Sampling(2).indices(times).tolist() == [0, 2]


def test_the_frames_that_stand_for_a_video_are_spread_over_the_dense_ones():
    assert centres(250, 12).tolist() == uniform_indices(250, 12).tolist()


@pytest.mark.parametrize(
    ("policy", "rate", "shortest"),
    [
        ("uniform", None, "uniform"),
        ("fps:1", 1.0, "fps:1"),
        ("fps:1.0", 1.0, "fps:1"),
        ("fps:.5", 0.5, "fps:0.5"),
        ("fps:29.97", 29.97, "fps:29.97"),
        ("fps:60", 60.0, "fps:60"),
    ],
)
def test_a_policy_is_read_and_written_at_its_shortest(policy, rate, shortest):
    sampling = parse_sampling(policy, 12)
    assert sampling == Sampling(12, rate)
    assert sampling.policy == shortest


@pytest.mark.parametrize(
    "policy", ["", "fps", "fps:", "fps:0", "fps:-1", "fps:61", "fps:nan", "fps:inf", "1", "random"]
)
def test_any_other_policy_is_a_mistake_in_the_settings(policy):
    with pytest.raises(ConfigError, match="choose uniform, or fps:NUMBER"):
        parse_sampling(policy, 12)


def test_no_frames_are_a_mistake_in_the_settings():
    with pytest.raises(ConfigError, match="frames is 0: ask for 1 or more"):
        Sampling(0)


@pytest.mark.parametrize("rate", [0.0, -1.0, 60.5, float("nan")])
def test_a_rate_out_of_bounds_is_a_mistake_in_the_settings(rate):
    with pytest.raises(ConfigError, match="choose a number above 0 and up to 60"):
        Sampling(12, rate)
