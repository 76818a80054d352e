"""Names that are alike or long, what could not be saved, and how sure a hit is: all can be read."""

import csv
import json

import pytest
from making.browsing import look_for, open_named, shoot, until

LONG = "a name without an end " * 9 + ".mp4"


def change_hits(page, change):
    """Let the server find something else than it did."""

    def answer(route):
        response = route.fetch()
        told = response.json()
        change(told["hits"])
        route.fulfill(response=response, body=json.dumps(told))

    page.route("**/api/search?*", answer)


def twins(hits):
    """Two files of one name."""
    hits[0] |= {"name": "IMG_1.mp4", "path": "trips/2023/IMG_1.mp4"}
    hits[1] |= {"name": "IMG_1.mp4", "path": "trips/2024/IMG_1.mp4"}


def inside(page, inner, outer):
    """Whether every element of a kind lies wholly within another that holds it."""
    return page.evaluate(
        "([inner, outer]) => [...document.querySelectorAll(inner)].every(one => {"
        " const [a, b] = [one, one.closest(outer)].map(one => one.getBoundingClientRect());"
        " return a.width > 0 && a.left >= b.left - 1 && a.right <= b.right + 1"
        "  && a.top >= b.top - 1 && a.bottom <= b.bottom + 1"
        "  && one.scrollWidth <= one.clientWidth + 1; })",
        [inner, outer],
    )


def test_two_files_of_one_name_are_told_apart_everywhere(open_page):
    page = open_page()
    change_hits(page, twins)
    look_for(page, "a red star")
    cards = [one.inner_text() for one in page.locator(".card .open").all()[:3]]
    assert cards[0].split("\n") == ["IMG_1.mp4", "in trips/2023"]
    assert cards[1].split("\n") == ["IMG_1.mp4", "in trips/2024"]
    assert "in " not in cards[2]
    assert page.locator(".card .open").first.get_attribute("title") == "trips/2023/IMG_1.mp4"
    assert "in trips/2023" in page.locator(".card .open").first.get_attribute("aria-label")
    shoot(page, "twins")
    page.get_by_role("button", name="Show as table").click()
    assert "in trips/2024" in page.locator(".plain .open").nth(1).inner_text()
    page.check("#compare")
    page.wait_for_selector(".compared")
    assert "in trips/2023" in page.locator(".column.first .open").first.inner_text()
    shoot(page, "twins-compared")


def test_a_long_name_leaves_room_for_all_columns(open_page):
    page = open_page()
    change_hits(page, lambda hits: hits[1].update(name=LONG, path=f"clips/{LONG}"))
    look_for(page, "a red star")
    page.get_by_role("button", name="Show as table").click()
    page.wait_for_selector(".plain")
    shoot(page, "long-name")
    for region in page.locator(".results .scroll").all():
        assert region.evaluate("one => one.scrollWidth <= one.clientWidth + 1")


@pytest.mark.parametrize(("width", "detailed"), [(1600, True), (1100, True), (360, False)])
def test_compare_shows_how_sure_a_hit_is_at_every_width(open_page, width, detailed):
    page = open_page(viewport={"width": width, "height": 900})
    if width == 360:
        page.click("#options")
    look_for(page, "a red star")
    page.check("#compare")
    page.wait_for_selector(".compared")
    if detailed:
        page.locator(".row .open").first.click()
        page.wait_for_selector(".grid")
    shoot(page, f"compare-sure-{width}")
    assert inside(page, ".row .sure", ".row")
    assert inside(page, ".row .when", ".row")
    assert inside(page, ".row .change", ".row")
    names = page.locator(".row .open").evaluate_all("all => all.map(one => one.clientWidth)")
    assert min(names) >= 80


def test_what_cannot_be_saved_is_told_in_a_sentence(open_page, world):
    page = open_page()
    look_for(page, "a red star")
    place, aside = world.file(9), world.root / "aside.mp4"
    open_named(page, place.name)
    until(page, "() => document.querySelector('video')?.readyState >= 2")
    place.rename(aside)
    try:
        for name in ("Save clip", "Save file"):
            page.locator("#detail").get_by_role("link", name=name).click()
            page.wait_for_selector(".detail-head > .trouble")
            told = page.locator(".detail-head > .trouble").inner_text()
            assert told.startswith("This video is no longer on the disk")
        page.locator(".card a", has_text="Clip").click()
        page.wait_for_selector(".facts > .trouble")
        shoot(page, "not-saved")
    finally:
        aside.rename(place)
    with page.expect_download() as download:
        page.locator("#detail").get_by_role("link", name="Save clip").click()
    assert download.value.suggested_filename == f"{place.stem}-0s.mp4"
    assert page.locator(".detail-head > .trouble").count() == 0
    with page.expect_download() as download:
        page.locator("#detail").get_by_role("link", name="Save file").click()
    assert download.value.path().read_bytes() == place.read_bytes()


def test_a_sheet_runs_no_name_and_every_path_leads_to_its_file(open_page):
    page = open_page()
    names = ("=SUM(1).mp4", "-dash.mp4", "plain.mp4")
    change_hits(page, lambda hits: [hits[n].update(path=name) for n, name in enumerate(names)])
    look_for(page, "a red star")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save list").click()
    rows = list(csv.DictReader(download.value.path().read_text("utf-8").splitlines()))
    assert [row["path"] for row in rows[:3]] == ["./=SUM(1).mp4", "./-dash.mp4", "plain.mp4"]


def test_where_nothing_is_likely_the_closest_are_seen_at_once(page):
    page.fill("#query", "x")
    page.press("#query", "Enter")
    page.wait_for_selector(".closest .card")
    assert page.locator(".closest .card").count() == 5
    assert "come closest" in page.locator(".nothing").inner_text()
    assert "535 more" in page.locator(".fold").inner_text()


def test_what_was_cut_is_told_beside_the_question(page):
    look_for(page, "red star " * 200)
    assert page.locator("form #cut").is_visible()
    shoot(page, "cut")
    look_for(page, "a red star")
    assert page.locator("#cut").inner_text() == ""


def test_a_number_that_rounds_to_nothing_has_no_sign(open_page):
    page = open_page()
    change_hits(page, lambda hits: hits[0]["parts"].update(audio=-0.00001))
    look_for(page, "a red star")
    page.get_by_role("button", name="Show as table").click()
    assert "-0.0000" not in page.locator(".plain").first.inner_text()


def test_a_clip_without_sound_is_not_praised_for_its_sound(open_page):
    page = open_page()

    def lift(hits):
        hits[0] |= {"sound": "silent", "rank_without_sound": 9}

    change_hits(page, lift)
    look_for(page, "a red star")
    assert page.locator(".card .badge").all_inner_texts()[:2] == [
        "silent",
        "lifted for want of sound",
    ]
    page.unroute("**/api/search?*")
    look_for(page, "a blue cross")
    page.locator(".card:has(.badge.mute) .open").first.click()
    page.wait_for_selector(".stand-in")
    assert "puts in the place of a missing one" in page.locator(".stand-in").inner_text()
    open_named(page, "plain.mp4")
    assert not page.locator(".stand-in").count()
