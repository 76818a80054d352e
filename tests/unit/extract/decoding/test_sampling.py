"""Which frames are taken, and when they are shown."""

from fractions import Fraction

import numpy as np
import pytest

from vidret.extract.decoding.sampling import frame_times, shown_seconds, uniform_indices

TICK = Fraction(1, 100)


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
    assert frame_times([1000, 1004, 1010], TICK, Fraction(25)).tolist() == [0.0, 0.04, 0.1]


def test_a_missing_stamp_makes_the_frame_rate_count():
    assert frame_times([0, None, 2], TICK, Fraction(10)).tolist() == [0.0, 0.1, 0.2]


@pytest.mark.parametrize("pts", [[0, 9, 4], [0, 4, 4]])
def test_stamps_that_do_not_rise_make_the_frame_rate_count(pts):
    assert frame_times(pts, TICK, Fraction(10)).tolist() == [0.0, 0.1, 0.2]


def test_an_unknown_frame_rate_is_taken_for_25():
    assert frame_times([None, None], TICK, None).tolist() == [0.0, 0.04]


def test_the_last_frame_is_shown_as_long_as_the_others():
    assert shown_seconds(np.array([0.0, 0.25, 0.5, 0.75])) == 1.0


def test_a_single_frame_is_shown_for_no_known_time():
    assert shown_seconds(np.array([0.0])) == 0.0
