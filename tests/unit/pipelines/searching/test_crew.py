"""Whom the parts of a cache belong to."""

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vidret.pipelines.searching.crew import deal

WORKERS = st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True).map(sorted)
PLACES = st.integers(1, 30).map(lambda of: [(Path("c"), number, of) for number in range(of)])


@given(PLACES, WORKERS)
def test_parts_are_dealt_evenly_and_always_alike(places, workers):
    owners = deal(places, workers, {})
    loads = Counter(owners.values())
    assert owners.keys() == set(places)
    assert max(loads.values()) - min(loads[worker] for worker in workers) <= 1
    assert owners == deal(places, workers, {})


@given(PLACES, WORKERS, WORKERS)
def test_whoever_stays_keeps_what_others_do_not_lack(places, before, after):
    first = deal(places, before, {})
    second = deal(places, after, first)
    loads = Counter(second.values())
    assert set(second.values()) <= set(after)
    assert max(loads.values()) - min(loads[worker] for worker in after) <= 1
    if set(before) <= set(after):  # somebody came: nobody who was there is given more
        kept = Counter(first.values())
        assert all(loads[worker] <= kept[worker] for worker in before)


def test_only_the_parts_of_a_dead_worker_move():
    places = [(Path("c"), number, 6) for number in range(6)]
    first = deal(places, ["a", "b", "c"], {})
    second = deal(places, ["a", "c"], first)
    assert {place for place in places if first[place] != second[place]} == {
        place for place in places if first[place] == "b"
    }
