"""An unread log (a pager, a paused container driver) delays no answer, on any platform."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.adapter import Adapter
from tests.contract.adapters import ADAPTERS, PIPED_LOGS
from tests.support.deliveries import SECRET, body, signed
from tests.support.processes import Printing

# A line is at least 200 bytes, and a pipe holds 64 KiB.
REQUESTS = 1000


@pytest.fixture(params=PIPED_LOGS)
def adapter(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Adapter, int]]:
    """Give an adapter, and the other end of the pipe that its log goes to."""
    reader, writer = os.pipe()

    def to_a_pipe(printing: Printing) -> None:
        printing._log = open(writer, "wb")  # type: ignore[assignment]  # noqa: SIM115 - close() closes it

    monkeypatch.setattr(Printing, "__init__", to_a_pipe)
    with ADAPTERS[request.param]({"DT_SIGNATURE_SECRET": SECRET}, tmp_path, request) as started:
        yield started, reader
    os.close(reader)


def test_unread_log_does_not_block_answers(adapter: tuple[Adapter, int]) -> None:
    platform, reader = adapter
    slowest = 0.0
    for _ in range(REQUESTS):
        began = time.monotonic()
        assert platform.receiving.request("POST", "/", {}, b"{}").status == 401
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 8
    assert platform.receiving.request("POST", "/", signed(body()), body()).status == 200
    assert platform.bodies() == [body()]
    # A later reader gets every line.
    os.set_blocking(reader, False)
    read, deadline = b"", time.monotonic() + 30
    while read.count(b'"status":401') < REQUESTS or b'"status":200' not in read:
        assert time.monotonic() < deadline, read[-1000:]
        try:
            read += os.read(reader, 65_536)
        except BlockingIOError:
            time.sleep(0.01)
