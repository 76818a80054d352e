import csv
import json
import re
from urllib.request import urlopen

import pytest
from making.browsing import current_time, ids, look_for, narrow, open_named, until
from making.served import NAMES, serving


def asked_of_api(address, **parameters):
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    with urlopen(f"{address}/api/search?{query}") as response:
        return json.load(response)


def test_the_first_paint_waits_for_no_answer(chromium, address):
    """How soon that is depends on the machine; that nothing is asked before does not."""
    context = chromium.new_context()
    page, held = context.new_page(), []
    page.route("**/api/**", lambda route: held.append(route))
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_selector("#query")
    until(page, "() => performance.getEntriesByName('first-contentful-paint').length === 1")
    assert held
    context.close()


def test_a_search_by_keyboard_alone(page):
    page.keyboard.press("/")
    page.keyboard.type("a red star")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card .open")
    until(page, "() => document.activeElement.matches('.card .open')")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.dataset.video") == ids(page)[1]
    page.keyboard.press("k")
    page.keyboard.press("o")
    page.wait_for_selector(".grid")
    until(page, "document.querySelector('video')?.readyState >= 2")
    before = current_time(page)
    page.keyboard.press(".")
    until(page, "t => document.querySelector('video').currentTime > t", arg=before)
    page.keyboard.press(".")
    until(page, "t => document.querySelector('video').currentTime > t + 0.9", arg=before)
    after = current_time(page)
    page.keyboard.press(",")
    until(page, "t => document.querySelector('video').currentTime < t", arg=after)
    page.keyboard.press(" ")
    until(page, "!document.querySelector('video').paused")
    page.keyboard.press(" ")
    until(page, "document.querySelector('video').paused")
    page.keyboard.press("Escape")
    assert page.locator("#detail").is_hidden()
    assert page.evaluate("document.activeElement.dataset.video") == ids(page)[0]
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.wait_for_selector(".compared")


def test_e_saves_the_moment_as_a_clip(found):
    found.locator(".card .open").first.click()
    found.wait_for_selector(".grid")
    with found.expect_download() as download:
        found.keyboard.press("e")
    assert download.value.suggested_filename.endswith(".mp4")
    assert download.value.path().stat().st_size > 1000


def test_the_whole_list_is_saved_as_csv(found):
    with found.expect_download() as download:
        found.get_by_role("button", name="Save list").click()
    saved = download.value.path().read_text("utf-8")
    rows = list(csv.DictReader(saved.splitlines()))
    assert [int(row["rank"]) for row in rows] == list(range(1, 501))
    assert float(rows[0]["score"]) == pytest.approx(
        sum(float(rows[0][part]) for part in ("sentence", "words", "audio"))
    )


def test_what_was_asked_before_comes_back_with_the_up_key(found):
    look_for(found, "a blue cross")
    found.focus("#query")
    found.fill("#query", "")
    found.keyboard.press("ArrowUp")
    assert found.input_value("#query") == "a blue cross"
    found.keyboard.press("ArrowUp")
    assert found.input_value("#query") == "a red star"
    found.keyboard.press("ArrowDown")
    found.keyboard.press("ArrowDown")
    assert found.input_value("#query") == ""


def test_hits_come_in_the_order_of_the_api(found, address):
    """The API's own test holds it against the searcher and `search --json`."""
    hits = asked_of_api(address, q="a+red+star", top=500)["hits"]
    assert ids(found)[:20] == [hit["id"] for hit in hits][:20]


def test_the_bars_of_a_card_add_up_to_its_score(found, address):
    hits = asked_of_api(address, q="a+red+star", top=500)["hits"]
    for place in range(5):
        card = found.locator(".card").nth(place)
        values = card.locator(".part").evaluate_all(
            "all => all.map(one =>"
            " [Number(one.dataset.value), parseFloat(one.getAttribute('width'))])"
        )
        assert sum(value for value, _ in values) == pytest.approx(hits[place]["score"], abs=1e-6)
        lengths = [length / abs(value) for value, length in values if abs(value) > 1e-3]
        assert max(lengths) == pytest.approx(min(lengths), rel=0.01)


def test_a_cell_of_the_grid_takes_the_player_to_its_frame(found):
    open_named(found, "plain.mp4")
    until(found, "document.querySelector('video')?.readyState >= 2")
    half_step = 0.5
    for frame in (3, 0, 2):
        cell = found.locator(f"button.cell[data-row='2'][data-frame='{frame}']")
        cell.click()
        until(
            found,
            "t => Math.abs(document.querySelector('video').currentTime - t) < 0.25",
            arg=frame + 0.5,
        )
        assert abs(current_time(found) - (frame + 0.5)) < half_step
    found.wait_for_selector("th[data-frame='2'].now")


def test_the_grid_is_one_tab_stop_with_arrow_keys(found):
    open_named(found, "plain.mp4")
    assert found.locator("button.cell[tabindex='0']").count() == 1
    found.locator("button.cell").first.focus()
    found.keyboard.press("ArrowRight")
    found.keyboard.press("ArrowDown")
    assert found.evaluate(
        "[document.activeElement.dataset.row, document.activeElement.dataset.frame]"
    ) == ["1", "1"]


@pytest.mark.parametrize("name", [NAMES[0], NAMES[1]])
def test_a_file_that_browsers_know_plays_as_it_is(found, name):
    open_named(found, name)
    until(found, "document.querySelector('video')?.readyState >= 2")
    assert found.evaluate("document.querySelector('video').videoWidth") > 0
    assert "/preview/" not in found.evaluate("document.querySelector('video').src")
    assert found.evaluate("document.querySelector('video').muted")
    answers = [url for url in found.watch.asked if url.endswith("/media")]
    assert answers


@pytest.mark.parametrize("name", [NAMES[2], NAMES[3]])
def test_other_files_play_after_a_visible_preparing(open_page, world, name):
    for old in (world.work / "previews").glob("*.mp4"):
        old.unlink()  # of another test
    page = open_page()
    look_for(page, "a red star")
    page.evaluate(
        "() => { window.seen = []; new MutationObserver(() => {"
        " const one = document.querySelector('.preparing');"
        " if (one) window.seen.push(one.textContent);"
        " }).observe(document.getElementById('detail'), { childList: true, subtree: true }); }"
    )
    open_named(page, name)
    until(page, "document.querySelector('video')?.readyState >= 2")
    assert page.evaluate("document.querySelector('video').videoWidth") > 0
    assert "/preview/media" in page.evaluate("document.querySelector('video').src")
    assert any("Preparing a preview" in text for text in page.evaluate("window.seen"))
    page.evaluate("document.querySelector('video').currentTime = 2")
    until(page, "Math.abs(document.querySelector('video').currentTime - 2) < 0.2")


def test_the_player_shows_what_matched_and_plays_from_where_it_begins(found):
    open_named(found, NAMES[1])  # shows its sentence in its second frame
    until(found, "() => document.querySelector('video')?.readyState >= 2")
    hit_peak = found.locator(".moment").inner_text()
    minutes, seconds = hit_peak.split(":")
    peak = 60 * int(minutes) + float(seconds)
    until(found, "t => Math.abs(document.querySelector('video').currentTime - t) < 0.1", arg=peak)
    assert found.evaluate("document.querySelector('video').paused")
    found.evaluate(
        "() => { window.went = []; const one = document.querySelector('video');"
        " one.addEventListener('seeked', () => window.went.push(one.currentTime)); }"
    )
    found.keyboard.press(" ")
    until(found, "t => window.went.some(one => one < t - 0.2)", arg=peak)


def test_the_player_asks_for_ranges(found):
    with found.expect_response(lambda one: one.url.endswith("/media")) as told:
        open_named(found, "plain.mp4")
    assert told.value.status == 206


def test_the_sound_slider_ranks_again_without_asking(found, address):
    before = ids(found)
    sent = len(found.watch.asked)
    found.evaluate(
        "() => { const one = document.getElementById('sound'); one.value = 0;"
        " one.dispatchEvent(new Event('input')); }"
    )
    during = ids(found)
    new = [url for url in found.watch.asked[sent:] if "/thumb" not in url]
    assert new == []
    assert during != before
    exact = asked_of_api(address, q="a+red+star", top=500, audio_weight=0)["hits"]
    near = [hit["id"] for hit in exact]
    assert during[:10] == near[:10]
    with found.expect_response(re.compile("audio_weight=0")):
        found.dispatch_event("#sound", "change")
    until(found, "document.getElementById('results').ariaBusy !== 'true'")
    assert ids(found)[:20] == near[:20]


def test_two_heads_stand_side_by_side(found, address):
    found.check("#compare")
    found.wait_for_selector(".compared")
    left, right = (
        [hit["id"] for hit in asked_of_api(address, q="a+red+star", top=500, head=head)["hits"]]
        for head in ("run", "mean")
    )
    rows = found.locator(".column.first .row")
    assert rows.count() == 20
    moved = right.index(left[0]) + 1 - 1
    shown = rows.first.locator(".change").inner_text()
    assert shown.split(".")[0].split("\n")[0].strip() == ("same" if moved == 0 else f"▲ {moved}")
    agreed = len(set(left[:10]) & set(right[:10])) / 10
    assert f"overlap@10 {agreed:.2f}" in found.locator(".agree").inner_text()
    lines = found.locator(".thread").count()
    assert lines == len(set(left[:20]) & set(right[:20]))


def test_five_hundred_results_stay_below_sixty_cards(found):
    assert found.locator(".card").count() <= 50
    last = found.locator("nav.pager span").last.inner_text()
    assert last.startswith("1 to 25 of ")
    before = ids(found)
    found.locator("nav.pager button", has_text="Next").last.click()
    assert ids(found) != before
    assert found.locator(".card").count() < 60
    assert found.evaluate("document.querySelectorAll('*').length") < 3000


def test_names_are_text_whatever_they_hold(open_page):
    page = open_page()
    page.on("dialog", lambda _: pytest.fail("a name ran as script"))
    look_for(page, "<b>bold</b>")
    open_named(page, NAMES[4])
    assert page.locator("#detail h2").inner_text() == NAMES[4]
    assert page.locator("#results img[src='x']").count() == 0
    narrow(page, "*DROP*")
    assert page.locator(".card .open").inner_text() == NAMES[5]
    assert page.watch.said == []


def test_a_query_that_is_too_long_says_what_was_read(page):
    look_for(page, "red star " * 200)
    assert "Cut after 77 tokens" in page.locator("#cut").inner_text()
    assert "Read as" in page.locator("#read").inner_text()


def test_a_video_that_went_is_told_of(open_page, world):
    page = open_page()
    look_for(page, "a red star")
    place, aside = world.file(7), world.root / "aside.mp4"
    place.rename(aside)
    try:
        narrow(page, place.name)
        page.locator(".card .open").click()
        page.wait_for_selector(".trouble.gone")
        assert "no longer on the disk" in page.locator(".trouble.gone").first.inner_text()
    finally:
        aside.rename(place)


def test_a_link_brings_everything_back(found, open_page):
    open_named(found, "plain.mp4")
    link = found.evaluate("location.pathname + location.hash")
    again = open_page(link, wait=".grid")
    assert again.input_value("#query") == "a red star"
    assert again.locator("#detail h2").inner_text() == "plain.mp4"


def test_no_filter_is_passed_by_nothing(found):
    found.fill("#where", "**/nowhere-*")
    found.press("#where", "Enter")
    found.wait_for_selector(".nothing")
    assert "No video passes" in found.locator(".nothing").inner_text()


def test_with_a_token_a_browser_signs_in_once(chromium, world):
    token = "token-for-the-browser"
    with serving(world, token=token, heads=("run",)) as address:
        context = chromium.new_context()
        page = context.new_page()
        assert page.goto(address).status == 401
        page.fill("#token", token)
        page.keyboard.press("Enter")
        page.wait_for_selector(".chip")
        assert token not in page.url
        context.close()
