"""Guessing at the token: after a few wrong ones an address waits, and nobody else does."""

import pytest

from vidret.pipelines.serving import guesses
from vidret.pipelines.serving.guesses import FORGET_SECONDS, MOST_WRONG, WAIT_SECONDS, Guesses

TOKEN = "a-token-of-good-length"


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def counted(clock):
    return Guesses(clock)


def guess(counted, address, times):
    for _ in range(times):
        counted.note_wrong(address)


def test_a_few_slips_are_free(counted):
    guess(counted, "10.0.0.1", MOST_WRONG - 1)
    assert counted.wait("10.0.0.1") == 0


def test_after_several_an_address_waits_and_no_other(counted, clock):
    guess(counted, "10.0.0.1", MOST_WRONG)
    assert counted.wait("10.0.0.1") == WAIT_SECONDS
    assert counted.wait("10.0.0.2") == 0
    clock.now += WAIT_SECONDS - 0.5
    assert counted.wait("10.0.0.1") == 1
    clock.now += 0.5
    assert counted.wait("10.0.0.1") == 0


def test_whoever_goes_on_has_one_guess_a_wait(counted, clock):
    guess(counted, "10.0.0.1", MOST_WRONG)
    clock.now += WAIT_SECONDS
    counted.note_wrong("10.0.0.1")
    assert counted.wait("10.0.0.1") == WAIT_SECONDS


def test_after_a_while_all_is_forgotten(counted, clock):
    guess(counted, "10.0.0.1", MOST_WRONG)
    clock.now += FORGET_SECONDS + 1
    guess(counted, "10.0.0.1", MOST_WRONG - 1)
    assert counted.wait("10.0.0.1") == 0


def test_the_right_token_makes_good_what_was_wrong(counted):
    guess(counted, "10.0.0.1", MOST_WRONG - 1)
    counted.note_right("10.0.0.1")
    guess(counted, "10.0.0.1", MOST_WRONG - 1)
    assert counted.wait("10.0.0.1") == 0


def test_what_is_remembered_has_an_end(counted, monkeypatch):
    monkeypatch.setattr(guesses, "MOST_PLACES", 50)
    for number in range(1000):
        counted.note_wrong(f"10.0.{number // 250}.{number % 250}")
    counted.note_wrong("x" * 1_000_000)
    assert len(counted) == 50
    assert max(map(len, counted._wrong)) <= 64


def test_one_household_is_one_guesser(counted):
    """Whoever has an IPv6 address has 2**64 of them."""
    for number in range(MOST_WRONG):
        counted.note_wrong(f"2001:db8:1:2::{number:x}")
    assert counted.wait("2001:db8:1:2:ffff::1") > 0
    assert counted.wait("2001:db8:1:3::1") == 0
    guess(counted, "::ffff:10.0.0.1", MOST_WRONG)
    assert counted.wait("10.0.0.1") > 0
    assert counted.wait("::ffff:10.0.0.2") == 0


# -- over the wire


@pytest.fixture
def locked(serve):
    return serve(token=TOKEN, hosts=None)


def bring(locked, token, address="10.0.0.1"):
    headers = {"authorization": f"Bearer {token}"}
    return locked("/api/status", headers=headers, client=address)


@pytest.mark.parametrize("way", ["header", "form"])
def test_a_guesser_is_told_to_wait(locked, way):
    def try_one():
        if way == "header":
            return bring(locked, "guess")
        return locked("/sign-in", "POST", data={"token": "guess"}, client="10.0.0.1")

    answers = [try_one() for _ in range(MOST_WRONG + 3)]
    assert [one.status_code for one in answers] == [401] * MOST_WRONG + [429] * 3
    assert 1 <= int(answers[-1].headers["retry-after"]) <= WAIT_SECONDS
    assert TOKEN not in answers[-1].text


def test_the_right_token_from_elsewhere_still_works(locked):
    for _ in range(MOST_WRONG):
        bring(locked, "guess")
    assert bring(locked, TOKEN).status_code == 429  # or guessing would go on, and be answered
    assert bring(locked, TOKEN, "10.0.0.2").status_code == 200
    form = {"data": {"token": TOKEN}, "client": "10.0.0.2"}
    assert locked("/sign-in", "POST", **form).status_code == 303


def test_whoever_is_in_stays_in(locked):
    signed = locked("/sign-in", "POST", data={"token": TOKEN}, client="10.0.0.1")
    cookie = {"cookie": signed.headers["set-cookie"].partition(";")[0]}
    for _ in range(MOST_WRONG):
        bring(locked, "guess")
    assert locked("/api/status", headers=cookie, client="10.0.0.1").status_code == 200


def test_an_old_cookie_is_no_guess(locked):
    """A browser that was open before a new start asks for many pictures at once."""
    for _ in range(3 * MOST_WRONG):
        stale = {"cookie": "vidret=of-another-start"}
        assert locked("/api/status", headers=stale, client="10.0.0.1").status_code == 401
    assert bring(locked, TOKEN).status_code == 200


def test_many_guesses_at_once_are_no_way_around(locked):
    form = {"data": {"token": "guess"}}
    answers = locked.all([("/sign-in", form)] * 60, "POST")
    assert sum(one.status_code == 401 for one in answers) == MOST_WRONG
    assert {one.status_code for one in answers} == {401, 429}


def test_without_a_token_there_is_nothing_to_guess(ask):
    for _ in range(2 * MOST_WRONG):
        headers = {"authorization": "Bearer whatever"}
        assert ask("/api/status", headers=headers).status_code == 200
