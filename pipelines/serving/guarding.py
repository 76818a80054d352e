"""What stands before every request: limits, the token, where it comes from, and headers."""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vidret.pipelines.serving.guesses import Guesses

log = logging.getLogger(__name__)

MOST_PATH = 512
MOST_QUERY = 24_576  # bytes: 2,000 signs of four bytes each, written as %XX
MOST_BODY = 4_096
MOST_HEADERS = 16_384
COOKIE = "vidret"
SIGN_IN = "/sign-in"
WAIT = "wrong tokens came from this address too often: wait before another one"
ELSEWHERE = ("cross-site", "same-site")  # of the same site is also another port of this machine
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
SIGN_IN_STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:24rem;"
    "margin:15vh auto;padding:0 1rem}input,button{font:inherit;padding:.5rem .75rem;width:100%;"
    "box-sizing:border-box;margin:.25rem 0}h1{font-size:1.3rem}"
)


def _digest_of_style() -> str:
    import base64

    return base64.b64encode(hashlib.sha256(SIGN_IN_STYLE.encode()).digest()).decode()


CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' 'sha256-{_digest_of_style()}'",
        "img-src 'self'",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class TooLargeError(Exception):
    """A body that is longer than any that is wanted here."""


class Guard:
    """Refuses what should not come in, and dresses what goes out.

    Args:
        app: what answers the rest.
        token: what a request must bring; None lets everybody in, on this machine alone.
        hosts: names that this server may be called by; None is any, which takes a token. A page
            elsewhere could otherwise point a name of its own here and read the answers.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: Iterable[str] | None) -> None:
        self._app, self._token = app, token
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._cookie = secrets.token_urlsafe(32)  # says nothing of the token, nor can be guessed
        self._guesses = Guesses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started = False

        async def send_dressed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            refusal = await self._refuse(scope, receive)
            answer = self._app if refusal is None else refusal
            await answer(scope, _limited(receive), send_dressed)
        except TooLargeError:
            if not started:
                await _problem(413, "the request is too long")(scope, receive, send_dressed)
        except Exception:
            log.exception("A request ended in an error of vidret's own")  # the address stays out
            if not started:
                words = "something went wrong on the server; its log says what"
                await _problem(500, words)(scope, receive, send_dressed)

    async def _refuse(self, scope: Scope, receive: Receive) -> Response | None:
        """The answer to what may not come in, None where it may."""
        headers = Headers(scope=scope)
        if len(scope.get("raw_path") or scope["path"]) > MOST_PATH:
            return _problem(414, "the address is too long")
        if len(scope["query_string"]) > MOST_QUERY:
            return _problem(414, "the question is too long: give 2,000 characters or fewer")
        if sum(len(name) + len(value) for name, value in headers.raw) > MOST_HEADERS:
            return _problem(431, "the headers are too long")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:12]) > MOST_BODY:
            return _problem(413, "the request is too long")
        if self._hosts is not None and _host(headers) not in self._hosts:
            return _problem(421, "this server is not reached by that name: use its own address")
        if _is_from_elsewhere(scope, headers):
            return _problem(403, "another site may not ask here")
        if self._token is None or _same(_cookie_in(headers), self._cookie):
            return None
        if scope["path"] == SIGN_IN and scope["method"] == "POST":
            return await self._sign_in(scope, receive, headers)
        scheme, _, brought = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if seconds := self._guesses.wait(_address(scope)):
                return _told_to_wait(_problem(429, WAIT), seconds)
            if self._is_right(brought.strip(), scope):
                return None
        if "text/html" in headers.get("accept", ""):
            return HTMLResponse(_sign_in_page(""), 401)
        problem = _problem(401, "a token is needed: send the header Authorization: Bearer TOKEN")
        problem.headers["www-authenticate"] = "Bearer"
        return problem

    def _is_right(self, brought: str, scope: Scope) -> bool:
        """Whether this is the token; compared in constant time, and wrong ones are counted."""
        assert self._token is not None
        right = _same(brought, self._token)
        if right:
            self._guesses.note_right(_address(scope))
        else:
            self._guesses.note_wrong(_address(scope))
        return right

    async def _sign_in(self, scope: Scope, receive: Receive, headers: Headers) -> Response:
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _problem(403, "another site may not ask here")
        brought = await _token_of_form(_limited(receive))
        if seconds := self._guesses.wait(_address(scope)):  # also of many that were sent at once
            page = _sign_in_page(f"That was wrong too often. Try again in {seconds} seconds.")
            return _told_to_wait(HTMLResponse(page, 429), seconds)
        if not self._is_right(brought, scope):
            return HTMLResponse(_sign_in_page("That token is not right."), 401)
        response = RedirectResponse("/", status_code=303)
        secure = scope.get("scheme") == "https"
        response.set_cookie(
            COOKIE, self._cookie, httponly=True, samesite="strict", secure=secure, path="/"
        )
        return response


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _told_to_wait(response: Response, seconds: int) -> Response:
    response.headers["retry-after"] = str(seconds)
    return response


def _same(brought: str, wanted: str) -> bool:
    return hmac.compare_digest(brought.encode("utf-8", "replace"), wanted.encode())


def _cookie_in(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _host(headers: Headers) -> str:
    """The name in the Host header, without a port."""
    host = headers.get("host", "").lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _is_from_elsewhere(scope: Scope, headers: Headers) -> bool:
    """Whether another site asks; where the browser does not say it, the origin does.

    Browsers say it to this machine and over TLS, where a proxy may have given another host name.
    Signing in has no origin to be compared, since the page tells nobody where one comes from.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site in ELSEWHERE and not _is_visit(scope, headers)
    if origin is None or (origin == "null" and scope["path"] == SIGN_IN):
        return False
    return origin.lower().partition("://")[2] != headers.get("host", "").lower()


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """Whether somebody followed a link to the page."""
    return (scope["method"], scope["path"]) == ("GET", "/") and headers.get(
        "sec-fetch-mode"
    ) == "navigate"


async def _token_of_form(receive: Receive) -> str:
    from urllib.parse import parse_qs

    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
    return parse_qs(body.decode("utf-8", "replace"), max_num_fields=4).get("token", [""])[0]


def _limited(receive: Receive) -> Receive:
    """The same body, refused once it is too long; a length need not be told before."""
    seen = 0

    async def receive_some() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MOST_BODY:
            raise TooLargeError
        return message

    return receive_some


def _problem(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status_code=status)


def _sign_in_page(note: str) -> str:
    said = f'<p role="alert">{note}</p>' if note else ""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>vidret</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{SIGN_IN_STYLE}</style><main><h1>vidret</h1>{said}"
        f'<form method="post" action="{SIGN_IN}"><label for="token">The token that the server was '
        'started with</label><input id="token" name="token" type="password" required autofocus '
        'autocomplete="current-password"><button>Open</button></form></main></html>'
    )
