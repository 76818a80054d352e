"""Ground truth in Compare: the right video of a caption, marked, however far down it stands."""

import json
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from making.browsing import look_for, serious, shoot, until
from making.served import LOST


def ranks_of(address, text, **parameters):
    """Where the right video stands by either head, as a search for all of them has it."""
    ranks = []
    for head in ("run", "mean"):
        query = urlencode({"q": text, "head": head, "top": 1000} | parameters)
        with urlopen(f"{address}/api/search?{query}") as response:
            hits = json.load(response)["hits"]
        ranks += [hit["rank"] for hit in hits if hit["name"] == "539.mp4"]
    return ranks


def compare(page, text):
    look_for(page, text)
    page.check("#compare")
    page.wait_for_selector(".compared")
    page.check("#truth")
    page.wait_for_selector(".truth")


def test_the_right_video_is_shown_with_its_rank_though_it_is_no_hit(page, address):
    compare(page, LOST)
    ranks = ranks_of(address, LOST)
    assert max(ranks) > 20, "it is among the hits: this shows nothing"
    for side, rank in zip(("first", "second"), ranks, strict=True):
        (row,) = page.locator(f".column.{side} .row.right").all()
        assert row.locator(".open").inner_text() == "539.mp4"
        assert row.locator(".rank").inner_text() == str(rank)
        assert row.locator(".badge.known").inner_text() == "✓ right"
        assert ("far" in row.get_attribute("class").split()) is (rank > 20)
    told = page.locator(".truth").inner_text()
    assert f"539.mp4 is number {ranks[0]} by run, number {ranks[1]} by mean." in told
    assert "among 540 videos" in told
    assert told in page.locator("#live").inner_text()
    page.locator(".column.second .row.right .open").click()
    page.wait_for_selector(".grid")
    assert page.locator("#detail h2").inner_text() == "539.mp4"


def test_the_right_video_is_marked_among_the_hits(page):
    compare(page, "A  red STAR")
    for side in ("first", "second"):
        (row,) = page.locator(f".column.{side} .row.right:not(.far)").all()
        assert row.locator(".open").inner_text() == "plain.mp4"
    assert page.locator(".thread.known").count() == 1


def test_filters_count_and_may_leave_it_out(page, address):
    compare(page, LOST)
    page.fill("#where", "**/5*.mp4")
    page.press("#where", "Enter")
    until(page, "() => /by run/.test(document.querySelector('.truth')?.textContent)"
                " && !/540 videos/.test(document.querySelector('.truth').textContent)")  # fmt: skip
    ranks = ranks_of(address, LOST, where="**/5*.mp4")
    assert f"number {ranks[0]} by run" in page.locator(".truth").inner_text()
    page.fill("#where", "**/4*.mp4")
    page.press("#where", "Enter")
    until(page, "() => /leave it out/.test(document.querySelector('.truth')?.textContent)")
    assert page.locator(".row.right").count() == 0


def test_what_is_no_caption_is_told_and_captions_can_be_chosen(page, world):
    compare(page, "nothing of the kind")
    assert "no caption" in page.locator(".truth").inner_text()
    assert page.locator(".row.right").count() == 0
    shoot(page, "truth-none")
    chip = page.locator(".truth .chip").first
    text = chip.inner_text()
    assert text in world.sentences
    chip.click()
    page.wait_for_selector(".row.right")
    assert page.input_value("#query") == text


def test_by_keyboard_and_from_a_link(page, open_page):
    look_for(page, "a red star")
    page.locator("#query").evaluate("box => box.blur()")
    page.keyboard.press("g")  # alone it does nothing
    page.keyboard.press("c")
    page.wait_for_selector(".compared")
    assert page.locator(".truth").count() == 0
    assert "null" not in page.locator("#results").inner_text()
    page.keyboard.press("g")
    page.wait_for_selector(".row.right")
    again = open_page(page.evaluate("location.pathname + location.hash"), wait=".row.right")
    assert again.is_checked("#truth")
    again.uncheck("#truth")
    until(again, "() => !document.querySelector('.truth')")
    again.uncheck("#compare")
    until(again, "() => !document.querySelector('.compared')")
    assert again.locator("#truth-choice").is_hidden()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1360), ("dark", 1360), ("light", 360)])
def test_everybody_can_read_it(open_page, scheme, width):
    viewport = {"width": width, "height": 900}
    page = open_page(color_scheme=scheme, bypass_csp=True, viewport=viewport)
    if width == 360:
        page.click("#options")
    compare(page, LOST)
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shoot(page, f"truth-{scheme}-{width}")
    page.locator(".row.far").last.scroll_into_view_if_needed()
    shoot(page, f"truth-far-{scheme}-{width}")
