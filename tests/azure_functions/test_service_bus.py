"""What is particular to Service Bus: what exactly is sent, what becomes of each answer, and what of the connections.

Against our own AMQP server, and by the real SDK. What that makes of each answer is in test_service_bus_peer.py.
"""

import asyncio
import gc
import gzip
import os
import re
import socket
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.servicebus import TransportType

from azure_functions import service_bus as module
from azure_functions.identity import AsyncCredential
from azure_functions.sdk import ServiceBusClient
from azure_functions.service_bus import ServiceBusStore, connector
from core.event import Event, reread
from core.receiver import DEADLINE
from core.store import Outcome, StoreUnavailable
from tests.support.deliveries import body, fresh_body
from tests.support.service_bus import ServiceBus, service_bus

NOW = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
DEVICE, PROJECT = "emucdd6ef2eu277bo8f52vg", "ccol8iuk9smqiha4e8l0"
KEY = f"cpbg96qngr7ai7ldarrg.temperature.{DEVICE}"
# Enough for one attempt, and for no other.
ONE_ATTEMPT = 3.05
# The store keeps the loop to itself for less than so many seconds.
PACE = 0.8


class Connect:
    """Makes clients, and counts them: one for each connection."""

    def __init__(self, bus: ServiceBus) -> None:
        self._connect = connector(bus.connection_string, None)
        self.count = 0

    def __call__(self) -> ServiceBusClient:
        self.count += 1
        return self._connect()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are core's; here they would only take time."""
    monkeypatch.setattr("core.attempts.random.uniform", lambda low, high: low)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[ServiceBus]:
    with service_bus(tmp_path, "events") as bus:
        yield bus


@pytest.fixture
def connect(bus: ServiceBus) -> Connect:
    return Connect(bus)


def event(content: bytes | None = None) -> Event:
    return reread(fresh_body() if content is None else content, NOW)


async def put(store: ServiceBusStore, one: Event | None = None, seconds: float = DEADLINE) -> Outcome:
    return await store.put(one or event(), time.monotonic() + seconds)


async def cause_of(store: ServiceBusStore, one: Event | None = None, seconds: float = DEADLINE) -> str:
    """Put an event that is refused in time; return why."""
    with pytest.raises(StoreUnavailable) as caught:
        async with asyncio.timeout(DEADLINE):
            await put(store, one, seconds)
    return caught.value.cause


def run(connect: Callable[[], ServiceBusClient], work: Callable[[ServiceBusStore], Awaitable[None]]) -> None:
    """Work with a store, and close what it has open, which a worker never does."""

    async def all_of_it() -> None:
        store = ServiceBusStore(connect, "events")
        try:
            await work(store)
        finally:
            await close(store)

    asyncio.run(all_of_it())


async def close(store: ServiceBusStore) -> None:
    for connection in store._idle:
        await connection.close()


def open_files() -> int:
    return len(os.listdir("/dev/fd"))


# What is sent.


def sent(bus: ServiceBus, connect: Connect, one: Event) -> dict[str, Any]:
    async def work(store: ServiceBusStore) -> None:
        assert await put(store, one) is Outcome.STORED

    run(connect, work)
    [message] = bus._lines(".jsonl")
    return message


def base64(content: bytes) -> str:
    return b64encode(content).decode()


def test_a_message_is_the_body_beside_the_fields_of_its_event(bus: ServiceBus, connect: Connect) -> None:
    """And nothing that has it expire, or bound to others."""
    assert sent(bus, connect, event(body())) == {
        "queue": "events",
        "messageId": KEY,
        "contentType": "application/json",
        "sessionId": None,
        "partitionKey": None,
        "ttl": None,
        "properties": {
            "key": KEY,
            "eventId": "cpbg96qngr7ai7ldarrg",
            "eventType": "temperature",
            "deviceId": DEVICE,
            "projectId": PROJECT,
            "timestamp": "2024-05-29T10:34:03.970415Z",
            "receivedAt": "2026-11-21T09:00:00.123456Z",
            "parsed": True,
        },
        "body": base64(body()),
    }


def test_what_an_event_lacks_its_message_lacks(bus: ServiceBus, connect: Connect) -> None:
    one = event(b'{"event":{"eventType":"pollen"}}')
    message = sent(bus, connect, one)
    assert message["messageId"] == one.key
    assert message["properties"] == {
        "key": one.key,
        "eventType": "pollen",
        "receivedAt": "2026-11-21T09:00:00.123456Z",
        "parsed": False,
    }


def test_a_body_of_the_limit_goes_as_it_is(bus: ServiceBus, connect: Connect) -> None:
    content = os.urandom(200_000)
    message = sent(bus, connect, event(content))
    assert message["body"] == base64(content)
    assert "encoding" not in message["properties"]


def test_a_body_above_the_limit_is_compressed(bus: ServiceBus, connect: Connect) -> None:
    content = body(padding="x" * 199_999)
    message = sent(bus, connect, event(content))
    packed = gzip.compress(content, mtime=0)
    assert message["properties"]["encoding"] == "gzip"
    assert message["body"] == base64(packed)
    # The same bytes each time, whatever the clock says.
    assert packed[4:8] == bytes(4)


def test_one_byte_above_the_limit_is_above_it(bus: ServiceBus, connect: Connect) -> None:
    message = sent(bus, connect, event(b"x" * 200_001))
    assert message["properties"]["encoding"] == "gzip"
    [stored] = bus.messages()
    assert stored["body"] == b"x" * 200_001


# What becomes of each answer.

# Why another attempt is not made.
FINAL = {
    "quota": "ServiceBusQuotaExceededError",
    "unauthorized": "ServiceBusAuthorizationError",
    "disabled": "MessagingEntityDisabledError",
    "size": "MessageSizeExceededError",
}


@pytest.mark.parametrize("mode", FINAL)
def test_what_is_final_is_asked_for_once(bus: ServiceBus, connect: Connect, mode: str) -> None:
    """And on that connection nothing is sent again, though the broker would have it."""

    async def work(store: ServiceBusStore) -> None:
        assert await put(store) is Outcome.STORED
        bus.set(mode, times=1)  # whoever asks again is told yes
        one = event()
        assert await cause_of(store, one) == FINAL[mode]
        assert (len(bus.messages()), len(bus.tokens())) == (1, 1)
        assert await put(store, one) is Outcome.STORED

    run(connect, work)
    assert (len(bus.tokens()), connect.count) == (2, 2)


def test_a_login_that_is_refused_is_final(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        bus.set("denied")
        assert await cause_of(store) == "ServiceBusAuthenticationError"
        assert len(bus.tokens()) == 1
        bus.set("normal")
        assert await put(store) is Outcome.STORED

    run(connect, work)


def test_a_queue_that_is_not_there_is_final(tmp_path: Path) -> None:
    with service_bus(tmp_path, "others") as bus:

        async def work(store: ServiceBusStore) -> None:
            assert await cause_of(store) == "MessagingEntityNotFoundError"
            assert len(bus.tokens()) == 1

        run(Connect(bus), work)


# Why another attempt is made.
PASSING = {
    "busy": "ServiceBusServerBusyError",
    "internal": "ServiceBusError",
    "detach": "ServiceBusConnectionError",
    "close": "ServiceBusConnectionError",
}


@pytest.mark.parametrize("mode", PASSING)
def test_what_may_pass_is_asked_for_three_times(bus: ServiceBus, connect: Connect, mode: str) -> None:
    """Each time on a connection of its own: the broker counts a token for each."""

    async def work(store: ServiceBusStore) -> None:
        assert await put(store) is Outcome.STORED
        one = event()
        bus.set(mode, times=3)
        assert await cause_of(store, one) == PASSING[mode]
        assert (len(bus.messages()), len(bus.tokens())) == (1, 3)
        assert await put(store, one) is Outcome.STORED
        assert len(bus.tokens()) == 4

    run(connect, work)


def test_what_passed_at_the_third_attempt_is_stored(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        bus.set("busy", times=2)
        assert await put(store) is Outcome.STORED

    run(connect, work)
    assert len(bus.messages()) == 1


def test_what_was_stored_when_the_answer_was_lost_is_not_stored_twice(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        bus.set("lost", times=2)
        assert await put(store) is Outcome.STORED
        assert len(bus.tokens()) == 3

    run(connect, work)
    assert len(bus.messages()) == 1


def test_nobody_who_listens_is_asked_for_three_times(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        assert await put(store) is Outcome.STORED
        bus.kill()
        started = time.monotonic()
        assert await cause_of(store) == "ServiceBusConnectionError"
        assert time.monotonic() - started < 3
        # One that was open, and two that were not.
        assert connect.count == 3
        await asyncio.to_thread(bus.start)
        assert await put(store) is Outcome.STORED

    run(connect, work)


def test_without_the_time_for_an_attempt_none_is_made(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        assert await cause_of(store, seconds=2.9) == "deadline"
        assert bus.tokens() == []
        assert await put(store) is Outcome.STORED

    run(connect, work)


@asynccontextmanager
async def pace_is_kept() -> AsyncIterator[None]:
    """See that nobody keeps the loop to himself meanwhile."""
    late = 0.0

    async def tick() -> None:
        nonlocal late
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.02)
            late = max(late, time.monotonic() - before)

    ticking = asyncio.create_task(tick())
    yield
    ticking.cancel()
    assert 0 < late < PACE


# How a broker says nothing, and whether the connection was open before. With a token unanswered it never is.
SILENCES = [
    *((mode, is_open) for mode in ("bare", "released", "silent", "slow", "frozen") for is_open in (True, False)),
    ("mute", False),
]


async def silence(bus: ServiceBus, mode: str, is_open: bool) -> tuple[str, int]:
    """Put an event while the broker is so; return why that was refused, and after how many attempts."""
    connect = Connect(bus)
    store = ServiceBusStore(connect, "events")
    if is_open:
        assert await put(store) is Outcome.STORED
    await asyncio.to_thread(bus.freeze if mode == "frozen" else lambda: bus.set(mode, seconds=30))
    cause = await cause_of(store)
    attempts = connect.count
    await asyncio.to_thread(bus.thaw if mode == "frozen" else lambda: bus.set("normal"))
    # It is over when it is over, for the same store.
    assert await put(store) is Outcome.STORED
    await close(store)
    return cause, attempts


async def deafness(connection_string: str) -> str:
    """Put an event where connections are taken by nobody; return why that was refused."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(64)
        address = re.sub(r"(?<=:)\d+(?=;)", str(deaf.getsockname()[1]), connection_string)
        return await cause_of(ServiceBusStore(connector(address, None), "events"))


def test_every_silence_ends_in_time_and_holds_nobody_up(tmp_path: Path) -> None:
    """All at once, in one loop, each at a broker of its own: for more than two attempts there is no time."""

    async def all_at_once(buses: list[ServiceBus]) -> list[tuple[str, int]]:
        async with pace_is_kept():
            deaf = asyncio.create_task(deafness(buses[0].connection_string))
            found = await asyncio.gather(*map(silence, buses, *zip(*SILENCES, strict=True)))
            assert await deaf == "TimeoutError"
            return found

    with ExitStack() as stack:
        folders = [tmp_path / str(number) for number in range(len(SILENCES))]
        for folder in folders:
            folder.mkdir()
        found = asyncio.run(all_at_once([stack.enter_context(service_bus(folder, "events")) for folder in folders]))
    # The SDK has a time-out as long as ours, and never keeps it as well, if it does at all.
    assert dict(zip(SILENCES, found, strict=True)) == dict.fromkeys(SILENCES, ("TimeoutError", 2))


# The connections.


def test_events_one_after_the_other_share_a_connection(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        for _ in range(50):
            assert await put(store) is Outcome.STORED

    run(connect, work)
    assert (len(bus.messages()), len(bus.tokens()), connect.count) == (50, 1, 1)


def test_events_at_the_same_time_have_a_connection_each(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        for _ in range(10):
            assert await asyncio.gather(*(put(store) for _ in range(5))) == [Outcome.STORED] * 5

    run(connect, work)
    assert (len(bus.messages()), len(bus.tokens()), connect.count) == (50, 5, 5)


def test_none_is_opened_before_there_is_an_event(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        await asyncio.sleep(0.2)
        assert connect.count == 1

    run(connect, work)
    assert bus._lines(".tokens") == []


class Clock:
    """The time that connections are looked at by."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.passed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_one_that_was_idle_for_three_minutes_is_not_used(bus: ServiceBus, connect: Connect, clock: Clock) -> None:
    async def work(store: ServiceBusStore) -> None:
        counts = []
        for seconds in (0, 175, 175, 180, 0, 175):
            clock.passed += seconds
            assert await put(store) is Outcome.STORED
            counts.append(len(bus.tokens()))
        assert counts == [1, 1, 1, 2, 2, 2]

    run(connect, work)


def test_one_that_is_half_an_hour_old_is_not_used(bus: ServiceBus, connect: Connect, clock: Clock) -> None:
    async def work(store: ServiceBusStore) -> None:
        for _ in range(11):
            assert await put(store) is Outcome.STORED
            clock.passed += 179
        assert clock.passed > 1800
        assert len(bus.tokens()) == 1
        assert await put(store) is Outcome.STORED
        assert len(bus.tokens()) == 2

    run(connect, work)


def test_those_that_were_idle_for_too_long_are_closed(bus: ServiceBus, connect: Connect, clock: Clock) -> None:
    async def work(store: ServiceBusStore) -> None:
        before = open_files()
        await asyncio.gather(*(put(store) for _ in range(10)))
        assert open_files() >= before + 10
        clock.passed = 181
        assert await put(store) is Outcome.STORED
        assert open_files() <= before + 3

    run(connect, work)


def test_those_to_whom_nothing_can_be_said_are_not_waited_for(bus: ServiceBus, connect: Connect, clock: Clock) -> None:
    async def work(store: ServiceBusStore) -> None:
        await asyncio.gather(*(put(store) for _ in range(10)))
        clock.passed = 181
        bus.freeze()
        started = time.monotonic()
        assert await cause_of(store, seconds=ONE_ATTEMPT) == "TimeoutError"
        assert time.monotonic() - started < ONE_ATTEMPT + 0.4
        bus.thaw()

    run(connect, work)


@pytest.mark.parametrize("by", ["connection", "link"])
def test_one_that_the_broker_ended_costs_an_attempt_and_no_event(tmp_path: Path, by: str) -> None:
    with service_bus(tmp_path, "events", idle=0.5) as bus:

        async def work(store: ServiceBusStore) -> None:
            assert await put(store) is Outcome.STORED
            if by == "link":
                bus.set("evict")
            else:
                await asyncio.sleep(1)
            assert await put(store) is Outcome.STORED
            assert len(bus.tokens()) == 2

        run(Connect(bus), work)
        assert len(bus.messages()) == 2


def test_a_broker_that_ended_all_of_them_costs_each_event_an_attempt(bus: ServiceBus, connect: Connect) -> None:
    """Another of those that were open is no better than the first: the second attempt is on a new one."""

    async def work(store: ServiceBusStore) -> None:
        assert await asyncio.gather(*(put(store) for _ in range(8))) == [Outcome.STORED] * 8
        bus.kill()
        await asyncio.to_thread(bus.start)
        assert await put(store) is Outcome.STORED
        assert connect.count == 9
        assert await asyncio.gather(*(put(store) for _ in range(8))) == [Outcome.STORED] * 8
        assert connect.count == 16

    run(connect, work)
    assert len(bus.messages()) == 17


def test_a_hundred_refusals_leave_no_file_open(bus: ServiceBus, connect: Connect) -> None:
    """Without the collector: where the broker is there to hear it, a connection is closed in so many words."""

    async def work(store: ServiceBusStore) -> None:
        before = open_files()
        bus.set("quota")
        for _ in range(5):
            causes = await asyncio.gather(*(cause_of(store) for _ in range(20)))
            assert set(causes) == {"ServiceBusQuotaExceededError"}
        assert connect.count == 100
        assert open_files() <= before + 5

    gc.disable()
    try:
        run(connect, work)
    finally:
        gc.enable()


def test_a_hundred_connections_that_broke_leave_none_open_once_collected(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        await asyncio.gather(*(put(store) for _ in range(20)))
        before = open_files()
        bus.kill()
        for _ in range(2):
            causes = await asyncio.gather(*(cause_of(store) for _ in range(20)))
            assert set(causes) == {"ServiceBusConnectionError"}
        assert connect.count > 100
        gc.collect()
        assert open_files() <= before

    run(connect, work)


# Copies, deaths and cancellations.


def test_a_second_copy_is_dropped_by_a_broker_that_was_started_again(bus: ServiceBus, connect: Connect) -> None:
    async def work(store: ServiceBusStore) -> None:
        one = event()
        assert await put(store, one) is Outcome.STORED
        bus.kill()
        await asyncio.to_thread(bus.start)
        assert [await put(store, one), await put(store, one)] == [Outcome.STORED] * 2

    run(connect, work)
    assert len(bus.messages()) == 1


def test_a_broker_that_dies_takes_nothing_with_it_that_was_stored(bus: ServiceBus, connect: Connect) -> None:
    """Twenty at once, in the middle of which it dies, and it is there again while they still try."""

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
        assert all(each is Outcome.STORED or isinstance(each, StoreUnavailable) for each in outcomes)
        stored = [message["key"] for message in bus.messages()]
        assert len(stored) == len(set(stored))
        assert {one.key for one, each in zip(events, outcomes, strict=True) if each is Outcome.STORED} <= set(stored)
        # What was refused comes again, as from DT.
        assert await asyncio.gather(*(put(store, one) for one in events)) == [Outcome.STORED] * 20
        assert {message["key"] for message in bus.messages()} == {one.key for one in events}

    run(connect, work)
    assert len(bus.messages()) == 20


def test_one_that_is_cancelled_costs_the_others_nothing(bus: ServiceBus, connect: Connect) -> None:
    """Its connection, which waits for an answer still, is not used again: that answer would be taken for another's."""

    async def work(store: ServiceBusStore) -> None:
        before, cancelled, after = event(), event(), event()
        assert await put(store, before) is Outcome.STORED
        bus.set("silent", times=1)
        sending = asyncio.create_task(put(store, cancelled))
        await asyncio.sleep(0.2)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await put(store, after) is Outcome.STORED
        assert len(bus.tokens()) == 2
        assert [message["key"] for message in bus.messages()] == [before.key, after.key]
        assert await put(store, cancelled) is Outcome.STORED
        assert len(bus.messages()) == 3

    run(connect, work)


# The address and who we are.


@pytest.mark.parametrize(
    "address",
    [
        "a=b",
        "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey",
        "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=send",
        "SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0",
    ],
)
def test_what_is_no_connection_string_is_said_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="onnection"):
        ServiceBusStore(connector(address, None), "events")


def test_a_host_name_is_logged_in_to_as_the_function() -> None:
    client = connector("ns.servicebus.windows.net", "11111111-2222-3333-4444-555555555555")()
    assert client.fully_qualified_namespace == "ns.servicebus.windows.net"
    assert isinstance(client._credential, AsyncCredential)
    assert client._config.retry_total == 0


class Credential:
    """An identity whose tokens last for so many seconds."""

    def __init__(self, lifetime: float = 3600) -> None:
        self._lifetime = lifetime
        self.threads: set[int] = set()

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.threads.add(threading.get_ident())
        assert scopes == ("https://servicebus.azure.net//.default",)
        return AccessToken("header.claims.signature", int(time.time() + self._lifetime))


def identified(bus: ServiceBus, credential: Credential) -> Callable[[], ServiceBusClient]:
    return lambda: ServiceBusClient(
        "tests.servicebus.windows.net",
        AsyncCredential(credential),
        custom_endpoint_address=f"sb://{bus.namespace}",
        transport_type=TransportType.Amqp,
        connection_verify=str(bus.certificate),
        retry_total=0,
    )


def test_the_functions_identity_logs_in_over_tls_and_off_the_loop(tmp_path: Path) -> None:
    credential = Credential()
    with service_bus(tmp_path, "events", tls=True) as bus:

        async def work(store: ServiceBusStore) -> None:
            assert [await put(store), await put(store)] == [Outcome.STORED] * 2

        run(identified(bus, credential), work)
        audience = "sb://tests.servicebus.windows.net/events"
        assert bus.tokens() == [{"type": "jwt", "audience": audience, "token": "header.claims.signature"}]
        assert len(bus.messages()) == 2
    assert threading.get_ident() not in credential.threads


def test_a_token_that_ended_meanwhile_costs_an_attempt_and_no_event(tmp_path: Path) -> None:
    with service_bus(tmp_path, "events", tls=True) as bus:

        async def work(store: ServiceBusStore) -> None:
            assert await put(store) is Outcome.STORED
            await asyncio.sleep(2.1)
            assert await put(store) is Outcome.STORED

        run(identified(bus, Credential(lifetime=2)), work)
        assert (len(bus.messages()), len(bus.tokens())) == (2, 2)
