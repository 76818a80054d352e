"""Connections: whoever takes long to say what he wants is cut off, so that others get their turn.

uvicorn limits the pause between two requests, and nothing else: a client that opens a connection
and sends its header a byte at a time would keep it for ever.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10.0  # for header and body, which never are more than a few thousand bytes
UNTOLD = (h11.IDLE, h11.SEND_BODY)  # states of a client that has not said all
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class PromptProtocol(H11Protocol):
    """HTTP/1.1 that waits so long for a request and no longer.

    An answer takes as long as it takes, however slowly it is read, and between two requests
    uvicorn's own limit holds.
    """

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there, and has to say what he wants."""
        super().connection_made(transport)
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some of a request has come."""
        if self.conn.their_state in UNTOLD:
            self._start()
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """An answer is out; the next request may have begun to come before that."""
        super().on_response_complete()
        self._look()

    def _look(self) -> None:
        """Whether more of a request is waited for."""
        begun = self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        if self.conn.their_state not in UNTOLD:
            self._stop()
        elif begun:
            self._start()

    def _start(self) -> None:
        if self._limit is None:
            self._limit = self.loop.call_later(REQUEST_SECONDS, self._give_up)

    def _stop(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _give_up(self) -> None:
        self._limit = None
        if self.transport.is_closing():
            return
        unanswered = self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        if unanswered and (self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]):
            self.transport.write(TOO_SLOW)  # nobody who said nothing is answered
        self.transport.close()
