import logging

import pytest

from vidret.pipelines.serving.guarding import MOST_BODY

TOKEN = "a-token-of-good-length"
STRICT = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.fixture
def locked(serve):
    return serve(token=TOKEN, hosts=None)


def test_every_answer_carries_the_headers_that_keep_a_page_in(ask, id_of):
    paths = ["/", "/main.js", "/api/status", "/api/search", "/nowhere", "/openapi.json"]
    for path in [*paths, f"/api/videos/{id_of(0)}/media"]:
        headers = ask(path).headers
        assert {name: headers[name] for name in STRICT} == STRICT
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "*" not in policy


def test_the_page_asks_for_nothing_elsewhere(ask):
    names = ["/", "/page.css", "/main.js", "/detail.js", "/results.js", "/dom.js"]
    for name in names:
        text = ask(name).text.replace("http://www.w3.org/", "")
        assert "http://" not in text
        assert "https://" not in text
        assert "style=" not in text


@pytest.mark.parametrize(
    "path", ["/api/status", "/", "/page.css", "/openapi.json", "/api/search?q=x"]
)
def test_without_the_token_nothing_is_answered(locked, path):
    assert locked(path).status_code == 401
    assert locked(path, headers={"authorization": "Bearer wrong"}).status_code == 401
    assert locked(path, headers={"cookie": "vidret=wrong"}).status_code == 401


def test_a_wrong_token_of_any_kind_is_refused(locked):
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "é" * 20):
        header = f"Bearer {wrong}".encode("latin-1", "replace")
        assert locked("/api/status", headers={"authorization": header}).status_code == 401


def test_a_header_with_the_token_lets_in(locked):
    response = locked("/api/status", headers={"authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200


def test_a_browser_signs_in_and_keeps_something_else_than_the_token(locked):
    page = locked("/", headers={"accept": "text/html"})
    assert page.status_code == 401
    assert 'type="password"' in page.text
    signed = locked("/sign-in", "POST", data={"token": TOKEN})
    assert (signed.status_code, signed.headers["location"]) == (303, "/")
    cookie = signed.headers["set-cookie"]
    assert TOKEN not in cookie
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    entry = cookie.partition(";")[0]
    assert locked("/api/status", headers={"cookie": entry}).status_code == 200


def test_a_wrong_token_at_the_door_is_told_so(locked):
    page = locked("/sign-in", "POST", data={"token": "guess"})
    assert page.status_code == 401
    assert "not right" in page.text


def test_the_token_is_never_logged(locked, caplog):
    with caplog.at_level(logging.DEBUG):
        locked("/api/status", headers={"authorization": f"Bearer {TOKEN}"})
        locked("/sign-in", "POST", data={"token": TOKEN})
    assert TOKEN not in caplog.text


def test_another_name_for_this_machine_is_refused(ask):
    """A page elsewhere could point its own name here, and read what is answered."""
    assert ask("/api/status", headers={"host": "evil.example:8765"}).status_code == 421
    assert ask("/api/status", headers={"host": "127.0.0.1:8765"}).status_code == 200


def test_another_site_may_link_here_but_not_ask(ask, id_of):
    cross = {"sec-fetch-site": "cross-site"}
    assert ask("/api/status", headers=cross).status_code == 403
    assert ask(f"/api/videos/{id_of(2)}/preview", "POST", headers=cross).status_code == 403
    assert ask("/", headers=cross | {"sec-fetch-mode": "navigate"}).status_code == 200


def test_where_a_browser_does_not_say_who_asks_the_origin_does(ask, locked, id_of):
    address = f"/api/videos/{id_of(2)}/preview"
    own = "http://127.0.0.1:8765"
    for origin in ("http://evil.com", "null", "http://127.0.0.1:3000", "http://127.0.0.1"):
        assert ask(address, "POST", headers={"origin": origin}).status_code == 403
        assert ask("/api/status", headers={"origin": origin}).status_code == 403
    assert ask(address, "POST", headers={"origin": own}).status_code == 200
    behind_a_proxy = {"origin": "https://films.example", "sec-fetch-site": "same-origin"}
    assert ask(address, "POST", headers=behind_a_proxy).status_code == 200
    other_port = {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-site"}
    assert ask(address, "POST", headers=other_port).status_code == 403
    signing_in = {"origin": "null"}  # as the page tells nobody where one comes from
    signed = locked("/sign-in", "POST", data={"token": TOKEN}, headers=signing_in)
    assert signed.status_code == 303


def test_what_is_too_long_is_refused_before_it_is_read(ask):
    assert ask("/" + "a" * 2000).status_code == 414
    assert ask("/api/search?q=" + "a" * 60_000).status_code == 414
    assert ask("/api/status", "POST", content=b"x" * (MOST_BODY + 1)).status_code == 413
    assert ask("/api/status", headers={"content-length": "9" * 400}).status_code == 413


def test_a_way_of_asking_that_is_none_is_refused(ask):
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        response = ask("/api/search", method, params={"q": "dog"})
        assert response.status_code == 405
        assert response.headers["allow"] == "GET"
        assert "error" in response.json()


def test_every_way_of_asking_is_named_where_one_is_none(ask, id_of):
    response = ask(f"/api/videos/{id_of(0)}/preview", "DELETE")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")


def test_a_bug_is_one_sentence_to_whoever_asked(serve, searcher):
    class Broken:
        heads = searcher.heads

        def refresh(self):
            return False

        def search(self, questions):
            raise ZeroDivisionError(f"secret about {len(questions)}")

    response = serve(lambda _: Broken())("/api/search", params={"q": "dog"})
    assert response.status_code == 500
    assert response.json() == {"error": "something went wrong on the server; its log says what"}
