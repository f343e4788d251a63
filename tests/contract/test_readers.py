"""Every reader gives back what the receiver stored."""

import asyncio
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import AsyncStore, StoreUnavailableError
from readers import ReaderError
from readers.contract import Reader
from readers.query import Query, newest_first
from readers.rows import FOREIGN
from readers.seen import seen_at
from readers.sources import open_reader
from tests.cli.stored import dtconn
from tests.contract.store import Harness
from tests.contract.stores import STORES
from tests.support.cases import each_table
from tests.support.deliveries import body

NOW = datetime.now(UTC).replace(microsecond=123456)
HOUR = timedelta(hours=1)
READABLE = {name: store for name, store in STORES.items() if store.is_readable}


@pytest.fixture(params=READABLE)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    with READABLE[request.param].factory(tmp_path, request) as harness:
        yield harness


@pytest.fixture(params=[name for name, store in READABLE.items() if not store.is_queue])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    """A store that keeps what it has, unlike a queue."""
    with READABLE[request.param].factory(tmp_path, request) as harness:
        yield harness


def put(harness: Harness, events: Iterable[Event]) -> list[Event]:
    """Store events, a few at a time, and again what a busy machine did not store in time, as DT does."""
    events = list(events)

    async def store_all(store: AsyncStore, waiting: Iterator[Event]) -> None:
        for event in waiting:
            for attempt in range(5):
                try:
                    await store.put(event, time.monotonic() + DEADLINE)
                    break
                except StoreUnavailableError:
                    if attempt == 4:
                        raise

    async def run() -> None:
        store, waiting = harness.build(), iter(events)
        await store.open()
        await asyncio.gather(*(store_all(store, waiting) for _ in range(4)))
        await store.close()

    asyncio.run(run())
    return events


def at(
    hours: float,
    device: str = "emu1",
    event_type: str = "touch",
    *,
    arrived: Any = None,
    data: Any = None,
    **labels: str,
) -> Event:
    """Return an event of ``hours`` ago, which arrived a second later, or ``arrived`` hours ago."""
    sent = NOW - hours * HOUR
    document = json.loads(
        body(
            eventId=f"e{hours}{device}{event_type}".replace(".", "_"),
            eventType=event_type,
            timestamp=sent.isoformat(),
            data={event_type: {"state": "MOTION_DETECTED", "updateTime": sent.isoformat(), **(data or {})}},
        )
    )
    document["metadata"]["deviceId"] = device
    document["labels"] = labels or {"name": "Room"}
    content = json.dumps(document).encode()
    arrival = sent + timedelta(seconds=1) if arrived is None else NOW - arrived * HOUR
    return parse_stored(content, arrival, "hs256:0")


def some() -> list[Event]:
    """Return events of three devices and two types, in no order of time."""
    return [
        at(hours, device, event_type, **labels)
        for hours in (3, 0.5, 50, 1, 2)
        for device, labels in (("emu1", {}), ("emu2", {"name": "Room", "floor": "2"}), ("emu3", {"floor": "3"}))
        for event_type in ("touch", "motion")
    ]


def in_order(reader: Reader, events: Iterable[Event]) -> list[Event]:
    return list(newest_first(events, 0)) if not reader.is_queue else sorted(events, key=lambda event: event.key)


def listed(reader: Reader, query: Query) -> list[Event]:
    found = list(reader.events(query))
    return found if not reader.is_queue else sorted(found, key=lambda event: event.key)


@each_table
def test_every_event_comes_back_as_it_was_stored(harness: Harness, cases: dict[str, bytes]) -> None:
    events = put(harness, (parse_stored(content, NOW, "hs256:0") for content in cases.values()))
    with open_reader(harness.source) as reader:
        found = {event.key: event for event in reader.events(Query())}
        assert len(found) == len(cases)
    for event in events:
        assert found[event.key] == replace(event, document=found[event.key].document)


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(limit=4),
        Query(device_id="emu2"),
        Query(device_id="emu2", since=NOW - 2 * HOUR),
        Query(device_id="emu2", event_types=["motion"], since=NOW - 3 * HOUR, until=NOW - HOUR, limit=1),
        Query(device_id="none"),
        Query(event_types=["motion"], limit=3),
        Query(event_types=["touch", "motion"], until=NOW - 2 * HOUR),
        Query(since=NOW - HOUR, until=NOW),
        Query(labels={"name": "Room"}, limit=5),
        Query(labels={"floor": "", "name": "Room"}),
        Query(device_id="emu3", labels={"floor": "3"}, limit=2),
    ],
)
def test_query_returns_what_matches_newest_first(harness: Harness, query: Query) -> None:
    events = put(harness, some())
    with open_reader(harness.source) as reader:
        expected = in_order(reader, filter(query.matches, events))
        found = listed(reader, query)
        if reader.is_queue and query.limit:
            assert len(found) == min(len(expected), query.limit)
            assert {event.key for event in found} <= {event.key for event in expected}
        else:
            assert [event.key for event in found] == [event.key for event in expected[: query.limit or None]]


def test_queue_has_no_history(harness: Harness, request: pytest.FixtureRequest) -> None:
    put(harness, [])
    is_queue = READABLE[request.node.callspec.params["harness"]].is_queue
    with open_reader(harness.source) as reader:
        assert reader.is_queue == is_queue
        if is_queue:
            with pytest.raises(ReaderError, match="worker"):
                list(reader.arrived(None))


def test_reading_changes_nothing(harness: Harness) -> None:
    events = put(harness, some())
    with open_reader(harness.source) as reader:
        for _ in range(2):
            assert {event.key for event in reader.events(Query())} == {event.key for event in events}
    assert {row["key"] for row in harness.rows()} == {event.key for event in events}


def test_latest_is_the_newest_of_each_device_and_type(history: Harness) -> None:
    put(history, some())
    with open_reader(history.source) as reader:
        for query, devices in ((Query(), 3), (Query(device_id="emu2", limit=1), 1), (Query(labels={"floor": ""}), 2)):
            found = list(reader.latest(query))
            assert len(found) == devices * 2
            assert {event.timestamp for event in found} == {NOW - 0.5 * HOUR}


def test_last_sign_of_each_device(history: Harness) -> None:
    late = {"isBackfilled": True}
    put(
        history,
        [
            # A newer late reading of the same type, and of another, hides nothing.
            at(2), at(1, data=late), at(0.5, event_type="motion", data=late),
            # A type that the receiver does not know, and one without readings.
            at(3, "emu2", "moodSwing"), at(4, "emu3", "labelsChanged"),
            # A clock that was ahead once, one that always is, and a label that changed.
            at(-70_000, "emu4", arrived=90, floor="1"), at(5, "emu4", "motion", floor="2"),
            at(-80, "emu5", arrived=50), at(-70, "emu5", arrived=40), at(-90, "emu5", "motion", arrived=60),
            # Nothing but late readings; and an id that is no key of a partition.
            at(7, "emu6", data=late), at(8, "emu6", data=late), at(2, "not a key"), at(1, "not a key", data=late),
        ],
    )  # fmt: skip
    expected = {"emu1": 2, "emu2": 3, "emu3": 4, "emu4": 5, "emu5": 40, "emu6": None, "not a key": 2}
    with open_reader(history.source) as reader:
        for query, devices in (
            (Query(), list(expected)),
            (Query(device_id="emu5"), ["emu5"]),
            (Query(device_id="not a key"), ["not a key"]),
            (Query(device_id="none"), []),
            (Query(labels={"floor": "2"}), ["emu4"]),
            (Query(labels={"floor": "1"}), []),
        ):
            found = {event.device_id: seen_at(event) for event in reader.last_signs(query)}
            hours = {device: time and round((NOW - time) / HOUR) for device, time in found.items()}
            assert hours == {device: expected[device] for device in devices}


def test_latest_with_a_label_is_of_sensors_that_have_it_now(history: Harness) -> None:
    put(history, [at(2, floor="1"), at(1, floor="2"), at(2, "emu2", floor="1"), at(3, "other one", floor="1")])
    put(history, [at(1, "other one", floor="2")])
    with open_reader(history.source) as reader:
        for floor, devices in (("1", ["emu2"]), ("2", ["emu1", "other one"]), ("", ["emu1", "emu2", "other one"])):
            found = list(reader.latest(Query(labels={"floor": floor})))
            assert sorted(event.device_id or "" for event in found) == devices
        for device in ("emu1", "other one"):
            assert not list(reader.latest(Query(device_id=device, labels={"floor": "1"})))
            [before] = reader.latest(Query(device_id=device, until=NOW - 1.5 * HOUR))
            assert before.labels == {"floor": "1"}
            assert len(list(reader.latest(Query(device_id=device, since=NOW - 1.5 * HOUR)))) == 1


def test_follow_gives_what_arrives_and_can_be_resumed(history: Harness) -> None:
    first = {event.key for event in put(history, some())}
    with open_reader(history.source) as reader:
        batches = list(reader.follow())
        assert {event.key for batch in batches for event in batch.events} == first
        end = reader.end()
    position = batches[-1].position
    # Older by its own time: what counts is when it arrives.
    late = replace(at(60), received_at=datetime.now(UTC))
    put(history, [late])
    for begin in (position, end):
        with open_reader(history.source) as reader:
            batches = list(reader.follow(begin))
        assert late.key in {event.key for batch in batches for event in batch.events}
        assert len([event for batch in batches for event in batch.events]) < len(first)
    with open_reader(history.source) as reader:
        batch = next(reader.follow())
        keys = {event.key for event in batch.events}
        keys |= {event.key for later in reader.follow(batch.position) for event in later.events}
    assert keys == first | {late.key}


def test_arrived_gives_at_least_what_arrived_since(history: Harness) -> None:
    events = put(history, some())
    with open_reader(history.source) as reader:
        assert {event.key for event in reader.arrived(None)} == {event.key for event in events}
        since = NOW - 2 * HOUR
        assert {event.key for event in reader.arrived(since)} >= {
            event.key for event in events if event.received_at >= since
        }


def test_export_by_day_has_each_event_once_whatever_the_order(history: Harness, tmp_path: Path) -> None:
    """Also what arrives later for a day that is over, by the clock of its receiver."""
    options = ("--partition", "day", "--rows", "events", "--format", "jsonl", "--yes")
    events = put(history, some())
    late = replace(at(60), received_at=datetime.now(UTC))
    for more in ([], [late], []):
        events += put(history, more)
        found = dtconn("export", "--from", history.source, "--to", tmp_path / "lake", *options)
        assert found.exit_code == 0, found.output
        files = (tmp_path / "lake").glob("*.jsonl")
        rows = [(path.stem, json.loads(line)["key"]) for path in files for line in path.read_text().splitlines()]
        assert sorted(rows) == sorted((f"events-{each.received_at:%Y-%m-%d}", each.key) for each in events)


def test_row_of_somebody_else_is_shown_as_such(harness: Harness) -> None:
    [event] = put(harness, [at(1)])
    harness.put_foreign()
    with open_reader(harness.source) as reader:
        found = list(reader.events(Query()))
        assert len(found) == 2
        assert {(one.key == event.key, one.fault == FOREIGN) for one in found} == {(True, False), (False, True)}
        assert not reader.is_queue or not list(reader.events(Query(event_types=["motion"])))


@pytest.mark.parametrize(
    ("harness", "fault"),
    [(name, fault) for name, store in READABLE.items() for fault in ("unavailable", "denied") if fault in store.faults],
    indirect=["harness"],
)
def test_error_is_one_sentence_for_a_person(harness: Harness, fault: str) -> None:
    put(harness, [at(1)])
    begin, end = harness.faults[fault]
    begin()
    try:
        with pytest.raises(ReaderError) as caught, open_reader(harness.source) as reader:
            list(reader.events(Query()))
    finally:
        end()
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).endswith((".", "?"))


def test_store_that_does_not_exist_is_one_sentence(harness: Harness) -> None:
    with pytest.raises(ReaderError) as caught, open_reader(f"{harness.source}-missing") as reader:
        list(reader.events(Query()))
    assert len(str(caught.value).splitlines()) == 1
