"""The page in a real browser: Debian's Chromium, driven by Playwright, which downloads nothing."""

import os
import shutil
import warnings
from pathlib import Path

import pytest
from making.browsing import look_for
from making.served import make_world, serving

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
TIMEOUT = 15_000  # milliseconds


def pytest_collection_modifyitems(items):
    """One worker runs them all: they share a server and a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A browser, or a loud skip; closed soon, since its loop would forbid other tests theirs."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        pytest.skip(
            "NO CHROMIUM: the page is NOT TESTED in a browser. apt-get install chromium does it."
        )
    api = pytest.importorskip("playwright.sync_api", reason="NO PLAYWRIGHT: pip install playwright")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Playwright's own loop
        with api.sync_playwright() as playwright:
            home = {"HOME": str(tmp_path_factory.mktemp("home"))}  # nothing goes into the real one
            browser = playwright.chromium.launch(
                executable_path=found, args=list(ARGUMENTS), env=os.environ | home
            )
            yield browser
            browser.close()


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("browsed"), videos=540)


@pytest.fixture(scope="session")
def address(world):
    with serving(world, heads=("run", "mean")) as address:
        yield address


class Watch:
    """What a page asked for and complained of."""

    def __init__(self, page, address):
        self.elsewhere, self.asked, self.said = [], [], []
        page.on("request", lambda request: self._note(request.url, address))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("console", lambda line: line.type == "error" and self.said.append(line.text))
        page.route(lambda url: not self._is_ours(url, address), lambda route: route.abort())

    def _is_ours(self, url, address):
        return url.startswith((address, "data:", "blob:"))

    def _note(self, url, address):
        (self.asked if self._is_ours(url, address) else self.elsewhere).append(url)


@pytest.fixture
def open_page(chromium, address):
    """Open the page in a context of its own; nothing may leave this machine."""
    contexts, watches = [], []

    def open_it(path="/", *, at=address, wait=".chip, .card", **options):
        options = {"viewport": {"width": 1360, "height": 900}} | options
        context = chromium.new_context(**options)
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        page.watch = Watch(page, at)
        contexts.append(context)
        watches.append(page.watch)
        page.goto(at + path)
        page.wait_for_selector(wait)
        return page

    yield open_it
    for context in contexts:
        context.close()
    for watch in watches:
        assert watch.elsewhere == [], "a request left this machine"


@pytest.fixture
def page(open_page):
    one = open_page()
    yield one
    assert one.watch.said == []


@pytest.fixture
def found(page):
    """The page with the answers to a query, weaker ones unfolded."""
    look_for(page, "a red star")
    return page
