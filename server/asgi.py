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

# 256 KiB each, and as much again in the server's own buffers: some 40 MB at the worst.
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
        # Answered before the body is here: nobody has to be given memory for it.
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
        """Answer, then read on and forget: a connection that is closed on a client which still sends loses the answer.

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
    """The body did not come in time, or had to make room."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Reading:
    """Bounds the reading of one body: no longer than `DEADLINE`, and `MAX_READING` at a time.

    Each may take memory before its signature can be checked. The oldest makes room for a new one: DT's bodies are a
    packet or two, so that one which is still not here after a hundred others came is not DT's.

    Args:
        others: Those under way, the oldest first.
        started: ``time.monotonic()`` at the request's arrival.

    Raises:
        _GivenUp: On leaving; the body did not come.
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
        # What asyncio.timeout does, for a quarter of its price.
        seconds = self._started + DEADLINE - time.monotonic()
        self._timer = self._task.get_loop().call_later(seconds, self._give_up, "body_timeout")

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self._timer.cancel()
        self._others.pop(self, None)
        # Without a reason it is somebody else's.
        if isinstance(error, asyncio.CancelledError) and self._reason:
            self._task.uncancel()
            raise _GivenUp(self._reason) from None

    def _give_up(self, reason: str) -> None:
        # Once: a task that is cancelled twice is cancelled again, after this was left.
        if self._reason is None:
            self._reason = reason
            self._task.cancel()


def to_request(scope: Scope) -> Request:
    """Translate the scope of a request; its body is still to be read."""
    # ASGI gives names in lower case. The core reads no others, and to decode ten costs more than to hash the body.
    headers = [
        (name.decode(), value.decode("latin-1")) for name, value in scope["headers"] if name in _SIGNATURE_HEADERS
    ]
    return Request(scope["method"], scope["path"], headers, b"")


def to_response(response: Response) -> Message:
    """Translate the head of an answer."""
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
    # The server has checked that it is a number; one of more digits than these is too large, whatever it is.
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(text[:18])
