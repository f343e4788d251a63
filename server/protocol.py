"""HTTP/1.1 between a sender and the receiver, as uvicorn's protocol class.

uvicorn listens, and handles signals and the shutdown; llhttp, the parser of Node.js, parses
(https://github.com/nodejs/llhttp); `Protocol` decides what a connection may do. A request needs no task, no timer and
no ASGI message: docs/decisions/0039-our-own-front-door.md.
"""

import asyncio
import contextlib
import math
import time
from collections import deque
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from core.http import Request, Response
from core.receiver import DEADLINE, MAX_BODY, TOO_LARGE
from core.verify.signature import ES256_HEADER, HS256_HEADER
from server.asgi import App, Scope
from server.bridge import Bridge
from server.connections import Connection
from server.wire import CONTINUE, HEAD_TIMEOUT, HEAD_TOO_LARGE, NOT_HTTP, to_bytes

_SIGNATURE_HEADERS = frozenset({HS256_HEADER.encode(), ES256_HEADER.encode()})
# DT's are below 2 KB, with its custom headers; routers add some.
MAX_HEAD = 131_072
# Requests that a connection may send before the first is answered.
MAX_PIPELINED = 32
# Bytes of answers that a client has not read.
_WRITE_BUFFER = 4_096
# Seconds in which it must read them.
BLOCKED = 8.0
# Heroku's router keeps its connections to a dyno for 90 s; closing first would cost it a 503 now and then.
KEEP_ALIVE = 95.0
# Seconds in which a client may read the answer to a request that it is still sending.
LINGER = 2.0

_NO_REQUEST = Request("", "", (), b"")


class _Unread(Exception):
    """Ends the parsing of a message that is answered before all of it is read."""


class Protocol(Connection):
    """One connection.

    Args:
        config: uvicorn's; its application is an `App`.
        server_state: uvicorn's.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any] | None = None,  # noqa: ARG002 - of uvicorn's interface
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._app: App = config.loaded_app
        self._receiver = self._app.receiver
        self._connections = self._app.connections
        self._state = server_state
        self._parser = httptools.HttpRequestParser(self)
        # Of the packet that is being parsed: its size, and how many messages began in it.
        self._packet = self._begun = 0
        # Of the message that is being read: when it began, or None; the bytes of its earlier packets; its parts;
        # whether it is the last one, whether its client waits for "100 Continue", whether it asks for another protocol.
        self._started: float | None = None
        self._size = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._request: Request | None = None  # from the end of the head
        self._body: bytes | bytearray = b""
        self._is_final = self._expects = self._upgrades = False
        # Whether a message of this packet was parsed again: once, because each time takes as long as the packet.
        self._has_upgraded = False
        # Whether what arrives is ignored; whether the client may still be sending; whether the connection is closed
        # when all is answered.
        self._is_deaf = self._is_unread = self._closes = False
        # What is to be answered after the request that is being answered: a request, or its answer if that is known.
        self._waiting: deque[tuple[Request, float, Response | None, Scope | None]] = deque()
        self._is_answering = self._is_head = self._is_starting = self._is_paused = False
        # When the client stopped reading, or None.
        self._blocked: float | None = None
        self._bridge: Bridge | None = None

    # ---- what the transport calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is none
        transport.set_write_buffer_limits(_WRITE_BUFFER)
        self.transport = transport
        self._state.connections.add(self)  # type: ignore[arg-type]
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        if self._is_deaf:
            return
        self._packet, self._begun = len(data), 0
        self._has_upgraded = False
        begins = self._started is None
        while True:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                if self._is_deaf:
                    return
                data = self._without_upgrade() + data[upgrade.args[0] :]
            except httptools.HttpParserCallbackError as error:
                if isinstance(error.__context__, _Unread):
                    return
                raise
            except httptools.HttpParserError:
                if not self._is_deaf:
                    self._refuse(NOT_HTTP, "not_http")
                return
        if self._started is None or self._is_deaf:
            return
        # Not the packet in which requests before this one ended.
        if self._begun == begins:
            self._size += self._packet
        if self._request is None and self._size > MAX_HEAD:
            self._refuse(HEAD_TOO_LARGE, "head_too_large")
        elif self._size > MAX_HEAD + MAX_BODY:  # chunks may have extensions, and the last one a trailer
            self._refuse(TOO_LARGE, "too_large")
        else:
            self._connections.wait(self)

    def eof_received(self) -> bool:
        """Answer what was sent before the client closed its side; return whether there is something to answer."""
        self._closes = self._is_deaf = True
        self._disconnect()
        if self._bridge:
            self._bridge.disconnect()
        return self._is_answering or bool(self._waiting)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the interface
        """End."""
        self._state.connections.discard(self)
        self._connections.remove(self)
        self._disconnect()
        if self._bridge:
            self._bridge.disconnect()
        self._parser = None  # type: ignore[assignment]  # which has this object

    def pause_writing(self) -> None:
        """Stop answering a client that does not read."""
        self._blocked = time.monotonic()
        self._bound()
        if self._bridge:
            self._bridge.pause()

    def resume_writing(self) -> None:
        """Go on."""
        self._blocked = None
        self._bound()
        if self._bridge:
            self._bridge.resume()
        self._go_on()

    # ---- what uvicorn and `Connections` call ----

    def shutdown(self) -> None:
        """Close the connection once everything that has begun is answered."""
        self._closes = True
        self._go_on()

    def expire(self) -> None:
        """End a state that has lasted too long."""
        if self._started is None:
            self.transport.abort()
        elif self._request is None:
            self._refuse(HEAD_TIMEOUT, "head_timeout")
        else:
            self._give_up("body_timeout")

    def evict(self) -> None:
        """Make place for another connection, or for another message."""
        if self._started is None:
            self.transport.abort()
        else:
            self._give_up("too_many_bodies")

    # ---- what the parser calls ----

    def on_message_begin(self) -> None:
        """Begin a message."""
        if self._upgrades:  # it is parsed again
            self._upgrades = False
            return
        self._started = self._connections.begin(self)
        self._size = 0
        self._begun += 1
        self._bound()

    def on_url(self, url: bytes) -> None:
        """Add a part of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        if self._request is None:  # a trailer is none
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Refuse what can be refused without the body."""
        parser = self._parser
        signatures, length, has_encoding, expects = [], 0, False, False
        for name, value in self._headers:
            if name in _SIGNATURE_HEADERS:
                signatures.append((name.decode(), value.decode("latin-1")))
            elif name == b"content-length":
                length = int(value.lstrip(b"0")[:18] or b"0")  # digits; with more of them it is too large anyway
            elif name == b"transfer-encoding":
                has_encoding = True
            elif name == b"expect":
                expects = value.lower() == b"100-continue"
        method = parser.get_method().decode()
        version = parser.get_http_version()
        self._request = Request(method, _path(self._url), signatures, b"")
        upgrades = parser.should_upgrade() and method != "CONNECT"
        if (version != "1.1" and (version != "1.0" or has_encoding)) or (upgrades and self._has_upgraded):
            self._refuse(NOT_HTTP, "not_http")
        elif self._size + self._packet > MAX_HEAD < self._head_size():
            self._refuse(HEAD_TOO_LARGE, "head_too_large")
        elif length > MAX_BODY and method == "POST":
            self._refuse(TOO_LARGE, "too_large")
        elif method != "POST" and (length or has_encoding or method == "CONNECT"):
            self._stop()
            self._complete()
        if self._started is None:
            raise _Unread
        if upgrades:
            self._has_upgraded = self._upgrades = True
            return
        self._is_final = version == "1.0" or not parser.should_keep_alive()
        if expects and version == "1.1" and (length or has_encoding):
            self._expects = True
            self._continue()

    def on_body(self, data: bytes) -> None:
        """Add a part of the body."""
        if not self._body:
            self._body = data
            return
        if isinstance(self._body, bytes):
            self._body = bytearray(self._body)
        self._body += data
        if len(self._body) > MAX_BODY:
            self._refuse(TOO_LARGE, "too_large")
            raise _Unread

    def on_message_complete(self) -> None:
        """Answer the message, or let it wait for those before it."""
        if self._upgrades:
            return
        if len(self._waiting) >= MAX_PIPELINED:
            self._give_up("too_many_bodies")
            raise _Unread
        if self._is_final:
            self._closes = self._is_deaf = True
        assert self._request
        self._request.body = bytes(self._body)
        self._complete()

    # ---- reading ----

    def _head_size(self) -> int:
        return len(self._url) + sum(len(name) + len(value) for name, value in self._headers)

    def _without_upgrade(self) -> bytes:
        """Return the head of the message without its wish for another protocol, to be parsed again.

        The parser takes all that follows such a head for the other protocol. A server may ignore the wish:
        https://www.rfc-editor.org/rfc/rfc9110.html#section-7.8
        """
        assert self._request
        version = self._parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self._request.method.encode(), self._url, version)]
        lines += [name + b": " + value for name, value in self._headers if name != b"upgrade"]
        self._url, self._headers, self._request = b"", [], None
        self._parser = httptools.HttpRequestParser(self)
        return b"\r\n".join((*lines, b"", b""))

    def _refuse(self, response: Response, reason: str) -> None:
        """Answer the message without reading on."""
        self._stop()
        self._complete(self._receiver.refuse(self._request or _NO_REQUEST, response, reason, self._since()))

    def _give_up(self, reason: str) -> None:
        """Answer a message that has not arrived in full."""
        self._stop()
        self._complete(self._receiver.give_up(self._request or _NO_REQUEST, reason, self._since()))

    def _since(self) -> float:
        return self.since if self._started is None else self._started

    def _stop(self) -> None:
        self._closes = self._is_deaf = self._is_unread = True

    def _disconnect(self) -> None:
        """Drop a message whose rest will not come."""
        if self._request and self._started is not None:
            self._receiver.give_up(self._request, "disconnected", self._started)
        self._started = self._request = None

    def _complete(self, answer: Response | None = None) -> None:
        """Answer the message, or let it wait for those before it. No more of it is read."""
        request, started = self._request or _NO_REQUEST, self._since()
        scope = self._scope(request) if self._app.page and request.method == "GET" and not answer else None
        self._started = self._request = None
        self._url, self._headers, self._body, self._expects = b"", [], b"", False
        self._connections.complete(self)
        self._bound()
        if self._is_answering or self._blocked is not None or self._waiting:
            self._waiting.append((request, started, answer, scope))
            self.transport.pause_reading()
            self._is_paused = True
        else:
            self._start(request, started, answer, scope)

    def _scope(self, request: Request) -> Scope:
        return {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "http_version": self._parser.get_http_version(),
            "headers": self._headers,
        }

    def _bound(self) -> None:
        """Say how long the present state may last."""
        if self._blocked is not None:
            self.since, self.limit = self._blocked, BLOCKED
        elif self._started is not None:
            self.since, self.limit = self._started, DEADLINE
        else:
            self.limit = math.inf  # the receiver answers in time

    # ---- answering ----

    def _start(self, request: Request, started: float, answer: Response | None, scope: Scope | None) -> None:
        self._is_answering = True
        self._is_head = request.method == "HEAD"
        if answer:
            self._answer(answer)
        elif self._app.page and scope and self._app.page.is_for(scope):
            self._is_deaf = True
            self._connections.rest(self, math.inf)
            self._bridge = Bridge(self._app.page, scope, self.transport)
        else:
            self._receiver.begin(request, started, self._answer)

    def _answer(self, response: Response) -> None:
        self._is_answering = False
        if not self.transport.is_closing():
            self.transport.write(to_bytes(response, self._closes and not self._waiting, not self._is_head))
        self._go_on()

    def _go_on(self) -> None:
        """Answer what waits; after that, wait for the next request, or close the connection."""
        if self._is_starting:  # the loop below goes on
            return
        self._is_starting = True
        while self._waiting and not self._is_answering and self._blocked is None:
            self._start(*self._waiting.popleft())
        self._is_starting = False
        if self._is_answering or self._blocked is not None or self.transport.is_closing():
            return
        if self._started is not None:
            self._continue()
        elif self._closes:
            self._end()
        else:
            self._connections.rest(self, KEEP_ALIVE)
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()

    def _continue(self) -> None:
        """Ask for the body, if the client waits for that."""
        if self._expects and not (self._is_answering or self._waiting):
            self._expects = False
            self.transport.write(CONTINUE)

    def _end(self) -> None:
        if self._is_unread:
            # While the client sends, a closed connection would lose the answer:
            # https://www.rfc-editor.org/rfc/rfc9112.html#section-9.6
            self._connections.rest(self, LINGER)
            with contextlib.suppress(OSError):  # it is gone
                self.transport.write_eof()
        else:
            self._connections.rest(self, BLOCKED)
            self.transport.close()


def _path(url: bytes) -> str:
    if not url.startswith(b"/"):  # a proxy's form
        url = b"/" + url.partition(b"://")[2].partition(b"/")[2]
    return url.partition(b"?")[0].decode("latin-1")
