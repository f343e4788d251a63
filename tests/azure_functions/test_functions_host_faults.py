"""Azure's Functions host when a worker is killed, the store is down, or no function is loaded."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPException
from pathlib import Path

import pytest

from core.receiver import DEADLINE
from tests.support.deliveries import SECRET, fresh_body, signed
from tests.support.functions_host import FunctionsHost, functions_host
from tests.support.service_bus import ServiceBus, service_bus

pytestmark = pytest.mark.long

DELIVERIES = 2_000
THREADS = 16


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceBus]:
    with service_bus(tmp_path_factory.mktemp("bus"), "events") as bus:
        yield bus


@pytest.fixture(scope="module")
def host(app: Path, bus: ServiceBus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionsHost]:
    environ = {"DT_SIGNATURE_SECRET": SECRET, "DT_SERVICE_BUS": bus.connection_string}
    with functions_host(app, environ, tmp_path_factory.mktemp("home")) as host:
        yield host


def send(host: FunctionsHost, content: bytes) -> int:
    """Send an event; return the answer's status, 0 if there was none."""
    try:
        return host.request("POST", "/events", signed(content), content).status
    except (OSError, HTTPException):
        return 0


def test_two_worker_kills_in_2000_deliveries_store_each_once(host: FunctionsHost, bus: ServiceBus) -> None:
    contents = [fresh_body() for _ in range(DELIVERIES)]
    refused: list[int] = []
    done = threading.Semaphore(0)

    def deliver(content: bytes) -> None:
        while (status := send(host, content)) != 200:
            refused.append(status)
            time.sleep(0.05)
        done.release()

    with ThreadPoolExecutor(THREADS) as pool:
        delivered = pool.map(deliver, contents)
        for _ in range(2):
            for _ in range(DELIVERIES // 3):
                assert done.acquire(timeout=60)
            os.kill(host.worker(), signal.SIGKILL)
        assert list(delivered) == [None] * DELIVERIES
    # The host answers 500 to requests in flight in a killed worker.
    assert set(refused) <= {500}
    assert sorted(message["body"] for message in bus.messages()) == sorted(contents)


def test_frozen_store_is_503_in_time(host: FunctionsHost, bus: ServiceBus) -> None:
    contents = [fresh_body() for _ in range(8)]
    before = len(bus.messages())
    bus.freeze()
    try:
        started = time.monotonic()
        with ThreadPoolExecutor(len(contents)) as pool:
            assert set(pool.map(lambda content: send(host, content), contents)) == {503}
        assert time.monotonic() - started < DEADLINE + 0.5
    finally:
        bus.thaw()
    assert [send(host, content) for content in contents] == [200] * len(contents)
    assert sorted(message["body"] for message in bus.messages()[before:]) == sorted(contents)


def test_third_worker_crash_ends_the_host(app: Path, bus: ServiceBus, tmp_path: Path) -> None:
    """Within half an hour, on a host of its own: pytest-xdist may run the other tests elsewhere."""
    environ = {"DT_SIGNATURE_SECRET": SECRET, "DT_SERVICE_BUS": bus.connection_string}
    with functions_host(app, environ, tmp_path / "home") as host:
        for _ in range(2):
            os.kill(host.worker(), signal.SIGKILL)
            host.wait_until_ready()
        os.kill(host.worker(), signal.SIGKILL)
        assert host.process.wait(30) == 0


BROKEN = {
    "an error at import": "raise ZeroDivisionError",
    "a syntax error": "def (",
    "an empty file": "",
    "a library missing": "import a_library_that_is_missing",
}


ADDRESSES = ("/events", "/", "/admin/warmup", "/x/../", "/healthz")


def _seen(host: FunctionsHost) -> set[int]:
    """Return the statuses of deliveries to /events until the host has looked for a function; 0 for no answer."""
    statuses = set()
    deadline = time.monotonic() + 60
    while send(host, b"") in (0, 503) and time.monotonic() < deadline:
        statuses.add(send(host, fresh_body()))
        time.sleep(0.05)
    return statuses | {send(host, fresh_body())}


def test_host_without_a_function_acknowledges_nothing_at_events(app: Path, tmp_path: Path) -> None:
    """It acknowledges / and /admin/warmup, so the function answers 404 there."""
    with ExitStack() as stack:

        def start(name: str, folder: Path, **environ: str) -> FunctionsHost:
            host = FunctionsHost(folder, environ, tmp_path / f"home of {name}")
            stack.callback(host.close)
            return host

        for name, text in BROKEN.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "host.json").write_bytes((app / "host.json").read_bytes())
            (tmp_path / name / "function_app.py").write_text(text)
        broken = [start(name, tmp_path / name) for name in BROKEN]
        closed = start("a wrong level", app, DT_AUTH_LEVEL="Function")
        with ThreadPoolExecutor() as pool:
            for name, statuses in zip(BROKEN, pool.map(_seen, broken), strict=True):
                assert statuses <= {0, 503, 404}, name
        for host in broken:
            assert [host.request("POST", path, {}, b"{}").status for path in ADDRESSES] == [404, 200, 200, 200, 404]

        closed.wait_until_ready(401)
        assert {closed.request("POST", path, {}, b"{}").status for path in ADDRESSES} == {401}
        # No request reaches the function, which logged the reason when it was loaded.
        assert '"severity":"ERROR","message":"DT_AUTH_LEVEL must be anonymous or function.' in closed.output()
