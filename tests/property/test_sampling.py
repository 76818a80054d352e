"""Laws of frame sampling, for any number of frames."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vidret.extract.decoding.frame_index import VideoPacket, plan_runs
from vidret.extract.decoding.sampling import uniform_indices

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
    packets = [VideoPacket(10 * n, n % length == 0) for n in range(groups * length)]
    wanted = sorted(data.draw(st.sets(st.sampled_from([p.pts for p in packets]), min_size=1)))
    runs = plan_runs(packets, wanted, "matroska,webm")
    assert [pts for run in runs for pts in run.wanted] == wanted
    for run in runs:
        assert packets[run.start].key
        assert packets[run.start].pts <= run.wanted[0]
    # Nothing is decoded twice.
    for run, following in pairwise(runs):
        assert packets[following.start].pts > run.wanted[-1]
