"""What packets say about frames, and where they must not be trusted."""

import pytest

from vidret.extract.decoding.frame_index import (
    BrokenIndexError,
    VideoPacket,
    is_trusted,
    plan_runs,
    shown_stamps,
)

# Decoded in this order; with B-frames the pts jump. The second group is open: 7 and 8 need both.
GROUPS = [(0, True), (3, False), (1, False), (2, False), (6, False), (4, False), (5, False)]
OPEN_GROUP = [(9, True), (7, False), (8, False), (12, False), (10, False), (11, False)]
PACKETS = [VideoPacket(pts, key) for pts, key in GROUPS + OPEN_GROUP]
MP4 = "mov,mp4,m4a,3gp,3g2,mj2"


def test_whole_groups_of_pictures_are_trusted():
    assert is_trusted(PACKETS, "h264", MP4)


@pytest.mark.parametrize(
    "packets",
    [
        [],
        [VideoPacket(0, key=True, discard=True)],
        [VideoPacket(None, key=True), *PACKETS[1:]],
        [*PACKETS, VideoPacket(5, key=False)],
        [*PACKETS[:4], VideoPacket(20, key=False, corrupt=True)],
        PACKETS[1:],
        PACKETS[7:],
    ],
    ids=["none", "hidden", "no-pts", "pts-twice", "corrupt", "no-key-first", "leading-frames"],
)
def test_packets_that_may_not_be_frames_are_not_trusted(packets):
    assert not is_trusted(packets, "h264", MP4)


@pytest.mark.parametrize(("codec", "container"), [("vp8", "matroska,webm"), ("h264", "avi")])
def test_formats_whose_packets_mislead_are_not_trusted(codec, container):
    assert not is_trusted(PACKETS, codec, container)


def test_discarded_packets_are_no_frames():
    hidden = [VideoPacket(-2, key=True, discard=True), VideoPacket(-1, key=False, discard=True)]
    assert shown_stamps([*hidden, *PACKETS[:4]]) == [0, 1, 2, 3]


def test_a_far_frame_starts_a_run_at_its_own_key():
    runs = plan_runs(PACKETS, [2, 11], MP4)
    assert [(run.start, run.wanted) for run in runs] == [(0, [2]), (7, [11])]


def test_a_frame_shown_before_its_key_is_decoded_from_the_group_before():
    runs = plan_runs(PACKETS, [8], MP4)
    assert [(run.start, run.wanted) for run in runs] == [(0, [8])]


def test_a_key_that_is_passed_anyway_starts_no_run():
    runs = plan_runs(PACKETS, [8, 10], MP4)
    assert [(run.start, run.wanted) for run in runs] == [(0, [8, 10])]


def test_a_container_without_exact_seeks_is_read_from_its_start():
    runs = plan_runs(PACKETS, [2, 11], "mpegts")
    assert [(run.start, run.wanted) for run in runs] == [(0, [2, 11])]


def test_a_frame_without_a_key_before_it_is_refused():
    with pytest.raises(BrokenIndexError, match="no key packet before pts 7"):
        plan_runs(PACKETS[7:], [7], MP4)
