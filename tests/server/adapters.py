"""`server.protocol` as a front door."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from core.http import Request
from server.connections import Connections
from server.protocol import Protocol
from tests.contract.adapter import FrontDoor


def _http(packets: Callable[[bytes], list[bytes]]) -> FrontDoor:
    """Present a delivery as a client sends it: in one packet, or in many."""

    def present(headers: list[tuple[str, str]], body: bytes) -> Request:
        seen: list[Request] = []
        receiver = SimpleNamespace(begin=lambda request, _started, _answer: seen.append(request))
        app = SimpleNamespace(receiver=receiver, page=None, connections=Connections())
        lines = [f"{name}: {value}" for name, value in headers if name.lower() != "content-length"]
        head = "\r\n".join(("POST / HTTP/1.1", *lines, f"Content-Length: {len(body)}", "", ""))

        async def send() -> None:
            protocol = Protocol(
                cast("Any", SimpleNamespace(loaded_app=app)), cast("Any", SimpleNamespace(connections=set()))
            )
            protocol.connection_made(cast("Any", SimpleNamespace(set_write_buffer_limits=lambda _: None)))
            for packet in packets(head.encode("latin-1") + body):
                protocol.data_received(packet)

        asyncio.run(send())
        return seen[0]

    return present


FRONT_DOORS = {
    "HTTP": _http(lambda sent: [sent]),
    "HTTP, in pieces": _http(lambda sent: [sent[at : at + 100] for at in range(0, len(sent), 100)]),
}
