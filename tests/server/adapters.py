"""`server.asgi` as a front door."""

import asyncio
from collections.abc import Callable
from typing import Any

from core.http import Request
from server.asgi import App, Message
from tests.contract.adapter import FrontDoor


def _asgi(chunks: Callable[[bytes], list[bytes]]) -> FrontDoor:
    """Present a delivery as an ASGI server does: names in lower case, the body in one message or in many."""

    def present(headers: list[tuple[str, str]], body: bytes) -> Request:
        seen: list[Request] = []
        parts = chunks(body)
        messages: list[Message] = [
            {"type": "http.request", "body": part, "more_body": index + 1 < len(parts)}
            for index, part in enumerate(parts)
        ]

        class Keeps:
            async def handle(self, request: Request, started: float) -> Any:
                seen.append(request)
                raise asyncio.CancelledError

        async def receive() -> Message:
            return messages.pop(0)

        async def send(message: Message) -> None:
            raise AssertionError(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }
        try:
            asyncio.run(App(Keeps())(scope, receive, send))  # type: ignore[arg-type]
        except asyncio.CancelledError:
            pass
        return seen[0]

    return present


FRONT_DOORS = {
    "ASGI": _asgi(lambda body: [body]),
    "ASGI, in pieces": _asgi(lambda body: [body[:1], b"", *(body[at : at + 100] for at in range(1, len(body), 100))]),
}
