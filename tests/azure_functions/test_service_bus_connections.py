"""The connection to Service Bus: sharing, age, reconnects, leaks and login."""

import asyncio
import gc
import ssl
import time
from dataclasses import replace
from pathlib import Path

import pytest

from azure_functions import service_bus as module
from azure_functions.namespace import Namespace, namespace, trusted
from azure_functions.service_bus import ServiceBusStore
from core.stores.contract import Outcome, StoreUnavailableError
from tests.azure_functions.service_bus_store import ONE_ATTEMPT, Connect, cause_of, open_files, put, run
from tests.support.events import event
from tests.support.service_bus import ServiceBus, service_bus

pytestmark = pytest.mark.usefixtures("no_pauses")


def test_sequential_events_reuse_the_connection(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        for _ in range(50):
            assert await put(store) == Outcome.STORED

    run(connect, work)
    assert (len(bus.messages()), len(bus.tokens()), connect.count) == (50, 1, 1)


def test_concurrent_events_share_the_connection(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        for _ in range(10):
            assert await asyncio.gather(*(put(store) for _ in range(50))) == [Outcome.STORED] * 50

    run(connect, work)
    assert (len(bus.messages()), len(bus.tokens()), connect.count) == (500, 1, 1)


def test_concurrent_rejections_are_those_of_their_events(bus: ServiceBus, connect: Connect) -> None:
    """A deadline that is too close for another attempt shows what each message got."""

    async def work(store: ServiceBusStore) -> None:
        assert await put(store) == Outcome.STORED
        bus.set("quota", times=7)
        events = [event() for _ in range(20)]
        outcomes = await asyncio.gather(*(put(store, one) for one in events), return_exceptions=True)
        assert [isinstance(each, StoreUnavailableError) for each in outcomes] == [True] * 7 + [False] * 13
        assert [message["key"] for message in bus.messages()[1:]] == [one.key for one in events[7:]]

    run(connect, work)
    assert connect.count == 1


@pytest.mark.long
def test_silent_broker_gets_few_connections(bus: ServiceBus, connect: Connect) -> None:
    """A connection without an answer gets no further event; it is closed when nobody waits for it any more."""

    async def work(store: ServiceBusStore) -> None:
        assert await put(store) == Outcome.STORED
        before = open_files()
        await asyncio.to_thread(bus.set, "silent")
        causes = [asyncio.create_task(cause_of(store)) for _ in range(100)]
        most = 0
        for _ in range(100):
            await asyncio.sleep(0.05)
            most = max(most, open_files())
            causes.append(asyncio.create_task(cause_of(store, seconds=ONE_ATTEMPT)))
        assert set(await asyncio.gather(*causes)) == {"TimeoutError"}
        assert most <= before + 3
        assert open_files() <= before + 1
        await asyncio.to_thread(bus.set, "normal")
        assert await put(store) == Outcome.STORED

    run(connect, work)
    assert connect.count < 10


def test_no_connection_is_opened_before_the_first_event(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        await asyncio.sleep(0.2)
        assert connect.count == 0

    run(connect, work)
    assert bus._lines(".tokens") == []


class Clock:
    """The time that connections are looked at by."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.passed

    def time(self) -> float:
        return time.time() + self.passed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_connection_idle_for_three_minutes_is_not_reused(bus: ServiceBus, connect: Connect, clock: Clock) -> None:
    async def work(store: ServiceBusStore) -> None:
        counts = []
        for seconds in (0, 175, 175, 180, 0, 175):
            clock.passed += seconds
            assert await put(store) == Outcome.STORED
            counts.append(len(bus.tokens()))
        assert counts == [1, 1, 1, 2, 2, 2]

    run(connect, work)


def test_connection_half_an_hour_old_is_not_reused(bus: ServiceBus, connect: Connect, clock: Clock) -> None:
    async def work(store: ServiceBusStore) -> None:
        for _ in range(11):
            assert await put(store) == Outcome.STORED
            clock.passed += 179
        assert clock.passed > 1800
        assert len(bus.tokens()) == 1
        assert await put(store) == Outcome.STORED
        assert len(bus.tokens()) == 2

    run(connect, work)


def test_idle_connection_is_closed(bus: ServiceBus, connect: Connect, clock: Clock) -> None:
    async def work(store: ServiceBusStore) -> None:
        assert await put(store) == Outcome.STORED
        before = open_files()
        clock.passed = 181
        assert await put(store) == Outcome.STORED
        assert open_files() == before

    run(connect, work)


def test_closing_an_idle_connection_does_not_block(bus: ServiceBus, connect: Connect, clock: Clock) -> None:
    async def work(store: ServiceBusStore) -> None:
        assert await put(store) == Outcome.STORED
        clock.passed = 181
        bus.freeze()
        started = time.monotonic()
        assert await cause_of(store, seconds=ONE_ATTEMPT) == "TimeoutError"
        assert time.monotonic() - started < ONE_ATTEMPT + 2
        bus.thaw()

    run(connect, work)


@pytest.mark.parametrize("by", ["connection", "link"])
def test_reconnect_after_the_broker_closed_the_connection(tmp_path: Path, by: str) -> None:
    with service_bus(tmp_path, "events", idle=2) as bus:

        async def work(store: ServiceBusStore) -> None:
            assert await put(store) == Outcome.STORED
            if by == "link":
                bus.set("evict")
            else:
                await asyncio.sleep(3)
            assert await put(store) == Outcome.STORED
            assert len(bus.tokens()) == 2

        run(Connect(bus), work)
        assert len(bus.messages()) == 2


def test_reconnect_after_a_broker_restart(bus: ServiceBus, connect: Connect) -> None:
    """Whoever waits for a new connection gets the same one."""

    async def work(store: ServiceBusStore) -> None:
        assert await asyncio.gather(*(put(store) for _ in range(8))) == [Outcome.STORED] * 8
        bus.kill()
        await asyncio.to_thread(bus.start)
        assert await put(store) == Outcome.STORED
        assert connect.count == 2
        bus.kill()
        await asyncio.to_thread(bus.start)
        assert await asyncio.gather(*(put(store) for _ in range(8))) == [Outcome.STORED] * 8
        assert connect.count == 3

    run(connect, work)
    assert len(bus.messages()) == 17


@pytest.mark.long
@pytest.mark.alone
def test_no_connection_leak_in_a_hundred_refusals(bus: ServiceBus, connect: Connect) -> None:
    """Without garbage collection: each connection is closed explicitly while the broker is up."""

    async def work(store: ServiceBusStore) -> None:
        before = open_files()
        bus.set("quota")
        for _ in range(5):
            causes = await asyncio.gather(*(cause_of(store) for _ in range(20)))
            assert set(causes) == {"amqp:resource-limit-exceeded"}
        assert open_files() <= before + 1

    gc.disable()
    try:
        run(connect, work)
    finally:
        gc.enable()


@pytest.mark.long
@pytest.mark.alone
def test_no_connection_leak_in_a_hundred_broken_connections(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        await asyncio.gather(*(put(store) for _ in range(20)))
        before = open_files()
        bus.kill()
        for _ in range(2):
            causes = await asyncio.gather(*(cause_of(store) for _ in range(20)))
            assert set(causes) == {"ConnectionRefusedError"}
        assert open_files() < before

    run(connect, work)


# Duplicates, kills and cancellations.


def test_duplicate_is_dropped_after_a_broker_restart(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        one = event()
        assert await put(store, one) == Outcome.STORED
        bus.kill()
        await asyncio.to_thread(bus.start)
        assert [await put(store, one), await put(store, one)] == [Outcome.STORED] * 2

    run(connect, work)
    assert len(bus.messages()) == 1


@pytest.mark.alone
def test_broker_kill_loses_no_stored_event(bus: ServiceBus, connect: Connect) -> None:
    """The broker is killed amid twenty concurrent events, and is up again while they retry."""

    async def work(store: ServiceBusStore) -> None:
        bus.set("slow", seconds=0.2)
        events = [event() for _ in range(20)]
        sent = [asyncio.create_task(put(store, one)) for one in events]
        while sum(task.done() for task in sent) < 2:
            await asyncio.sleep(0.01)
        bus.kill()
        at_that_time = {one.key for one, task in zip(events, sent, strict=True) if task.done()}
        assert at_that_time <= {message["key"] for message in bus.messages()}
        await asyncio.sleep(0.3)
        await asyncio.to_thread(bus.start)
        outcomes = await asyncio.gather(*sent, return_exceptions=True)
        assert all(each == Outcome.STORED or isinstance(each, StoreUnavailableError) for each in outcomes)
        stored = [message["key"] for message in bus.messages()]
        assert len(stored) == len(set(stored))
        assert {one.key for one, each in zip(events, outcomes, strict=True) if each == Outcome.STORED} <= set(stored)
        # Refused events are sent again, as DT does.
        assert await asyncio.gather(*(put(store, one) for one in events)) == [Outcome.STORED] * 20
        assert {message["key"] for message in bus.messages()} == {one.key for one in events}

    run(connect, work)
    assert len(bus.messages()) == 20


def test_cancelled_send_does_not_affect_other_events(bus: ServiceBus, connect: Connect) -> None:
    """Its connection is not reused: why nobody waits any more is not known."""

    async def work(store: ServiceBusStore) -> None:
        before, cancelled, after = event(), event(), event()
        assert await put(store, before) == Outcome.STORED
        bus.set("silent", times=1)
        sending = asyncio.create_task(put(store, cancelled))
        await asyncio.sleep(1)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await put(store, after) == Outcome.STORED
        assert len(bus.tokens()) == 2
        assert [message["key"] for message in bus.messages()] == [before.key, after.key]
        assert await put(store, cancelled) == Outcome.STORED
        assert len(bus.messages()) == 3

    run(connect, work)


@pytest.mark.parametrize(
    "address",
    [
        "a=b",
        "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey",
        "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=send",
        "SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0",
    ],
)
def test_invalid_connection_string_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(ValueError, match="onnection"):
        namespace(address, "events", None)


def test_host_name_uses_the_managed_identity() -> None:
    there = namespace("ns.servicebus.windows.net", "events", "11111111-2222-3333-4444-555555555555")
    assert (there.host, there.port, there.kind) == ("ns.servicebus.windows.net", 5671, "jwt")
    assert there.tls is trusted


def identified(bus: ServiceBus, lifetime: float = 3600) -> Connect:
    """Connect as an identity does, whose tokens last for so many seconds."""

    async def token(_audience: str) -> tuple[str, float]:
        return "header.claims.signature", time.time() + lifetime

    def tls() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=bus.certificate)

    return Connect(bus, Namespace("127.0.0.1", bus.port, "events", "jwt", token, tls))


def test_login_over_tls(tmp_path: Path) -> None:
    with service_bus(tmp_path, "events", tls=True) as bus:

        async def work(store: ServiceBusStore) -> None:
            assert [await put(store), await put(store)] == [Outcome.STORED] * 2

        run(identified(bus), work)
        audience = "sb://127.0.0.1/events"
        assert bus.tokens() == [{"type": "jwt", "audience": audience, "token": "header.claims.signature"}]
        assert len(bus.messages()) == 2


def test_certificate_is_verified(tmp_path: Path) -> None:
    """Not trusted, and of another name."""
    with service_bus(tmp_path, "events", tls=True) as bus:
        there = identified(bus)._there

        async def work(store: ServiceBusStore) -> None:
            assert await cause_of(store) == "SSLCertVerificationError"

        run(Connect(bus, replace(there, tls=trusted)), work)
        run(Connect(bus, replace(there, host="localhost")), work)
        assert bus.tokens() == []


def test_connection_does_not_outlive_its_token(tmp_path: Path) -> None:
    with service_bus(tmp_path, "events", tls=True) as bus:

        async def work(store: ServiceBusStore) -> None:
            for _ in range(2):
                assert await put(store) == Outcome.STORED
            await asyncio.sleep(2)
            assert await put(store) == Outcome.STORED

        run(identified(bus, lifetime=61.5), work)
        assert (len(bus.messages()), len(bus.tokens())) == (3, 2)
