"""All that can be done by hand can be done by key."""

from making.browsing import ids, look_for, until


def focused(page):
    return page.evaluate("document.activeElement.dataset.video")


def test_m_gives_the_player_its_sound_and_tab_leads_to_it(found):
    found.locator(".card .open").first.click()
    until(found, "() => document.querySelector('video')?.readyState >= 2")
    found.keyboard.press("m")
    assert not found.evaluate("document.querySelector('video').muted")
    assert "sound" in found.locator("#live").inner_text()
    found.keyboard.press("m")
    assert found.evaluate("document.querySelector('video').muted")
    found.locator(".detail-head a").last.focus()
    found.keyboard.press("Tab")
    assert found.evaluate("document.activeElement.tagName") == "VIDEO"
    found.keyboard.press("Space")
    until(found, "() => !document.querySelector('video').paused")
    found.keyboard.press("?")
    assert "sound of the player" in found.locator("#keys").inner_text()


def test_where_nothing_matches_the_keys_go_on_in_the_closest_ones(page):
    page.keyboard.press("/")
    page.keyboard.type("x")
    page.keyboard.press("Enter")
    page.wait_for_selector(".closest .card")
    until(page, "() => document.activeElement.matches('.open')")
    shown = ids(page)
    assert (len(shown), focused(page)) == (5, shown[0])
    page.keyboard.press("j")
    assert focused(page) == shown[1]
    assert page.input_value("#query") == "x"
    for _ in range(4):
        page.keyboard.press("j")
    assert page.evaluate("document.activeElement.matches('.fold')")
    page.keyboard.press("o")
    page.keyboard.press("j")
    assert focused(page) == ids(page)[5]


def test_where_no_video_passes_the_keys_are_not_typed_either(page):
    page.fill("#where", "**/nowhere-*")
    page.fill("#query", "x")
    page.press("#query", "Enter")
    page.wait_for_selector(".nothing")
    until(page, "() => document.activeElement.id === 'results'")
    page.keyboard.press("j")
    assert page.input_value("#query") == "x"


def test_c_keeps_its_place(found):
    found.locator(".card .open").first.focus()
    video = focused(found)
    found.keyboard.press("c")
    found.wait_for_selector(".compared")
    assert focused(found) == video
    found.keyboard.press("c")
    until(found, "() => !document.querySelector('.compared')")
    assert focused(found) == video


def test_j_and_k_go_over_the_end_of_a_page(found):
    last = found.locator(".listed[data-kind='weaker'] .open").last
    last.focus()
    before = focused(found)
    found.keyboard.press("j")
    pager = found.locator(".listed[data-kind='weaker'] .pager span")
    assert pager.inner_text().startswith("26 to 50 of ")
    first = found.locator(".listed[data-kind='weaker'] .open").first
    assert focused(found) == first.get_attribute("data-video") != before
    found.keyboard.press("k")
    assert pager.inner_text().startswith("1 to 25 of ")
    assert focused(found) == before


def test_what_is_shown_otherwise_keeps_the_key_that_did_it(found):
    found.get_by_role("button", name="Show as table").focus()
    found.keyboard.press("Enter")
    assert found.evaluate("document.activeElement.textContent") == "Show as cards"


def test_an_empty_question_goes_back_to_the_start(found):
    look_for(found, "a blue cross")
    found.fill("#query", "")
    found.press("#query", "Enter")
    found.wait_for_selector(".welcome")
    found.go_back()
    found.wait_for_selector(".list-head")
    assert found.input_value("#query") == "a blue cross"


def test_escape_leads_back_and_empties_nothing(found):
    found.focus("#query")
    found.keyboard.press("Escape")
    assert found.input_value("#query") == "a red star"
    found.keyboard.press("c")
    found.wait_for_selector(".compared")
    found.keyboard.press("Escape")
    until(found, "() => !document.querySelector('.compared')")
    found.keyboard.press("Escape")
    found.keyboard.press("?")
    assert found.locator("#keys").is_visible()
    assert found.input_value("#query") == "a red star"


def test_o_opens_what_a_link_lists(open_page):
    page = open_page("/#q=a+red+star", wait=".card .open")
    page.keyboard.press("o")
    page.wait_for_selector(".grid")
    assert page.locator("[aria-current]").get_attribute("data-video") == ids(page)[0]
