"""What is open, what is typed and what the address says: all of one question."""

import json
import re
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

import pytest
from making.browsing import ids, look_for, until


def asked_of_api(address, path, **parameters):
    with urlopen(f"{address}/api/{path}?{urlencode(parameters)}") as response:
        return json.load(response)


def ranked(address, head, **parameters):
    """The rank of each video by a head."""
    told = asked_of_api(address, "search", q="a red star", top=500, head=head, **parameters)
    return {hit["id"]: hit["rank"] for hit in told["hits"]}


def open_first(page):
    page.locator(".card .open").first.click()
    page.wait_for_selector(".grid")
    return page.evaluate("new URLSearchParams(location.hash.slice(1)).get('video')")


def badge(page):
    return page.locator(".detail-head .badge").first.inner_text()


def parts_shown(page):
    """The numbers that the detail shows, by their names."""
    pairs = (one.split() for one in page.locator(".why-parts .pair").all_inner_texts())
    return {name: float(value) for name, value in pairs}


def is_quiet(page):
    until(page, "() => document.querySelector('.why')?.ariaBusy !== 'true'")


def choose(page, control, value):
    page.select_option(control, value)
    until(page, "() => document.getElementById('results').ariaBusy !== 'true'")
    is_quiet(page)


def test_another_head_tells_the_open_video_anew(found, address):
    video = open_first(found)
    choose(found, "#head", "mean")
    assert badge(found).startswith(f"number {ranked(address, 'mean')[video]},")
    why = asked_of_api(address, f"videos/{video}/explain", q="a red star", head="mean")
    shown = parts_shown(found)
    assert shown["score"] == pytest.approx(sum(why["parts"].values()), abs=1e-3)
    assert "words" not in shown
    assert "whole sentences" in found.locator(".why").inner_text()


def test_the_open_video_follows_the_slider_at_once_and_then_exactly(found, address):
    video = open_first(found)
    heard = parts_shown(found)
    sent = len(found.watch.asked)
    found.evaluate(
        "() => { const one = document.getElementById('sound'); one.value = 0;"
        " one.dispatchEvent(new Event('input')); }"
    )
    assert [url for url in found.watch.asked[sent:] if "/explain" in url] == []
    mute = parts_shown(found)
    assert (mute["sound"], mute["look"]) == (0, heard["look"])
    assert found.locator(".audio-share").inner_text().endswith("0 %")
    with found.expect_response(re.compile("explain.*audio_weight=0")):
        found.dispatch_event("#sound", "change")
    is_quiet(found)
    assert badge(found).startswith(f"number {ranked(address, 'run', audio_weight=0)[video]},")
    assert parts_shown(found) == mute


def test_what_the_filters_leave_out_is_closed(found):
    open_first(found)
    found.fill("#where", "**/53?.mp4")
    found.press("#where", "Enter")
    until(found, "() => document.getElementById('detail').hidden")
    until(found, "() => document.getElementById('live').textContent.includes('not among these')")
    assert "video=" not in found.evaluate("location.hash")


def test_a_neighbour_that_is_not_listed_stays_open_and_is_told_anew(found):
    found.fill("#where", "**/plain.mp4")
    found.press("#where", "Enter")
    until(found, "() => document.querySelectorAll('.card .open').length === 1")
    open_first(found)
    found.locator(".near-list button").first.click()
    until(found, "() => document.querySelector('#detail h2').textContent !== 'plain.mp4'")
    found.wait_for_selector(".grid")
    name = found.locator("#detail h2").inner_text()
    choose(found, "#head", "mean")
    assert found.locator("#detail h2").inner_text() == name
    assert "words" not in parts_shown(found)


def test_compare_explains_with_the_head_of_the_column(found, open_page):
    found.check("#compare")
    found.wait_for_selector(".compared")
    row = found.locator(".column.second .row").nth(2)
    with found.expect_request(re.compile("/explain")) as told:
        row.locator(".open").click()
    assert parse_qs(urlsplit(told.value.url).query)["head"] == ["mean"]
    found.wait_for_selector(".grid")
    assert badge(found).startswith("number 3 by mean,")
    assert "words" not in parts_shown(found)
    assert found.locator("[aria-current]").get_attribute("data-side") == "1"
    again = open_page(found.evaluate("location.pathname + location.hash"), wait=".grid")
    assert badge(again).startswith("number 3 by mean,")
    found.uncheck("#compare")
    until(found, "() => !document.querySelector('.compared')")
    is_quiet(found)
    assert " by " not in badge(found)
    assert "words" in parts_shown(found)


def test_what_is_half_typed_is_not_asked(found):
    found.fill("#query", "a blue cr")
    sent = len(found.watch.asked)
    with found.expect_request(re.compile("/api/search.*only_with_sound")):
        found.check("#only-sound")
    found.fill("#where", "**/1?.mp4")
    with found.expect_request(re.compile("/api/search.*where")):
        found.press("#where", "Enter")
    asked = [url for url in found.watch.asked[sent:] if "/api/search" in url]
    assert {parse_qs(urlsplit(url).query)["q"][0] for url in asked} == {"a red star"}
    until(found, "() => document.getElementById('results').ariaBusy !== 'true'")
    assert found.input_value("#query") == "a blue cr"
    assert "q=a+red+star" in found.evaluate("location.hash")


def test_back_goes_to_the_question_before(found):
    first = ids(found)
    look_for(found, "a blue cross")
    found.select_option("#head", "mean")  # no question of its own
    until(found, "() => location.hash.includes('head=mean')")
    found.go_back()
    until(found, "() => document.getElementById('query').value === 'a red star'")
    until(found, "() => document.querySelector('.list-head')")
    assert found.input_value("#head") == "run"
    found.locator(".fold").click()
    assert ids(found) == first
    found.go_back()
    found.wait_for_selector(".welcome")
    assert found.input_value("#query") == ""
    found.go_forward()
    found.wait_for_selector(".list-head")
    assert found.input_value("#query") == "a red star"


def test_a_link_in_an_open_tab_says_all_that_counts(found):
    found.select_option("#head", "mean")
    found.fill("#where", "**/1?.mp4")
    found.check("#compare")
    found.wait_for_selector(".compared")
    found.evaluate("() => { location.hash = '#q=a+blue+cross'; }")
    until(found, "() => document.getElementById('query').value === 'a blue cross'")
    found.wait_for_selector(".list-head")
    assert found.input_value("#head") == "run"
    assert found.input_value("#where") == ""
    assert not found.is_checked("#compare")
    assert found.locator(".compared").count() == 0
