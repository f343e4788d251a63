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
from server.asgi import App, Scope
from server.bridge import Bridge
from server.connections import Connection
from server.message import Message
from server.wire import CONTINUE, HEAD_TIMEOUT, HEAD_TOO_LARGE, NOT_HTTP, to_bytes

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
        # What is being read; None between two requests.
        self._message: Message | None = None
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
        begins = self._message is None
        while True:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as upgrade:
                if self._is_deaf:
                    return
                data = self._parsed_again() + data[upgrade.args[0] :]
            except httptools.HttpParserCallbackError as error:
                if isinstance(error.__context__, _Unread):
                    return
                raise
            except httptools.HttpParserError:
                if not self._is_deaf:
                    self._refuse(NOT_HTTP, "not_http")
                return
        message = self._message
        if message is None or self._is_deaf:
            return
        # Not the packet in which requests before this one ended.
        if self._begun == begins:
            message.size += self._packet
        if message.request is None and message.size > MAX_HEAD:
            self._refuse(HEAD_TOO_LARGE, "head_too_large")
        elif message.size > MAX_HEAD + MAX_BODY:  # chunks may have extensions, and the last one a trailer
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
        if self._message is None:
            self.transport.abort()
        elif self._message.request is None:
            self._refuse(HEAD_TIMEOUT, "head_timeout")
        else:
            self._give_up("body_timeout")

    def evict(self) -> None:
        """Make place for another connection, or for another message."""
        if self._message is None:
            self.transport.abort()
        else:
            self._give_up("too_many_bodies")

    # ---- what the parser calls ----

    def on_message_begin(self) -> None:
        """Begin a message."""
        if self._is_deaf:  # the one before was the last
            raise _Unread
        if self._message and self._message.upgrades:  # it is parsed again
            self._message.upgrades = False
            return
        self._message = Message(self._connections.begin(self))
        self._begun += 1
        self._bound()

    def on_url(self, url: bytes) -> None:
        """Add a part of the URL."""
        assert self._message
        self._message.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; also a trailer, which comes when the headers have been read."""
        assert self._message
        self._message.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Refuse what can be refused without the body."""
        parser, message = self._parser, self._message
        assert message
        method, version = parser.get_method().decode(), parser.get_http_version()
        message.end_head(method)
        upgrades = parser.should_upgrade() and method != "CONNECT"
        if (version != "1.1" and (version != "1.0" or message.is_encoded)) or (upgrades and self._has_upgraded):
            self._refuse(NOT_HTTP, "not_http")
        elif message.size + self._packet > MAX_HEAD < message.head_size:
            self._refuse(HEAD_TOO_LARGE, "head_too_large")
        elif method != "POST" and (message.has_body or method == "CONNECT"):
            self._stop()
            self._complete()
        elif message.length > MAX_BODY:
            self._refuse(TOO_LARGE, "too_large")
        if self._is_deaf:
            raise _Unread
        if upgrades:
            self._has_upgraded = message.upgrades = True
            return
        message.is_last = version == "1.0" or not parser.should_keep_alive()
        message.expects = message.expects and version == "1.1" and message.has_body
        self._continue()

    def on_body(self, data: bytes) -> None:
        """Add a part of the body."""
        assert self._message
        if self._message.add(data) > MAX_BODY:
            self._refuse(TOO_LARGE, "too_large")
            raise _Unread

    def on_message_complete(self) -> None:
        """Answer the message, or let it wait for those before it."""
        assert self._message
        if self._message.upgrades:
            return
        if len(self._waiting) >= MAX_PIPELINED:
            self._give_up("too_many_bodies")
            raise _Unread
        if self._message.is_last:
            self._closes = self._is_deaf = True
        self._message.end()
        self._complete()

    # ---- reading ----

    def _parsed_again(self) -> bytes:
        """Return the head of a message that wishes for another protocol, without the wish, for a new parser."""
        assert self._message
        head = self._message.without_upgrade(self._parser.get_http_version())
        self._parser = httptools.HttpRequestParser(self)
        return head

    def _refuse(self, response: Response, reason: str) -> None:
        """Answer the message without reading on."""
        self._stop()
        request, started = self._seen()
        self._complete(self._receiver.refuse(request, response, reason, started))

    def _give_up(self, reason: str) -> None:
        """Answer a message that has not arrived in full."""
        self._stop()
        request, started = self._seen()
        self._complete(self._receiver.give_up(request, reason, started))

    def _seen(self) -> tuple[Request, float]:
        """Return what is known of the request that is being read, and when it began."""
        message = self._message
        return (message.request or _NO_REQUEST, message.started) if message else (_NO_REQUEST, self.since)

    def _stop(self) -> None:
        self._closes = self._is_deaf = self._is_unread = True

    def _disconnect(self) -> None:
        """Drop a message whose rest will not come."""
        if self._message and self._message.request:
            self._receiver.give_up(self._message.request, "disconnected", self._message.started)
        self._message = None

    def _complete(self, answer: Response | None = None) -> None:
        """Answer the message, or let it wait for those before it. No more of it is read."""
        request, started = self._seen()
        scope = self._scope(request) if self._app.page and request.method == "GET" and not answer else None
        self._message = None
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
            "headers": self._message.headers if self._message else [],
        }

    def _bound(self) -> None:
        """Say how long the present state may last."""
        if self._blocked is not None:
            self.since, self.limit = self._blocked, BLOCKED
        elif self._message:
            self.since, self.limit = self._message.started, DEADLINE
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
        if self._message:
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
        if self._message and self._message.expects and not (self._is_answering or self._waiting):
            self._message.expects = False
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
