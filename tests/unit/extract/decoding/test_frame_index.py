"""What packets say about frames, and where they must not be trusted."""

import numpy as np
import pytest

from vidret.extract.decoding.frame_index import (
    CORRUPT,
    DISCARD,
    KEY,
    BrokenIndexError,
    PacketNotes,
    is_trusted,
    plan_runs,
)

# Decoded in this order; with B-frames the pts jump. The second group is open: 7 and 8 need both.
GROUPS = [(0, KEY), (3, 0), (1, 0), (2, 0), (6, 0), (4, 0), (5, 0)]
OPEN_GROUP = [(9, KEY), (7, 0), (8, 0), (12, 0), (10, 0), (11, 0)]
PACKETS = GROUPS + OPEN_GROUP
MP4 = "mov,mp4,m4a,3gp,3g2,mj2"


def an_index(packets):
    notes = PacketNotes()
    for pts, flags in packets:
        notes.add(pts, flags)
    return notes.index()


def planned(packets, wanted, container=MP4):
    runs = plan_runs(an_index(packets), np.array(wanted), container)
    return [(run.start, run.wanted, run.last) for run in runs]


def test_whole_groups_of_pictures_are_trusted():
    assert is_trusted(an_index(PACKETS), "h264", MP4)


@pytest.mark.parametrize(
    "packets",
    [
        [],
        [(0, KEY | DISCARD)],
        [(None, KEY), *PACKETS[1:]],
        [*PACKETS, (5, 0)],
        [*PACKETS[:4], (20, CORRUPT)],
        PACKETS[1:],
        PACKETS[7:],
        [*PACKETS, (30, KEY), (20, KEY)],
    ],
    ids=[
        "none",
        "hidden",
        "no-pts",
        "pts-twice",
        "corrupt",
        "no-key-first",
        "leading-frames",
        "keys-run-backwards",
    ],
)
def test_packets_that_may_not_be_frames_are_not_trusted(packets):
    assert not is_trusted(an_index(packets), "h264", MP4)


@pytest.mark.parametrize(("codec", "container"), [("vp8", "matroska,webm"), ("h264", "avi")])
def test_formats_whose_packets_mislead_are_not_trusted(codec, container):
    assert not is_trusted(an_index(PACKETS), codec, container)


def test_discarded_packets_are_no_frames():
    hidden = [(-2, KEY | DISCARD), (-1, DISCARD)]
    assert an_index([*hidden, *PACKETS[:4]]).shown_pts().tolist() == [0, 1, 2, 3]


def test_a_packet_takes_nine_bytes():
    notes = PacketNotes()
    for number in range(1000):
        notes.add(number, KEY)
    assert notes.pts.itemsize * len(notes.pts) + len(notes.flags) == 9000


def test_a_far_frame_starts_a_run_at_its_own_key():
    assert planned(PACKETS, [2, 11]) == [(0, (2,), 2), (9, (11,), 11)]


def test_a_run_goes_on_to_the_last_packet_that_it_needs():
    """The frame shown at 3 is decoded before the one shown at 1."""
    assert planned(PACKETS, [1, 3]) == [(0, (1, 3), 1)]


def test_a_frame_shown_before_its_key_is_decoded_from_the_group_before():
    assert planned(PACKETS, [8]) == [(0, (8,), 8)]


def test_a_key_that_is_passed_anyway_starts_no_run():
    assert planned(PACKETS, [8, 10]) == [(0, (8, 10), 10)]


def test_a_container_without_exact_seeks_is_read_from_its_start_to_its_end():
    assert planned(PACKETS, [2, 9], "mpegts") == [(0, (2, 9), PACKETS[-1][0])]


def test_a_frame_without_a_key_before_it_is_refused():
    with pytest.raises(BrokenIndexError, match="no key packet before pts 7"):
        planned(PACKETS[7:], [7])
