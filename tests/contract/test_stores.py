"""Promises 1, 3, 5 and 6, kept by every store."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT
from core.stores.contract import AsyncStore, Outcome, StoreUnavailableError
from tests.contract.store import Harness
from tests.contract.stores import STORES, grouped, meeting
from tests.support.cases import each_table
from tests.support.deliveries import body, fresh_body

NOW = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=STORES)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    with STORES[request.param].factory(tmp_path, request) as harness:
        harness.refuses_copies = STORES[request.param].refuses_copies
        harness.again = STORES[request.param].again
        harness.causes = STORES[request.param].causes
        yield harness


@asynccontextmanager
async def opened(harness: Harness) -> AsyncIterator[AsyncStore]:
    store = harness.build()
    await store.open()
    yield store
    await store.close()


def event(content: bytes | None = None) -> Event:
    return parse_stored(fresh_body() if content is None else content, NOW, "hs256:0")


async def put(store: AsyncStore, event: Event, seconds: float = DEADLINE) -> Outcome:
    return await store.put(event, time.monotonic() + seconds)


async def deliver(deliveries: list[tuple[AsyncStore, Event]]) -> tuple[Counter[Outcome], int]:
    """Put all at once, and those that are refused again, one after the other.

    DT does so too. On a busy machine many at once may wait too long. What was stored unnoticed is then a duplicate, if
    the service can tell.

    Returns:
        The outcomes, and how many were refused at first.
    """
    found = await asyncio.gather(*(put(*each) for each in deliveries), return_exceptions=True)
    outcomes: Counter[Outcome] = Counter()
    refused = 0
    for each, outcome in zip(deliveries, found, strict=True):
        if isinstance(outcome, StoreUnavailableError):
            refused += 1
            outcomes[await put(*each)] += 1
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            outcomes[outcome] += 1
    return outcomes, refused


async def is_refused(store: AsyncStore, event: Event, seconds: float = DEADLINE) -> str:
    """Put an event during a fault; assert that it is refused before the deadline, with a cause for the log."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        await put(store, event, seconds)
    assert time.monotonic() - started < seconds
    assert caught.value.reason
    return caught.value.reason


@each_table
def test_every_attribute_and_every_byte_survives(harness: Harness, cases: dict[str, bytes]) -> None:
    events = {name: event(content) for name, content in cases.items()}

    async def run() -> list[Outcome]:
        async with opened(harness) as store:
            return [await put(store, one) for one in events.values()]

    assert set(asyncio.run(run())) == {Outcome.STORED}
    rows = {row["key"]: row for row in harness.rows()}
    assert len(rows) == len(cases)
    for name, one in events.items():
        row = rows[one.key]
        assert bytes(row["body"]) == one.body, name
        assert (row["event_id"], row["event_type"]) == (one.event_id, one.event_type), name
        assert (row["device_id"], row["project_id"]) == (one.device_id, one.project_id), name
        assert (row["signed_by"], bool(row["parsed"])) == (one.signed_by, one.parsed), name
        assert _time(row["timestamp"]) == one.timestamp, name
        assert _time(row["received_at"]) == NOW, name


def _time(value: str | datetime | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def test_duplicate_changes_nothing(harness: Harness) -> None:
    first = event()
    second = parse_stored(first.body + b" ", datetime(2027, 1, 1, tzinfo=UTC))
    assert second.key == first.key

    async def run() -> list[Outcome]:
        async with opened(harness) as store:
            return [await put(store, first), await put(store, first), await put(store, second)]

    assert asyncio.run(run()) == [Outcome.STORED, harness.again, harness.again]
    [row] = harness.rows()
    assert bytes(row["body"]) == first.body
    assert _time(row["received_at"]) == NOW


def test_twenty_concurrent_duplicates_are_stored_once(harness: Harness) -> None:
    one = event()

    async def run() -> tuple[Counter[Outcome], int]:
        async with opened(harness) as store:
            return await deliver([(store, one)] * 20)

    outcomes, refused = asyncio.run(run())
    assert outcomes.keys() <= {Outcome.STORED, Outcome.DUPLICATE}
    assert {row["key"] for row in harness.rows()} == {one.key}
    if harness.refuses_copies:
        assert len(harness.rows()) == 1
        assert 1 - refused <= outcomes[Outcome.STORED] <= 1 or harness.again == Outcome.STORED


def test_two_concurrent_stores_keep_one_copy(harness: Harness) -> None:
    """As in two processes, or in a new release beside the old one."""
    events = [event() for _ in range(30)]

    async def run() -> tuple[Counter[Outcome], int]:
        async with opened(harness) as one, opened(harness) as other:
            return await deliver([(store, each) for each in events for store in (one, other)])

    outcomes, refused = asyncio.run(run())
    assert outcomes.keys() <= {Outcome.STORED, Outcome.DUPLICATE}
    if harness.refuses_copies:
        assert len(harness.rows()) == 30
        assert 30 - refused <= outcomes[Outcome.STORED] <= 30 or harness.again == Outcome.STORED
    assert {row["key"] for row in harness.rows()} == {each.key for each in events}


@grouped()
def test_a_thousand_concurrent_events_are_all_stored(harness: Harness) -> None:
    events = [event() for _ in range(1000)]

    async def run() -> list[Outcome]:
        async with opened(harness) as store:
            return await asyncio.gather(*(put(store, each) for each in events))

    assert set(asyncio.run(run())) == {Outcome.STORED}
    assert {row["key"] for row in harness.rows()} == {each.key for each in events}


@grouped()
def test_close_writes_waiting_events(harness: Harness) -> None:
    async def run() -> list[Outcome]:
        async with opened(harness) as store:
            waiting = [asyncio.ensure_future(put(store, event())) for _ in range(50)]
            await asyncio.sleep(0)
        return [task.result() for task in waiting]

    assert asyncio.run(run()) == [Outcome.STORED] * 50
    assert len(harness.rows()) == 50


@meeting("unavailable", "silent", "slow", "throttled", "denied", "no quorum")
def test_store_fault_is_refused_in_time_and_store_recovers(harness: Harness, fault: str) -> None:
    begins, ends = harness.faults[fault]

    async def run() -> str:
        async with opened(harness) as store:
            before, after = event(), event()
            assert await put(store, before) == Outcome.STORED
            await asyncio.to_thread(begins)
            cause = await is_refused(store, after)
            assert cause == harness.causes.get(fault, cause)
            # All that wait are told with the first; a connection can be lost in more ways than one, so not what it was.
            # A deadline that leaves time for one attempt.
            waiting = (is_refused(store, event(), ATTEMPT + 2) for _ in range(3))
            assert len(set(await asyncio.gather(*waiting))) == 1
            await asyncio.to_thread(ends)
            assert await put(store, before) == harness.again
            # It may have been stored when it was refused: a time-out does not say "not stored".
            assert await put(store, after) in (Outcome.STORED, Outcome.DUPLICATE)
            return after.key

    assert asyncio.run(run()) in {row["key"] for row in harness.rows()}


@meeting("unavailable", "silent", grouped=True)
def test_a_thousand_waiting_events_are_refused_before_their_deadline(harness: Harness, fault: str) -> None:
    begins, ends = harness.faults[fault]

    async def run() -> None:
        async with opened(harness) as store:
            assert await put(store, event()) == Outcome.STORED
            await asyncio.to_thread(begins)
            await asyncio.gather(*(is_refused(store, event()) for _ in range(1000)))
            await asyncio.to_thread(ends)
            assert await put(store, event()) == Outcome.STORED

    asyncio.run(run())


@meeting("lost answer")
def test_lost_answer_is_retried_and_not_stored_twice(harness: Harness, fault: str) -> None:
    """The service stores the event and drops the connection; the retry finds it there."""
    begins, _ = harness.faults[fault]
    one = event()

    async def run() -> Outcome:
        async with opened(harness) as store:
            assert await put(store, event()) == Outcome.STORED
            await asyncio.to_thread(begins)
            return await put(store, one)

    assert asyncio.run(run()) in (Outcome.STORED, Outcome.DUPLICATE)
    copies = [row["key"] for row in harness.rows()].count(one.key)
    assert copies == 1 or (copies > 1 and not harness.refuses_copies)


@meeting("row")
def test_refused_row_does_not_affect_its_group(harness: Harness, fault: str) -> None:
    begins, _ = harness.faults[fault]
    neighbours, poison = [event() for _ in range(20)], event(body(eventId="poison"))

    async def run() -> list[Outcome | BaseException]:
        async with opened(harness) as store:
            assert await put(store, event(body())) == Outcome.STORED
            await asyncio.to_thread(begins)
            mixed = [*neighbours[:10], poison, *neighbours[10:]]
            return await asyncio.gather(*(put(store, each) for each in mixed), return_exceptions=True)

    outcomes = asyncio.run(run())
    refusal = outcomes.pop(10)
    assert isinstance(refusal, StoreUnavailableError)
    assert refusal.reason.startswith("row_refused:")
    assert outcomes == [Outcome.STORED] * 20
    assert {row["key"] for row in harness.rows()} >= {each.key for each in neighbours}
