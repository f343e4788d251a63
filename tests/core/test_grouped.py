"""Grouping: batches, their deadlines, and the outcome of each event."""

import asyncio
import gc
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from core.event import Event, parse_stored
from core.stores.contract import Outcome, StoreUnavailableError
from core.stores.grouped import MAX_GROUP, MAX_WAITING, GroupedStore, RowsRefusedError
from tests.support.deliveries import body

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def event(name: str) -> Event:
    return parse_stored(body(eventId=name), NOW)


class Disk(GroupedStore):
    """A store that groups: keeps the groups, and waits to be released where it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[list[str]] = []
        self.deadlines: list[float] = []
        self.errors: list[Exception | None] = []
        self.released = asyncio.Event()
        self.released.set()

    async def write(self, events: Sequence[Event], deadline: float) -> list[Outcome | None]:
        names = [str(event.event_id) for event in events]
        self.groups.append(names)
        self.deadlines.append(deadline)
        await self.released.wait()
        if "poison" in names:
            raise RowsRefusedError("23514")
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return [None if name == "dropped" else Outcome.STORED for name in names]


def soon() -> float:
    return time.monotonic() + 8


def test_waiting_events_are_written_in_one_group() -> None:
    async def run() -> list[list[str]]:
        disk = Disk()
        disk.released.clear()
        first = asyncio.ensure_future(disk.put(event("a"), soon()))
        await asyncio.sleep(0.01)
        assert disk.groups == [["a"]]
        rest = [asyncio.ensure_future(disk.put(event(name), soon())) for name in "bcd"]
        await asyncio.sleep(0.01)
        # No event is answered before its write is done.
        assert not any(task.done() for task in [first, *rest])
        disk.released.set()
        assert await asyncio.gather(first, *rest) == [Outcome.STORED] * 4
        return disk.groups

    assert asyncio.run(run()) == [["a"], ["b", "c", "d"]]


def test_group_has_a_size_limit_and_the_earliest_deadline_in_it() -> None:
    later = time.monotonic() + 1000

    async def run() -> Disk:
        disk = Disk()
        count = 2 * MAX_GROUP + 1
        await asyncio.gather(*(disk.put(event(str(number)), later - number) for number in range(count)))
        return disk

    disk = asyncio.run(run())
    assert [len(group) for group in disk.groups] == [MAX_GROUP, MAX_GROUP, 1]
    last = [MAX_GROUP - 1, 2 * MAX_GROUP - 1, 2 * MAX_GROUP]
    assert disk.deadlines == [later - number for number in last]


def test_event_is_refused_at_its_deadline_behind_a_slow_group() -> None:
    async def run() -> None:
        disk = Disk()
        disk.released.clear()
        first = asyncio.ensure_future(disk.put(event("a"), soon()))
        await asyncio.sleep(0.01)
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="deadline"):
            await disk.put(event("late"), started + 0.2)
        assert time.monotonic() - started < 2
        disk.released.set()
        assert await first == Outcome.STORED
        await disk.drain()

    asyncio.run(run())


def test_too_many_waiting_events_are_refused_at_once() -> None:
    async def run() -> None:
        disk = Disk()
        tasks = [asyncio.ensure_future(disk.put(event(str(number)), soon())) for number in range(MAX_WAITING)]
        disk.released.clear()
        await asyncio.sleep(0.01)
        tasks += [asyncio.ensure_future(disk.put(event(f"x{number}"), soon())) for number in range(MAX_GROUP)]
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailableError, match="too_many_waiting"):
            await disk.put(event("one more"), soon())
        disk.released.set()
        assert await asyncio.gather(*tasks) == [Outcome.STORED] * len(tasks)

    asyncio.run(run())


def test_unavailable_store_fails_all_waiting_events_at_once() -> None:
    async def run() -> None:
        disk = Disk()
        disk.errors = [StoreUnavailableError("timeout")]
        outcomes = await asyncio.gather(
            *(disk.put(event(str(number)), soon()) for number in range(MAX_GROUP + 50)), return_exceptions=True
        )
        assert {str(outcome) for outcome in outcomes} == {"timeout"}
        assert len(disk.groups) == 1
        assert await disk.put(event("after"), soon()) == Outcome.STORED

    asyncio.run(run())


def test_refused_row_does_not_affect_its_group() -> None:
    async def run() -> None:
        disk = Disk()
        names = ["a", "poison", "b"]
        outcomes = await asyncio.gather(*(disk.put(event(name), soon()) for name in names), return_exceptions=True)
        assert outcomes[0] is outcomes[2] == Outcome.STORED
        assert str(outcomes[1]) == "row_refused:23514"
        assert disk.groups == [["a", "poison", "b"], ["a"], ["poison"], ["b"]]

    asyncio.run(run())


def test_missing_row_is_unavailable_and_its_group_is_stored() -> None:
    async def run() -> None:
        disk = Disk()
        outcomes = await asyncio.gather(
            *(disk.put(event(name), soon()) for name in ("a", "dropped", "b")), return_exceptions=True
        )
        assert outcomes[0] is outcomes[2] == Outcome.STORED
        assert str(outcomes[1]) == "not_stored"
        assert disk.groups == [["a", "dropped", "b"]]

    asyncio.run(run())


def test_unexpected_exception_fails_only_its_group() -> None:
    async def run() -> None:
        disk = Disk()
        disk.errors = [ZeroDivisionError()]
        with pytest.raises(ZeroDivisionError):
            await disk.put(event("a"), soon())
        assert await disk.put(event("b"), soon()) == Outcome.STORED

    asyncio.run(run())


@pytest.mark.parametrize("error", [None, StoreUnavailableError("timeout")])
def test_cancelled_caller_does_not_affect_the_others(error: Exception | None) -> None:
    async def run() -> None:
        disk = Disk()
        disk.released.clear()
        disk.errors = [error]
        gone, there = (asyncio.ensure_future(disk.put(event(name), soon())) for name in "ab")
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0)
        disk.released.set()
        outcomes = await asyncio.gather(gone, there, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert outcomes[1] is (error or Outcome.STORED)

    asyncio.run(run())


@pytest.mark.parametrize("bug", [ZeroDivisionError(), asyncio.CancelledError()])
def test_exception_after_a_commit_does_not_keep_the_outcome_from_the_others(bug: BaseException) -> None:
    async def run() -> None:
        disk = Disk()
        seen: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
        told = list[object]()

        def fail(_: object) -> None:
            raise bug

        disk.begin(event("a"), soon(), fail)
        disk.begin(event("b"), soon(), told.append)
        await disk.drain()
        assert told == [Outcome.STORED]
        assert [context["exception"] for context in seen] == [bug]

    asyncio.run(run())


@pytest.mark.parametrize("outcomes", [None, [], [Outcome.STORED] * 3])
def test_outcomes_of_other_events_fail_their_group_only(outcomes: Any) -> None:
    class Careless(Disk):
        async def write(self, events: Sequence[Event], deadline: float) -> Any:
            stored = await super().write(events, deadline)
            return stored if len(self.groups) > 1 else outcomes

    async def run() -> None:
        disk = Careless()
        failed = await asyncio.gather(*(disk.put(event(name), soon()) for name in "ab"), return_exceptions=True)
        assert {type(error) for error in failed} <= {TypeError, ValueError}
        assert await disk.put(event("c"), soon()) == Outcome.STORED

    asyncio.run(run())


def test_answered_event_is_not_kept_until_its_deadline() -> None:
    async def run() -> None:
        disk = Disk()
        assert await disk.put(event("late"), time.monotonic() + 5) == Outcome.STORED

        def kept() -> list[object]:
            return [each for each in gc.get_objects() if isinstance(each, Event) and each.event_id == "late"]

        assert kept() == []

    asyncio.run(run())


def test_drain_waits_for_all_accepted_events() -> None:
    async def run() -> None:
        disk = Disk()
        await disk.drain()
        puts = [disk.put(event(str(number)), soon()) for number in range(10)]
        await disk.drain()
        assert [len(group) for group in disk.groups] == [10]
        assert [put.result() for put in puts] == [Outcome.STORED] * 10

    asyncio.run(run())
