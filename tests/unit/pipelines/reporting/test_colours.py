"""The colours of a page, held against WCAG's contrast and against a printer without colour."""

import re
from itertools import product

import pytest

from vidret.pipelines.reporting.page import HERE

CSS = (HERE / "page.css").read_text("utf-8")


def colours(block):
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", block))


def themes():
    light, dark, printed = re.findall(r":root \{([^}]*)\}", CSS)
    assert "prefers-color-scheme: dark" in CSS[: CSS.index(dark)]
    assert "@media print" in CSS[CSS.index(dark) : CSS.index(printed)]
    return {"light": colours(light), "dark": colours(dark), "printed": colours(printed)}


def luminance(colour):
    digits = colour.removeprefix("#")
    digits = "".join(2 * one for one in digits) if len(digits) == 3 else digits
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return sum(share * one for share, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first, second):
    low, high = sorted(map(luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


THEMES = themes()
TEXT = ("ink", "quiet", "link")


@pytest.mark.parametrize(("theme", "name"), list(product(THEMES, TEXT)))
def test_text_can_be_read_on_its_paper(theme, name):
    assert contrast(THEMES[theme][name], THEMES[theme]["paper"]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_text_can_be_read_on_warnings_and_cards(theme):
    for behind in ("warn-paper", "rule", "card"):
        assert contrast(THEMES[theme]["ink"], THEMES[theme][behind]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_the_two_series_can_be_told_apart_without_colour_and_from_the_paper(theme):
    first, second, paper = (THEMES[theme][name] for name in ("first", "second", "paper"))
    assert contrast(first, second) >= 1.5
    assert contrast(first, paper) >= 3
    assert contrast(second, paper) >= 2.5


def test_the_dark_theme_is_dark_and_paper_is_white():
    assert luminance(THEMES["dark"]["paper"]) < 0.05 < luminance(THEMES["dark"]["ink"])
    assert luminance(THEMES["light"]["paper"]) == luminance(THEMES["printed"]["paper"]) == 1.0


def test_every_theme_has_a_colour_for_everything_that_another_has():
    assert set(THEMES["light"]) == set(THEMES["dark"]) == set(THEMES["printed"])
    assert set(re.findall(r"var\(--([a-z-]+)\)", CSS)) <= set(THEMES["light"])
