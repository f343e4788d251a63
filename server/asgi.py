"""The application that uvicorn runs: a receiver, and its start and end."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from core.environment import SettingsError
from core.receiver import AsyncReceiver
from server.connections import Connections

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Page(Protocol):
    """An ASGI application that answers some GET requests in place of the receiver."""

    def is_for(self, scope: Scope) -> bool:
        """Return whether it answers this request."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it, as https://asgi.readthedocs.io/en/latest/specs/www.html says."""
        ...


class App:
    """Opens a receiver before the first request and closes it after the last.

    `server.protocol.Protocol` hands requests to the receiver directly, so of ASGI there is only the lifespan.

    Attributes:
        receiver: Decides on each request.
        page: Answers some requests in its place, if given.
        connections: The open ones.
    """

    def __init__(self, receiver: AsyncReceiver, page: Page | None = None) -> None:
        self.receiver = receiver
        self.page = page
        self.connections = Connections()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start and stop, as https://asgi.readthedocs.io/en/latest/specs/lifespan.html says."""
        while scope["type"] == "lifespan":
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.receiver.log.defer(asyncio.get_running_loop().call_soon)
                try:
                    await self.receiver.open()
                except SettingsError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.receiver.close()
                await send({"type": "lifespan.shutdown.complete"})
                return
