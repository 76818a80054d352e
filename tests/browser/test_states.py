"""Every state of the page: usable by everybody, and kept as a picture to be looked at."""

import contextlib
import threading

import pytest
from making.browsing import look_for, narrow, open_named, serious, shoot, until
from making.served import NAMES, World, make_world, serving

from vidret.data.errors import MismatchError
from vidret.pipelines import serve
from vidret.pipelines.display.progress import Progress
from vidret.pipelines.serving import opening


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_any_state(open_page, scheme):
    """The policy of the page lets no script in but its own; for axe alone it is set aside."""
    page = open_page(color_scheme=scheme, bypass_csp=True)
    assert serious(page) == []
    shoot(page, f"welcome-{scheme}")
    look_for(page, "a red star")
    assert serious(page) == []
    shoot(page, f"results-{scheme}")
    page.locator(".card .open").first.click()
    page.wait_for_selector(".grid")
    until(page, "() => document.querySelector('video')?.readyState >= 2")
    page.wait_for_selector(".near-list")
    assert serious(page) == []
    shoot(page, f"detail-{scheme}")
    page.locator(".why .quiet-button").click()
    page.locator(".results .list-head .quiet-button").first.click()
    assert serious(page) == []
    shoot(page, f"tables-{scheme}")
    page.keyboard.press("Escape")
    page.check("#compare")
    page.wait_for_selector(".compared")
    assert serious(page) == []
    shoot(page, f"compare-{scheme}")
    page.keyboard.press("?")
    assert serious(page) == []
    shoot(page, f"keys-{scheme}")


@pytest.mark.parametrize(("width", "height"), [(360, 740), (680, 450), (1024, 700), (2400, 1200)])
def test_nothing_is_cut_off_at_any_width(open_page, width, height):
    """680 x 450 is what 1360 x 900 leaves at 200 % zoom."""
    page = open_page(viewport={"width": width, "height": height})
    look_for(page, "a red star")
    page.locator(".card .open").first.click()
    page.wait_for_selector(".grid")
    until(page, "() => document.querySelector('video')?.readyState >= 2")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shoot(page, f"detail-{width}")


def test_no_state_is_too_wide_for_a_phone(open_page):
    page = open_page(color_scheme="dark", viewport={"width": 360, "height": 740})

    def fits(name):
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
        shoot(page, f"narrow-{name}")

    fits("welcome")
    page.click("#options")
    fits("options")
    page.click("#options")
    look_for(page, "a red star")
    fits("results")
    page.locator(".results .list-head .quiet-button").first.click()
    page.wait_for_selector(".plain")
    fits("tables")
    page.locator(".results .list-head .quiet-button").first.click()
    page.locator(".card .open").first.click()
    page.wait_for_selector(".grid")
    page.locator(".why").scroll_into_view_if_needed()
    until(page, "() => [...document.querySelectorAll('.grid img')].every(one => one.complete)")
    fits("why")
    page.locator(".why .quiet-button").click()
    fits("why-tables")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.wait_for_selector(".compared")
    fits("compare")
    page.evaluate("document.getElementById('keys').showModal()")
    fits("keys")


def test_who_wants_no_motion_gets_none(open_page):
    page = open_page(reduced_motion="reduce")
    moving = page.evaluate(
        "[...document.querySelectorAll('*')].filter(one => {"
        " const style = getComputedStyle(one);"
        " return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0;"
        " }).length"
    )
    assert moving == 0


def test_numbers_of_results_are_told_aloud(open_page):
    page = open_page()
    look_for(page, "a red star")
    until(
        page, "() => /\\d+ matches?, \\d+ weaker/.test(document.getElementById('live').textContent)"
    )
    assert page.get_attribute("#live", "aria-live") == "polite"


def test_the_list_is_one_tab_stop(open_page):
    page = open_page()
    look_for(page, "a red star")
    assert page.locator(".cards .open[tabindex='0']").count() == 1
    stops = (
        page.locator(".cards")
        .locator("a, button")
        .evaluate_all("all => all.filter(one => one.tabIndex === 0).length")
    )
    assert stops == 1


def test_where_nothing_is_likely_the_weaker_ones_are_kept(open_page):
    page = open_page()
    page.fill("#query", "x")
    page.press("#query", "Enter")
    page.wait_for_selector(".fold")
    shoot(page, "weaker")
    assert "Weaker matches" in page.locator(".fold").inner_text()


def test_a_preview_that_is_being_prepared_is_seen(open_page, world, monkeypatch):
    from vidret.pipelines.serving import previews

    let_go = threading.Event()
    usual = previews.write_playable

    def slow(source, out, **options):
        options["on_second"](1.0)
        let_go.wait(20)
        usual(source, out, **options)

    monkeypatch.setattr(previews, "write_playable", slow)
    once_more = World(work=world.work, root=world.root, sentences=world.sentences)
    for old in (world.work / "previews").glob("*"):
        old.unlink()
    with serving(once_more, heads=("mean",)) as address:
        page = open_page(at=address)
        look_for(page, "a red star")
        open_named(page, NAMES[2])
        page.wait_for_selector(".preparing progress")
        shoot(page, "preparing")
        let_go.set()
        until(page, "() => document.querySelector('video')?.videoWidth > 0")


def test_while_the_index_is_made_the_page_counts_and_then_opens(open_page, world, monkeypatch):
    from vidret.pipelines import serve

    let_go = threading.Event()
    usual = serve.searching

    def slow(**options):
        options["on_progress"](Progress(done=120, failed=2, total=540))
        let_go.wait(20)
        return usual(**options)

    monkeypatch.setattr(serve, "searching", slow)
    with serving(world, heads=("mean",)) as address:
        page = open_page(at=address, wait=".building")
        until(page, "() => document.body.textContent.includes('122 of 540 videos')")
        shoot(page, "building")
        let_go.set()
        page.wait_for_selector(".chip")


def test_what_is_asked_before_the_server_can_answer_is_answered(open_page, world, monkeypatch):
    let_go, usual = threading.Event(), serve.searching

    def slow(**options):
        let_go.wait(20)
        return usual(**options)

    monkeypatch.setattr(serve, "searching", slow)
    with serving(world, heads=("mean",)) as address:
        page = open_page("/#q=other+words&where=**/5*.mp4", at=address, wait="body")
        page.evaluate(  # a box that is not yet disabled, as in the first moment
            "() => { const box = document.getElementById('query'); box.value = 'a red star';"
            " box.dispatchEvent(new Event('input')); box.form.requestSubmit(); }"
        )
        let_go.set()
        page.wait_for_selector(".list-head")
        assert page.input_value("#query") == "a red star"
        assert page.input_value("#where") == "**/5*.mp4"
        assert "q=a+red+star" in page.evaluate("location.hash")


def test_a_question_at_once_is_not_lost(open_page):
    """The box takes words before the server has said how it stands."""
    page = open_page(wait="body")
    page.fill("#query", "a red star")
    page.press("#query", "Enter")
    page.wait_for_selector(".list-head")
    assert page.input_value("#query") == "a red star"


@pytest.mark.parametrize("sends", [True, False])
def test_what_is_typed_before_the_script_runs_is_kept(open_page, address, sends):
    page, held = open_page(), []

    def hold(route):
        held.append(route)

    page.route("**/main.js", hold)
    page.goto("about:blank")
    page.goto(f"{address}/", wait_until="commit")
    page.fill("#query", "a red star")
    if sends:
        page.press("#query", "Enter")
        page.wait_for_url("**/?q=*", wait_until="commit")
    while not held:
        page.wait_for_timeout(20)
    page.unroute("**/main.js")
    for route in held:
        with contextlib.suppress(Exception):  # the first was left with its page
            route.continue_()
    page.wait_for_selector(".list-head" if sends else ".chip")
    assert page.input_value("#query") == "a red star"
    assert page.evaluate("location.search") == ""
    assert ("q=a+red+star" in page.evaluate("location.hash")) is sends


def test_what_is_being_typed_at_first_stays(open_page):
    page = open_page("/#q=a+red+star", wait="body")
    page.evaluate(
        "() => { const box = document.getElementById('query'); box.value = 'a blue';"
        " box.dispatchEvent(new Event('input')); }"
    )
    page.wait_for_selector(".card, .chip")
    assert page.input_value("#query") == "a blue"


def test_it_is_said_where_all_videos_are_gone_until_they_are_back(open_page, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "STATUS_SECONDS", 0.5)
    few = make_world(tmp_path, videos=3, train=False)
    with serving(few, heads=("mean",)) as address:
        few.root.rename(tmp_path / "unplugged")
        page = open_page(at=address)
        page.wait_for_selector(".banner.bad:not([hidden])")
        assert "None of these videos is on the disk" in page.locator("#banner").inner_text()
        look_for(page, "a red star")
        assert page.locator("#banner").is_visible()
        assert "index update" not in page.locator("#status").inner_text()
        page.locator(".card .open").first.click()
        page.wait_for_selector(".trouble.gone")
        shoot(page, "all-gone")
        (tmp_path / "unplugged").rename(few.root)
        monkeypatch.setattr(opening, "STATUS_SECONDS", 0.0)
        until(  # the page looks again when somebody comes back to it
            page,
            "() => { document.dispatchEvent(new Event('visibilitychange'));"
            " return document.getElementById('banner').hidden; }",
        )
        until(page, "() => document.querySelector('video')?.videoWidth > 0")
        assert page.locator(".no-picture").count() == 0


def test_what_does_not_fit_is_refused_in_red(open_page, world, monkeypatch):
    from vidret.pipelines.searching.searcher import Searcher

    words = "the cache was made with frames=4, but the run wants frames=12"

    def refresh(_):
        raise MismatchError(words)

    with serving(world, heads=("mean",)) as address:
        page = open_page(at=address)
        monkeypatch.setattr(Searcher, "refresh", refresh)
        monkeypatch.setattr(opening, "REFRESH_SECONDS", 0.0)
        page.fill("#query", "a red star")
        page.press("#query", "Enter")
        page.wait_for_selector(".banner.bad:not([hidden])")
        assert words in page.locator("#banner").inner_text()
        shoot(page, "refused")


def test_a_video_that_is_gone_is_kept_as_a_picture(open_page, world):
    page = open_page()
    look_for(page, "a red star")
    place, aside = world.file(8), world.root / "aside.mp4"
    place.rename(aside)
    try:
        narrow(page, place.name)
        page.locator(".card .open").click()
        page.wait_for_selector(".trouble.gone")
        page.wait_for_selector(".grid")
        assert page.locator("#save-clip").is_hidden()
        shoot(page, "gone")
    finally:
        aside.rename(place)
