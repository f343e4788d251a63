"""An ASGI application around a receiver. Raw ASGI, because it serves one route."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from core.environment import SettingsError
from core.http import DisconnectedError, Request, Response, TooLargeError
from core.receiver import DEADLINE, MAX_BODY, AsyncReceiver
from core.verify.signature import ES256_HEADER, HS256_HEADER

_SIGNATURE_HEADERS = frozenset({HS256_HEADER.encode(), ES256_HEADER.encode()})

# 256 KiB each, and the same in the server's buffers: at most some 40 MB.
MAX_READING = 100

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class App:
    """An ASGI application around one `AsyncReceiver`, which is opened before the first request and closed at the end.

    Args:
        receiver: Decides on each request.
    """

    def __init__(self, receiver: AsyncReceiver) -> None:
        self._receiver = receiver
        self._reading: dict[_Reading, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope, as https://asgi.readthedocs.io/en/latest/specs/main.html says."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        request = to_request(scope)
        # Answered without the body, so that it takes no memory.
        if request.method != "POST":
            await self._answer_unread(await self._receiver.handle(request, started), receive, send, started)
            return
        try:
            if _content_length(scope) > MAX_BODY:
                raise TooLargeError
            with _Reading(self._reading, started):
                request.body = await _read_body(receive)
        except TooLargeError:
            await self._answer_unread(self._receiver.too_large(request, started), receive, send, started)
            return
        except DisconnectedError:
            self._receiver.give_up(request, "disconnected", started)
            return
        except _GivenUp as error:
            response = self._receiver.give_up(request, error.reason, started)
        else:
            response = await self._receiver.handle(request, started)
        await send(to_response(response))
        await send({"type": "http.response.body", "body": response.body})

    async def _answer_unread(self, response: Response, receive: Receive, send: Send, started: float) -> None:
        """Answer, then read and discard the body: if the connection closes while the client sends, it loses the answer.

        https://www.rfc-editor.org/rfc/rfc9112.html#section-9.6
        """
        await send(to_response(response))
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        try:
            with _Reading(self._reading, started):
                while (await receive()).get("more_body"):
                    pass
        except _GivenUp:
            pass
        await send({"type": "http.response.body", "body": b""})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._receiver.log.defer(asyncio.get_running_loop().call_soon)
                try:
                    await self._receiver.open()
                except SettingsError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._receiver.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


class _GivenUp(Exception):
    """The body did not arrive in time, or was evicted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Reading:
    """Bounds the reading of one body: no longer than `DEADLINE`, and `MAX_READING` at a time.

    A body takes memory before its signature can be checked. The oldest is evicted for a new one: DT's bodies are one
    or two packets, so a body that is incomplete after a hundred others have arrived is not DT's.

    Args:
        others: The running ones, oldest first.
        started: ``time.monotonic()`` at the request's arrival.

    Raises:
        _GivenUp: On exit, if the body did not arrive.
    """

    __slots__ = ("_others", "_reason", "_started", "_task", "_timer")

    def __init__(self, others: "dict[_Reading, None]", started: float) -> None:
        self._others = others
        self._started = started
        self._reason: str | None = None
        self._task = cast("asyncio.Task[Any]", asyncio.current_task())

    def __enter__(self) -> None:
        if len(self._others) >= MAX_READING:
            oldest = next(iter(self._others))
            del self._others[oldest]
            oldest._give_up("too_many_bodies")
        self._others[self] = None
        # Like asyncio.timeout, at a quarter of its cost.
        seconds = self._started + DEADLINE - time.monotonic()
        self._timer = self._task.get_loop().call_later(seconds, self._give_up, "body_timeout")

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._timer.cancel()
        self._others.pop(self, None)
        # Without a reason, another task cancelled this one.
        if isinstance(error, asyncio.CancelledError) and self._reason:
            self._task.uncancel()
            raise _GivenUp(self._reason) from None

    def _give_up(self, reason: str) -> None:
        # Once: a second cancellation would take effect after this block.
        if self._reason is None:
            self._reason = reason
            self._task.cancel()


def to_request(scope: Scope) -> Request:
    """Translate the scope of a request; the body is read later."""
    # ASGI names are lower case. Only the headers that the core reads are decoded: ten cost more than hashing the body.
    headers = [
        (name.decode(), value.decode("latin-1")) for name, value in scope["headers"] if name in _SIGNATURE_HEADERS
    ]
    return Request(scope["method"], scope["path"], headers, b"")


def to_response(response: Response) -> Message:
    """Translate the status and headers of an answer."""
    headers = [(name.encode(), value.encode()) for name, value in response.headers]
    return {"type": "http.response.start", "status": response.status, "headers": headers}


async def _read_body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message["type"] == "http.request" and message.get("more_body"):
        if len(body) > MAX_BODY:
            raise TooLargeError
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise DisconnectedError
    return body


def _content_length(scope: Scope) -> int:
    # The server has checked that it is a number; one with more digits is always too large.
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(text[:18])
