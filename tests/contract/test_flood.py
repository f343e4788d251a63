"""A flood of unsigned bodies takes little memory and delays no signed delivery, in each of our servers."""

import asyncio
import resource
import time
from pathlib import Path

import pytest

from core.receiver import MAX_BODY
from tests.contract.adapters import ADAPTERS, SERVERS
from tests.support.deliveries import SECRET, fresh_body, signed
from tests.support.processes import Program

CONNECTIONS = 3500
HALF = b"x" * (MAX_BODY - 1)


@pytest.mark.alone  # it measures memory and latency
@pytest.mark.parametrize("name", SERVERS)
def test_half_sent_bodies_do_not_block_deliveries(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (16_384, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with ADAPTERS[name]({"DT_SIGNATURE_SECRET": SECRET}, tmp_path, request) as adapter:
        assert isinstance(adapter.receiving, Program)
        latencies = asyncio.run(_flood(adapter.receiving))
        assert _most_megabytes(adapter.receiving) < 150
        assert len(adapter.bodies()) == len(latencies)
    assert latencies[int(len(latencies) * 0.99)] < 1


async def _flood(program: Program) -> list[float]:
    """Send half bodies, and complete ones beside them; return the sorted times of the complete ones."""
    flooding = asyncio.gather(*(_send_half(program.port, number / CONNECTIONS * 3) for number in range(CONNECTIONS)))
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


async def _send_half(port: int, after: float) -> None:
    await asyncio.sleep(after)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"POST /events HTTP/1.1\r\nHost: x\r\nX-Dt-Signature: x\r\nContent-Length: %d\r\n\r\n" % MAX_BODY)
        writer.write(HALF)
        # Answered when it is evicted or times out.
        assert b" 503 " in await asyncio.wait_for(reader.read(100), 20)
    except ConnectionResetError:
        pass  # closed while it was still sending
    finally:
        writer.transport.abort()  # `close` would wait for what was not sent


def _most_megabytes(program: Program) -> float:
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
