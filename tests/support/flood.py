"""Requests without a signature, many at a time, and deliveries beside them."""

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from core.receiver import MAX_BODY
from tests.support.deliveries import fresh_body, signed
from tests.support.processes import Program

HEAD = b"POST /events HTTP/1.1\r\nHost: x\r\nX-Dt-Signature: x\r\n"
Attack = Callable[[int, float], Awaitable[None]]


async def send_half_a_body(port: int, after: float) -> None:
    await asyncio.sleep(after)
    async with connected(port) as (reader, writer):
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % MAX_BODY)
        writer.write(b"x" * (MAX_BODY - 1))
        # Answered when it is evicted or times out.
        assert b" 503 " in await asyncio.wait_for(reader.read(100), 20)


async def send_an_endless_head(port: int, after: float) -> None:
    await asyncio.sleep(after)
    async with connected(port) as (_, writer):
        writer.write(HEAD + b"A: ")
        for _ in range(20):
            writer.write(b"x" * 100_000)
            await writer.drain()


async def send_half_a_head(port: int, after: float) -> None:
    await asyncio.sleep(after)
    async with connected(port) as (reader, writer):
        writer.write(HEAD)
        await asyncio.wait_for(reader.read(), 20)


async def be_silent(port: int, after: float) -> None:
    """Until the server closes the connection."""
    await asyncio.sleep(after)
    async with connected(port) as (reader, _):
        assert await asyncio.wait_for(reader.read(), 30) == b""


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that the server may close at any time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            yield reader, writer
    finally:
        writer.transport.abort()  # `close` would wait for what was not sent


ATTACKS: dict[str, tuple[Attack, int]] = {
    "half bodies": (send_half_a_body, 3_500),
    "endless heads": (send_an_endless_head, 300),
    "half heads": (send_half_a_head, 3_500),
    "silent connections": (be_silent, 2_000),
}


async def flood(program: Program, attack: Attack, connections: int) -> list[float]:
    """Attack for 3 s by that many connections, and deliver beside them; return the sorted seconds of the deliveries."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (16_384, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    flooding = asyncio.gather(*(attack(program.port, number / connections * 3) for number in range(connections)))
    latencies = []
    while not flooding.done():
        content = fresh_body()
        began = time.monotonic()
        answer = await asyncio.to_thread(program.request, "POST", "/events", signed(content), content)
        assert answer.status == 200
        latencies.append(time.monotonic() - began)
        await asyncio.sleep(0.02)
    await flooding
    return sorted(latencies)


def most_megabytes(program: Program) -> float:
    """Return the most memory that the process has had."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
