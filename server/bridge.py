"""Runs an ASGI application on one connection: the page of the local receiver."""

import asyncio

from server.asgi import Message, Page, Scope
from server.wire import head


class Bridge:
    """One request and its answer, which the end of the connection ends.

    Args:
        page: The application.
        scope: The request, which has no body.
        transport: The connection.
    """

    def __init__(self, page: Page, scope: Scope, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._is_gone = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._task = asyncio.get_running_loop().create_task(self._run(page, scope))

    def disconnect(self) -> None:
        """Tell the application that the client is gone."""
        self._is_gone.set()
        self._may_write.set()

    def pause(self) -> None:
        """Let the application wait with its next write."""
        self._may_write.clear()

    def resume(self) -> None:
        """Let it go on."""
        self._may_write.set()

    async def _run(self, page: Page, scope: Scope) -> None:
        try:
            await page(scope, self._receive, self._send)
        finally:
            self._transport.close()

    async def _receive(self) -> Message:
        await self._is_gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self._may_write.wait()
        if self._transport.is_closing():
            return
        if message["type"] == "http.response.start":
            headers = [(name.decode(), value.decode()) for name, value in message["headers"]]
            self._transport.write(head(message["status"], [*headers, ("connection", "close")]))
        else:
            self._transport.write(message.get("body", b""))
