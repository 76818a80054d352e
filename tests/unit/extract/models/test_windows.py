import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidret.extract.models.windows import WindowCutter
from vidret.extract.panns import SHORTEST, WINDOW, cut_windows

EDGES = (0, 1, SHORTEST - 1, SHORTEST, WINDOW, WINDOW + SHORTEST - 1, WINDOW + SHORTEST)


def cut_in_parts(wave, sizes):
    """The windows of a sound that comes in parts of some sizes, the rest at the end."""
    cutter, start, windows = WindowCutter(), 0, []
    for size in sizes:
        windows += cutter.feed(wave[start : start + size])
        start += size
    windows += cutter.feed(wave[start:])
    return windows + cutter.finish()


def assert_same(windows, wave):
    expected = cut_windows(torch.from_numpy(wave))
    assert [len(window) for window in windows] == [len(window) for window in expected]
    for found, one in zip(windows, expected, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, one.numpy())


def a_wave(length):
    return np.arange(1, length + 1, dtype=np.float32)


@given(
    length=st.one_of(
        st.integers(0, 3 * WINDOW),
        st.builds(lambda n, edge: n * WINDOW + edge, st.integers(0, 2), st.sampled_from(EDGES)),
    ),
    sizes=st.lists(st.integers(0, WINDOW + 5), max_size=8),
)
def test_a_sound_in_parts_is_cut_as_the_whole_is(length, sizes):
    wave = a_wave(length)
    assert_same(cut_in_parts(wave, sizes), wave)


def test_a_sound_in_packets_is_cut_as_the_whole_is():
    wave = a_wave(2 * WINDOW + 77)
    assert_same(cut_in_parts(wave, [1_024] * (len(wave) // 1_024)), wave)


@pytest.mark.parametrize("beyond", [0, SHORTEST - 1])
def test_a_window_is_held_back_while_the_rest_could_still_be_too_short(beyond):
    cutter = WindowCutter()
    assert cutter.feed(a_wave(WINDOW + beyond)) == []
    (window,) = cutter.feed(np.zeros(SHORTEST - beyond, dtype=np.float32))
    assert len(window) == WINDOW


def test_an_hour_leaves_no_more_than_a_window_and_a_bit_behind():
    cutter, minute = WindowCutter(), np.zeros(60 * 32_000, dtype=np.float32)
    windows = [window for _ in range(60) for window in cutter.feed(minute)]
    (last,) = cutter.finish()
    assert len(windows) == 359
    assert len(last) == WINDOW


def test_a_window_is_not_changed_by_what_its_giver_does_with_the_samples_later():
    samples = np.ones(WINDOW + SHORTEST, dtype=np.float32)
    (window,) = WindowCutter().feed(samples)
    samples[:] = 0
    assert window.all()
