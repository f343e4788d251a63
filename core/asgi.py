"""The neutral web adapter: any container, Heroku, your own machine. Raw ASGI, because it serves one route."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from core.event import Event
from core.http import Request, Response
from core.receiver import DEADLINE, MAX_BODY, AsyncReceiver
from core.settings import SettingsError
from core.signature import ES256_HEADER, HS256_HEADER
from core.store import Outcome, Store

_SIGNATURE_HEADERS = frozenset({HS256_HEADER.encode(), ES256_HEADER.encode()})

# How uvicorn serves an `App` in a container, behind a platform's router.
UVICORN: dict[str, Any] = {
    # Each is work per request that nothing here reads: the log has its own line, the router its own headers.
    "access_log": False,
    "proxy_headers": False,
    "server_header": False,
    "date_header": False,
    "ws": "none",
    # With "auto", a database that may lose events would be taken for an application without a start.
    "lifespan": "on",
    "log_level": "warning",
    # Heroku kills 30 s after SIGTERM: https://devcenter.heroku.com/articles/dyno-shutdown-behavior
    "timeout_graceful_shutdown": 20,
    # Heroku's router keeps its connections to a dyno for 90 s; closing first would cost it a 503 now and then.
    "timeout_keep_alive": 95,
}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Hook = Callable[[], Awaitable[None]]


async def _nothing() -> None:
    return None


class App:
    """An ASGI application around one `AsyncReceiver`.

    Args:
        receiver: Decides on each request.
        on_startup: Awaited before the first request; raises `core.settings.SettingsError` to stop the server.
        on_shutdown: Awaited after the last answer.
    """

    def __init__(self, receiver: AsyncReceiver, on_startup: Hook = _nothing, on_shutdown: Hook = _nothing) -> None:
        self._receiver = receiver
        self._on_startup = on_startup
        self._on_shutdown = on_shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope, as https://asgi.readthedocs.io/en/latest/specs/main.html says."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.monotonic()
        request = to_request(scope)
        task = cast("asyncio.Task[None]", asyncio.current_task())
        # What asyncio.timeout does, for a quarter of its price.
        timer = task.get_loop().call_later(DEADLINE, task.cancel)
        try:
            request.body = await _read_body(receive)
        except asyncio.CancelledError:
            if time.monotonic() - started < DEADLINE:
                raise  # somebody else's
            task.uncancel()
            response = self._receiver.give_up(request, "body_timeout", started)
        except _Disconnected:
            self._receiver.give_up(request, "disconnected", started)
            return
        else:
            timer.cancel()
            response = await self._receiver.handle(request)
        finally:
            timer.cancel()
        await send(to_response(response))
        await send({"type": "http.response.body", "body": response.body})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._receiver.defer_log(asyncio.get_running_loop().call_soon)
                try:
                    await self._on_startup()
                except SettingsError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self._on_shutdown()
                await send({"type": "lifespan.shutdown.complete"})
                return


class Threaded:
    """A store that waits, on threads of its own, so that the event loop does not.

    An event for which no thread comes free in time is `core.store.StoreUnavailable` with the cause ``deadline``, if the
    store keeps to `core.attempts`.

    Args:
        store: The store; safe to call from several threads.
        threads: How many may wait at once.
    """

    def __init__(self, store: Store, threads: int) -> None:
        self._store = store
        self._threads = ThreadPoolExecutor(threads)

    async def put(self, event: Event, deadline: float) -> Outcome:
        """Put ``event``; see `core.store.AsyncStore`."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._store.put, event, deadline)

    async def close(self) -> None:
        """End the threads, each of which may take until its event's deadline."""
        await asyncio.to_thread(self._threads.shutdown)


class _Disconnected(Exception):
    """The client went away before its body was here."""


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
    """Return the body, cut soon after `MAX_BODY`: the receiver refuses one that is longer, whatever is in it."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message["type"] == "http.request" and message.get("more_body") and len(body) <= MAX_BODY:
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise _Disconnected
    return body
