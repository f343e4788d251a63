"""The database of an event: periods, the database limit and its fallback, without duplicates."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from core.environment import Environment
from core.event import Event
from core.log import Log
from core.service.attempts import READ_TIMEOUT
from core.stores.contract import Outcome, StoreUnavailableError
from ibm_actions.cloudant import CloudantStore, document_id
from ibm_actions.databases import YEARS
from ibm_actions.wiring import build_service, build_store, read_cloudant
from ibm_actions.worker import Worker, connect
from readers.cloudant import open_reader
from readers.query import Query
from tests.ibm_actions.cloudant_calls import delivered, listed, on, put, said, service, written
from tests.support.couchdb import CouchDb, Events, couchdb
from tests.support.deliveries import body, fresh_body
from tests.support.events import DEVICE, event, soon
from tests.support.loopback import DROPPED, SILENT, Call, Reply, in_turn, loopback

STORED, DUPLICATE = Outcome.STORED, Outcome.DUPLICATE


def of(at: str, event_id: str = "e") -> Event:
    """Return an event of this time; without a time if it is empty."""
    return event(body(eventId=event_id, timestamp=at))


class Instance:
    """An instance with databases of one's own.

    Attributes:
        environ: The settings of a receiver that stores there.
        events: What is there.
    """

    def __init__(self, server: CouchDb) -> None:
        self.events = Events(server)
        address = f"http://user:password@127.0.0.1:{server.port}"
        self.environ = {"DT_CLOUDANT": address, "DT_DATABASE_PREFIX": self.events.prefix}
        self._server = server

    def store(self, **changes: str) -> CloudantStore:
        """Return the store of a new receiver."""
        return build_store(Environment(self.environ | changes))

    def make(self, *names: str) -> None:
        """Create databases, as an older version or a person did."""
        for name in names:
            self.ask("PUT", f"{name}?partitioned=true")

    def ask(self, method: str, path: str) -> None:
        status, _ = build_service(Environment(self.environ)).call(method, f"/{self.events.prefix}-{path}", soon())
        assert status in (200, 201)

    def names(self) -> list[str]:
        return [name.removeprefix(f"{self.events.prefix}-") for name in self.events.databases()]

    def read(self, **conditions: Any) -> list[bytes]:
        """Return the bodies that the reader finds."""
        with open_reader(f"cloudant:{self.environ['DT_CLOUDANT']}/{self.events.prefix}") as reader:
            return [event.body for event in reader.events(Query(**conditions))]

    def processed(self, count: int, since: datetime) -> list[str | None]:
        """Return the ids of the first events that a worker processes."""
        stopping, found = threading.Event(), list[str | None]()

        def process(event: Event) -> None:
            found.append(event.event_id)
            if len(found) == count:
                stopping.set()

        instance = connect(read_cloudant(Environment(self.environ)))
        Worker(instance, self.events.prefix, "tests", process, Log()).run(since, stopping)
        return found


@pytest.fixture
def there(couchdb: CouchDb) -> Instance:
    return Instance(couchdb)


@contextmanager
def limited(limit: int) -> Iterator[Instance]:
    """Give an instance with this limit of databases."""
    with couchdb("user:password", limit=limit) as server:
        yield Instance(server)


# One after another version, or another setting.


def test_monthly_database_of_an_older_version_stays_in_use(there: Instance) -> None:
    there.make("2026-10", "2026-11", "0001-01")
    first, strange = of("2026-11-05T10:00:00Z"), of("0001-01-01T00:00:00Z")
    assert [put(there.store(), each) for each in (first, strange)] == [STORED] * 2
    again = there.store()
    assert [put(again, each) for each in (first, strange)] == [DUPLICATE] * 2
    assert put(again, of("2026-11-30T23:59:59.999999Z")) == STORED
    assert there.names() == ["0001-01", "2026-10", "2026-11"]
    assert put(again, of("2026-12-01T00:00:00Z")) == STORED
    assert there.names() == ["0001-01", "2026", "2026-10", "2026-11"]
    assert [put(there.store(), each) for each in (first, strange)] == [DUPLICATE] * 2


@pytest.mark.parametrize("period", ["month", "quarter", "year"])
@pytest.mark.parametrize("before", ["month", "quarter", "year"])
def test_changed_database_period_keeps_duplicates(before: str, period: str, there: Instance) -> None:
    one, later = of("2026-10-05T10:00:00Z"), of("2026-12-05T10:00:00Z")
    assert put(there.store(DT_DATABASE_PERIOD=before), one) == STORED
    assert put(there.store(DT_DATABASE_PERIOD=period), one) == DUPLICATE
    assert put(there.store(DT_DATABASE_PERIOD=period), later) == STORED
    assert put(there.store(DT_DATABASE_PERIOD=before), later) == DUPLICATE
    assert len(there.events.documents()) == 2


def test_foreign_databases_are_ignored(there: Instance) -> None:
    there.make("test-2026", "2026-13", "2026-q5", "12026", "2026-1", "2026-11-x", "undated-2")
    assert put(there.store(), of("2026-11-05T10:00:00Z")) == STORED
    assert "2026" in there.names()


# The limit.


def test_databases_of_any_timestamps_fit_a_lite_instance() -> None:
    years = [1, 1969, 1970, 2000, *range(2019, 2046), 2070, 2106, 9999]
    with limited(20) as there:
        store = there.store()
        some = [of(f"{year:04}-06-01T00:00:00Z") for year in years] + [of("")]
        outcomes = [put(store, each) for each in some]
        assert outcomes == [STORED] * len(some)
        # One database is left for other uses.
        assert len(there.names()) == len(YEARS) + 1 == 19
        assert not any("room" in (each.note or "") for each in outcomes)


FULL = ["2026-08", "2026-09", "2026-10"]


@pytest.mark.parametrize("at", ["2026-11-05T10:00:00Z", "2027-02-05T10:00:00Z", "2025-02-05T10:00:00Z", ""])
def test_database_limit_fallback_stores_the_event_once(at: str) -> None:
    """It stays there when there is room again."""
    with limited(len(FULL)) as there:
        there.make(*FULL)
        one = of(at)
        status, line = delivered(there.store(), one.body)
        assert (status, line["outcome"], line["severity"]) == (200, "stored", "WARNING")
        assert line["note"].startswith("databases: no room for ")
        assert delivered(there.store(), one.body)[1]["outcome"] == "duplicate"
        # A user deletes the oldest one, except the fallback.
        there.ask("DELETE", "2026-09")
        assert put(there.store(), one) == DUPLICATE
        assert there.names() == ["2026-08", "2026-10"]
        assert [document["body"] for document in there.events.documents()] == [one.body]
        assert there.read(device_id=DEVICE) == [one.body]
        if one.timestamp:
            day = one.timestamp.replace(hour=0)
            assert there.read(device_id=DEVICE, since=day, until=day.replace(hour=23)) == [one.body]
        assert there.processed(1, since=datetime(2026, 11, 1, tzinfo=UTC)) == ["e"]
        # The next year has a new database.
        assert put(there.store(), of("2028-01-01T00:00:00Z")) == STORED
        assert "2028" in there.names()


def test_concurrent_fallback_at_the_database_limit_stores_each_once(there: Instance) -> None:
    with limited(1) as there:
        there.make("2025")
        stores = [there.store() for _ in range(4)]
        same = [event(fresh_body()) for _ in range(5)]
        with ThreadPoolExecutor(20) as threads:
            found = list(threads.map(put, stores * 5, [each for each in same for _ in stores]))
        assert sorted(outcome.name for outcome in found) == ["duplicate"] * 15 + ["stored"] * 5
        assert len(there.events.documents()) == 5


def test_deleted_fallback_database_is_replaced() -> None:
    with limited(2) as there:
        there.make("2025", "2026")
        store, one = there.store(), of("2027-02-05T10:00:00Z")
        assert put(store, one) == STORED
        there.ask("DELETE", "2026")
        assert [put(store, one), put(store, one)] == [STORED, DUPLICATE]
        assert there.names() == ["2025", "2027"]


def test_database_limit_reached_by_foreign_databases_is_refused() -> None:
    with limited(1) as there:
        there.make("other")
        with pytest.raises(StoreUnavailableError, match=r"^no database: 403 forbidden$"):
            put(there.store(), of("2027-02-05T10:00:00Z"))


def test_concurrent_events_share_one_list_of_databases() -> None:
    begin = threading.Barrier(20)

    def answer(call: Call) -> Reply:
        time.sleep(0.05)
        return written()

    def run(_: int) -> Outcome:
        begin.wait()
        return put(store, event())

    with loopback(listed(answer, "events-2024")) as server, ThreadPoolExecutor(20) as threads:
        store = on(service(server))
        assert list(threads.map(run, range(20))) == [STORED] * 20
        assert sum(call.path.startswith("/_all_dbs?") for call in server.calls) == 1


def test_timeout_of_the_list_of_databases_refuses_all_waiters_in_time() -> None:
    with loopback(in_turn(SILENT)) as server, ThreadPoolExecutor(4) as threads:
        store, started = on(service(server)), time.monotonic()

        def cause(_: int) -> str:
            with pytest.raises(StoreUnavailableError) as caught:
                store.put(event(), started + 4)
            return caught.value.reason

        assert sorted(threads.map(cause, range(4))) == ["ReadTimeoutError", "deadline", "deadline", "deadline"]
        assert time.monotonic() - started < 4


# The warning.


def noted(store: CloudantStore, wait_for: Callable[[str | None], bool]) -> str | None:
    """Put events until the note of one satisfies ``wait_for``; return that note."""
    deadline = time.monotonic() + 30
    while True:
        outcome = put(store, event())
        assert outcome == STORED
        if wait_for(outcome.note):
            return outcome.note
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_warning_near_the_database_limit_is_logged_once() -> None:
    with limited(6) as there:
        there.make("2021", "2022")
        store = there.store()
        assert noted(store, bool) == "databases: 3 of 6 are used"
        outcome = put(store, event())
        assert (outcome, outcome.note) == (STORED, None)


ASKED = "/_api/v2/user/"
NO_LIMIT: dict[str, Reply | None] = {
    "may not ask": said(403, "forbidden"),
    "CouchDB": said(404, "not_found"),
    "closed": DROPPED,
    "no number": Reply(200, b'{"current":{"databases":{"total":null}},"databases":{"total":1}}'),
    "an invalid limit": Reply(200, b'{"current":{"databases":{"total":-1}},"databases":{"total":1}}'),
    "far away": Reply(200, b'{"current":{"databases":{"total":20}},"databases":{"total":16}}'),
    "a text": Reply(200, b'"x"'),
}


@pytest.mark.parametrize("reply", NO_LIMIT.values(), ids=NO_LIMIT.keys())
def test_no_warning_far_from_the_database_limit(reply: Reply | None) -> None:
    asked = threading.Semaphore(0)

    def answer(call: Call) -> Reply | None:
        if not call.path.startswith(ASKED):
            return written()
        asked.release()
        return reply

    with loopback(listed(answer, "events-2024")) as server:
        store = build_store(Environment({"DT_CLOUDANT": server.url.replace("//", "//user:password@")}))
        assert put(store, event()) == STORED
        assert asked.acquire(timeout=30)
        time.sleep(0.05)
        outcome = put(store, event())
        assert (outcome, outcome.note) == (STORED, None)


def test_warning_does_not_block_events() -> None:
    begun = threading.Event()

    def answer(call: Call) -> Reply:
        if not call.path.startswith(ASKED):
            return written()
        begun.set()
        return SILENT

    with loopback(listed(answer, "events-2024")) as server:
        store = build_store(Environment({"DT_CLOUDANT": server.url.replace("//", "//user:password@")}))
        started = time.monotonic()
        assert put(store, event()) == STORED
        assert begun.wait(5)
        assert put(store, event()) == STORED
        assert time.monotonic() - started < READ_TIMEOUT


# Deleted documents.


def test_deleted_document_is_stored_again(there: Instance) -> None:
    store, one = there.store(), of("2026-11-05T10:00:00Z")
    assert put(store, one) == STORED
    path = f"/{there.events.prefix}-2026/{document_id(one)}"
    cloudant = build_service(Environment(there.environ))
    revision = cloudant.call("GET", path, soon())[1]["_rev"]
    assert cloudant.call("DELETE", f"{path}?rev={revision}", soon())[0] == 200
    assert [put(store, one), put(store, one)] == [STORED, DUPLICATE]
    assert [document["body"] for document in there.events.documents()] == [one.body]
