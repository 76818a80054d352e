"""Laws of frame sampling, for any number of frames."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vidret.extract.decoding.frame_index import KEY, PacketNotes, plan_runs
from vidret.extract.decoding.sampling import Sampling, parse_sampling, uniform_indices

COUNTS = st.integers(1, 5000)
WANTED = st.integers(1, 64)


@given(COUNTS, WANTED)
def test_indices_rise_lie_in_the_video_and_are_as_many_as_asked_or_there(num_frames, wanted):
    indices = uniform_indices(num_frames, wanted).tolist()
    assert indices == sorted(set(indices))
    assert 0 <= indices[0] <= indices[-1] < num_frames
    assert len(indices) == min(num_frames, wanted)


@given(COUNTS, st.sampled_from([1, 4, 8, 10, 12, 16, 32, 64]))
def test_each_index_is_the_middle_of_its_part_of_the_video(num_frames, wanted):
    assert uniform_indices(num_frames, wanted).tolist() == exact_middles(num_frames, wanted)


@given(COUNTS, WANTED)
def test_rounding_as_published_moves_an_index_by_one_frame_at_most(num_frames, wanted):
    exact = exact_middles(num_frames, wanted)
    for index, middle in zip(uniform_indices(num_frames, wanted).tolist(), exact, strict=True):
        assert middle - 1 <= index <= middle


def exact_middles(num_frames, wanted):
    """The same in whole numbers, which cannot round."""
    parts = min(num_frames, wanted)
    bounds = [part * num_frames // parts for part in range(parts + 1)]
    return [(first + behind - 1) // 2 for first, behind in pairwise(bounds)]


@given(st.integers(1, 40), st.integers(1, 12), st.data())
def test_the_runs_of_a_plan_hold_every_wanted_frame_once_and_start_at_a_key(groups, length, data):
    # No B-frames: packets are decoded in the order of showing.
    stamps = [10 * n for n in range(groups * length)]
    notes = PacketNotes()
    for number, pts in enumerate(stamps):
        notes.add(pts, KEY * (number % length == 0))
    wanted = sorted(data.draw(st.sets(st.sampled_from(stamps), min_size=1)))
    runs = plan_runs(notes.index(), np.array(wanted), "matroska,webm")
    assert [pts for run in runs for pts in run.wanted] == wanted
    for run in runs:
        assert run.start % (10 * length) == 0
        assert run.start <= run.wanted[0]
        assert run.last == run.wanted[-1]
    # Nothing is decoded twice.
    for run, following in pairwise(runs):
        assert following.start > run.last


GAPS = st.lists(st.sampled_from([0.01, 1 / 30, 0.04, 0.25, 0.5, 1.7]), max_size=60)
RATES = st.sampled_from([0.3, 1.0, 2.0, 5.0, 29.97, 60.0])


@given(GAPS, RATES)
def test_a_rate_takes_what_is_on_screen_in_the_middle_of_each_step(gaps, rate):
    times = np.concatenate([[0.0], np.cumsum(gaps)])
    taken = Sampling(12, rate).indices(times).tolist()
    expected = on_screen(times, rate)
    assert taken == (expected or [(len(times) - 1) // 2])


def on_screen(times, rate):
    """The same moment by moment, frame by frame."""
    end = times[-1] * len(times) / (len(times) - 1) if len(times) > 1 else 0.0
    seen = []
    step = 0
    while (step + 0.5) / rate < end:
        visible = [number for number, time in enumerate(times) if time <= (step + 0.5) / rate]
        seen += [visible[-1]] if visible[-1] not in seen else []
        step += 1
    return seen


@given(st.floats(1e-6, 60), st.integers(1, 99))
def test_a_policy_says_all_that_there_is_to_a_rate(rate, frames):
    sampling = Sampling(frames, rate)
    assert parse_sampling(sampling.policy, frames) == sampling
