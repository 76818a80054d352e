"""What somebody does on the page, and waits for."""

import time
from pathlib import Path

SHOTS = Path(__file__).parents[2] / "build" / "screenshots"
SECONDS = 15.0


def until(page, expression, arg=None):
    """Wait until JavaScript is true; Playwright's own way needs eval, which the page forbids."""
    ends = time.monotonic() + SECONDS
    while not page.evaluate(expression, arg):
        assert time.monotonic() < ends, f"never came true: {expression}"
        page.wait_for_timeout(30)


def look_for(page, text):
    """Ask, and unfold the weaker matches."""
    page.fill("#query", text)
    page.press("#query", "Enter")
    until(page, "() => Boolean(document.querySelector('.list-head, .nothing'))")
    page.wait_for_selector(".list-head")
    if page.locator(".fold[aria-expanded=false]").count():
        page.locator(".fold").click()
    page.wait_for_selector(".card .open")


def narrow(page, name):
    """Let the list hold one file alone."""
    page.fill("#where", f"**/{name}")
    page.press("#where", "Enter")
    until(page, "() => document.getElementById('results').ariaBusy !== 'true'")
    if page.locator(".fold[aria-expanded=false]").count():
        page.locator(".fold").click()
    until(page, "() => document.querySelectorAll('.card .open').length === 1")


def open_named(page, name):
    """Narrow the list to one file and open it."""
    narrow(page, name)
    page.locator(".card .open").click()
    page.wait_for_selector(".grid")


def current_time(page):
    return page.evaluate("document.querySelector('video').currentTime")


def ids(page):
    """The videos of the list, as they stand in it."""
    return page.eval_on_selector_all(".card .open", "all => all.map(one => one.dataset.video)")


def shoot(page, name):
    """Keep a picture for whoever wants to look."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def serious(page):
    """What axe finds that keeps somebody out."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        (one["id"], [node["html"][:160] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
