"""Real sockets: who is slow to ask is cut off, who is slow to read is not."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from making.served import serving

from vidret.pipelines.serving import connections
from vidret.pipelines.serving.connections import PromptProtocol

LIMIT = 0.4  # seconds, instead of ten
LONG = 8 << 20  # bytes: more than all buffers between two sockets hold
GET = b"GET /short HTTP/1.1\r\nhost: here\r\n\r\n"


async def answer(scope, receive, send):
    """Read the body, and answer with a long one or a short one."""
    while (await receive()).get("more_body"):
        pass
    long = scope["path"] == "/long"
    length = LONG if long else 2
    headers = [(b"content-length", str(length).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if long:
        for _ in range(LONG >> 16):
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def address(monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_SECONDS", LIMIT)
    config = uvicorn.Config(
        answer, http=PromptProtocol, ws="none", lifespan="off", log_config=None, port=0
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as place:
        thread = threading.Thread(target=server.run, args=([place],))
        thread.start()
        yield place.getsockname()
        server.should_exit = True
        thread.join(10)


@contextmanager
def line_to(address):
    with socket.create_connection(address, 10) as line:
        line.settimeout(10)
        yield line


def until_closed(line):
    """All that comes until the other side has closed."""
    return b"".join(iter(lambda: line.recv(1 << 16), b""))


def drip(line, text, pause=0.03):
    """Say something a byte at a time; what comes back when it is cut off, and after how long."""
    began = time.monotonic()
    heard = b""
    line.settimeout(pause)
    for byte in text:
        try:
            line.sendall(bytes([byte]))
            heard += line.recv(1 << 16)
        except TimeoutError:
            continue
        except OSError:
            pass
        return heard, time.monotonic() - began
    raise AssertionError("it was listened to to the end")


def get(line, request=GET):
    line.sendall(request)
    heard = b""
    while not heard.endswith(b"ok"):
        heard += line.recv(1 << 16)
    return heard


@pytest.mark.parametrize(
    "text",
    [
        b"GET /short HTTP/1.1\r\nhost: here\r\nx-long: " + b"a" * 500,
        b"POST /short HTTP/1.1\r\nhost: here\r\ncontent-length: 500\r\n\r\n" + b"a" * 500,
    ],
    ids=["header", "body"],
)
def test_what_comes_a_byte_at_a_time_is_cut_off(address, text):
    with line_to(address) as line:
        body = text.find(b"\r\n\r\n") + 4
        if body > 3:
            line.sendall(text[:body])
            text = text[body:]
        heard, seconds = drip(line, text)
    assert heard.startswith(b"HTTP/1.1 408")
    assert LIMIT / 2 < seconds < LIMIT + 2


def test_who_says_nothing_is_cut_off_without_a_word(address):
    with line_to(address) as line:
        began = time.monotonic()
        assert until_closed(line) == b""
        assert time.monotonic() - began < LIMIT + 2


def test_a_line_that_is_kept_is_not_cut_off_between_two_requests(address):
    with line_to(address) as line:
        for _ in range(3):
            assert get(line).startswith(b"HTTP/1.1 200")
            time.sleep(1.5 * LIMIT)


def test_the_second_request_on_a_line_has_no_more_time_than_the_first(address):
    with line_to(address) as line:
        get(line)
        heard, seconds = drip(line, GET + b"a" * 500)
    assert heard.startswith(b"HTTP/1.1 408")
    assert seconds < LIMIT + 2


def test_half_a_request_behind_a_whole_one_is_cut_off_too(address):
    with line_to(address) as line:
        line.sendall(GET + GET[:20])
        heard = until_closed(line)
    assert heard.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in heard


def test_an_answer_may_be_read_as_slowly_as_one_likes(address):
    with line_to(address) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        line.sendall(b"GET /long HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
        began, heard = time.monotonic(), 0
        while part := line.recv(1 << 16):
            heard += len(part)
            if time.monotonic() - began < 3 * LIMIT:
                time.sleep(LIMIT / 8)
    assert heard > LONG
    assert time.monotonic() - began > 3 * LIMIT


def test_a_real_server_of_vidret_listens_in_this_way(world, monkeypatch):
    monkeypatch.setattr(connections, "REQUEST_SECONDS", LIMIT)
    with serving(world, heads=("mean",)) as place:
        host, port = place.removeprefix("http://").split(":")
        with line_to((host, int(port))) as line:
            heard, seconds = drip(line, b"GET / HTTP/1.1\r\nx-long: " + b"a" * 500)
    assert heard.startswith(b"HTTP/1.1 408")
    assert seconds < LIMIT + 2
