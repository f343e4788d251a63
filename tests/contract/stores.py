"""Every store, under the conditions that it will meet. A new one joins by adding its factory to `STORES`.

A factory is a context manager that gives a `Harness`; the faults beside it are those that the store can meet at all:
an embedded database, say, loses no answer.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from aws_lambda.dynamodb import DynamoDbStore
from aws_lambda.seen_keys import DynamoDbSeenKeys
from aws_lambda.service import client
from aws_lambda.sqs import SqsQueue
from azure_functions.seen_keys import TableSeenKeys
from azure_functions.service import connect as connect_storage
from azure_functions.service_bus import ServiceBusStore, connector
from azure_functions.storage_queue import StorageQueue
from azure_functions.table import TableStore
from core.environment import Environment
from core.stores.contract import AsyncStore, Outcome, Store
from core.stores.dedup import Deduplicated
from core.stores.threaded import Threaded
from gcp_functions.firestore import FirestoreStore
from gcp_functions.pubsub import PubSubQueue
from gcp_functions.seen_keys import FirestoreSeenKeys
from gcp_functions.service import connect
from heroku.postgres import PostgresStore
from ibm_actions.wiring import build_store as build_cloudant
from local.sqlite import SqliteStore
from tests.support.aws import EVENTS_KEYS, SEEN_KEYS, create_queue, create_table, items, messages, sqs_client
from tests.support.azurite import Azurite, Storage, connection_string
from tests.support.couchdb import CouchDb, Events
from tests.support.google import Emulator, Firestore, PubSub
from tests.support.moto import MotoServer
from tests.support.postgres import Postgres, execute
from tests.support.proxy import Mode, Proxy
from tests.support.service_bus import service_bus

Row = dict[str, Any]
Faults = dict[str, tuple[Callable[[], object], Callable[[], object]]]
COLUMNS = (
    "key", "event_id", "event_type", "device_id", "project_id", "timestamp", "received_at", "signed_by", "parsed",
    "body",
)  # fmt: skip


@dataclass
class Harness:
    """One store, and the hands on what is behind it.

    Attributes:
        build: Makes a store; inside a running loop.
        rows: Reads all that is stored, past the store, by names of `COLUMNS`.
        faults: For each fault that this store can meet: what begins it, and what ends it.
        refuses_copies: As in `Entry`; so is ``again``.
    """

    build: Callable[[], AsyncStore]
    rows: Callable[[], list[Row]]
    faults: Faults = field(default_factory=dict)
    refuses_copies: bool = True
    again: Outcome = Outcome.DUPLICATE


Factory = Callable[[Path, pytest.FixtureRequest], AbstractContextManager[Harness]]


@contextmanager
def sqlite(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    path = folder / "var" / "events.db"
    path.parent.mkdir()
    # Another program at the same file.
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    trigger = (
        "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN new.event_id = 'poison' "
        "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )

    def rows() -> list[Row]:
        connection = sqlite3.connect(path)
        found = connection.execute(f"SELECT {','.join(COLUMNS)} FROM events ORDER BY rowid").fetchall()
        connection.close()
        return [dict(zip(COLUMNS, row, strict=True)) for row in found]

    faults: Faults = {
        "silent": (lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK")),
        "unavailable": (lambda: _in_the_way(path), lambda: _out_of_the_way(path)),
        "row": (lambda: other.execute(trigger), lambda: other.execute("DROP TRIGGER refuse")),
    }
    yield Harness(lambda: SqliteStore(path), rows, faults)
    other.close()


def _in_the_way(path: Path) -> None:
    path.rename(path.with_suffix(".kept"))
    path.mkdir()


def _out_of_the_way(path: Path) -> None:
    path.rmdir()
    path.with_suffix(".kept").rename(path)


@contextmanager
def postgres(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database()
    proxy = Proxy(server.port)

    def begin_refusing(condition: str, code: str) -> None:
        execute(
            url,
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {condition} "
            f"RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$",
        )
        execute(url, "CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()")

    def end_refusing() -> None:
        execute(url, "DROP FUNCTION refuse CASCADE")

    def rows() -> list[Row]:
        return [dict(row) for row in execute(url, f"SELECT {','.join(COLUMNS)} FROM events ORDER BY received_at")]

    def passes() -> None:
        proxy.set(Mode.PASS)

    def speaks() -> None:
        # What it swallowed cannot be made up for: those connections end.
        proxy.set(Mode.REFUSE)
        passes()

    poison = "IF new.event_id IS DISTINCT FROM 'poison' THEN RETURN new; END IF;"
    faults: Faults = {
        "unavailable": (lambda: proxy.set(Mode.REFUSE), passes),
        "silent": (lambda: proxy.set(Mode.SILENT), speaks),
        "drip": (lambda: proxy.set(Mode.DRIP), speaks),
        "throttled": (lambda: begin_refusing("", "53300"), end_refusing),
        "lost answer": (lambda: proxy.set(Mode.LOSE_ANSWER), passes),
        "row": (lambda: begin_refusing(poison, "23514"), end_refusing),
    }
    try:
        yield Harness(lambda: PostgresStore(url.replace(str(server.port), str(proxy.port))), rows, faults)
    finally:
        proxy.close()


class Waiting(Threaded):
    """A store that waits, on as many threads as the sandboxes that would share the work on Lambda."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, 20)


def _http(status: int, document: object) -> bytes:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _faults(proxy: Proxy, throttled: bytes, denied: bytes) -> Faults:
    """Return what a proxy can do; no emulator knows limits or roles, so it answers as the cloud would."""

    def passes() -> None:
        proxy.set(Mode.REFUSE)  # what it swallowed cannot be made up for: those connections end
        proxy.set(Mode.PASS)

    def answers(content: bytes) -> Callable[[], object]:
        def begin() -> None:
            proxy.canned = content
            proxy.set(Mode.CANNED)

        return begin

    return {
        "unavailable": (lambda: proxy.set(Mode.REFUSE), passes),
        "silent": (lambda: proxy.set(Mode.SILENT), passes),
        "slow": (lambda: proxy.set(Mode.SLOW), passes),
        "drip": (lambda: proxy.set(Mode.DRIP), passes),
        "throttled": (answers(throttled), passes),
        "denied": (answers(denied), passes),
        "lost answer": (lambda: proxy.set(Mode.LOSE_ANSWER), passes),
    }


def _aws_faults(proxy: Proxy, moto: MotoServer, throttling: str) -> Faults:
    throttled = _http(400, {"__type": throttling, "message": "slow down"})
    # To IAM the tests' credentials are nobody's.
    denied = (moto.enforce_iam, lambda: moto.enforce_iam(False))
    return _faults(proxy, throttled, b"") | {"denied": denied}


def _aws_environment(request: pytest.FixtureRequest, moto: MotoServer, **endpoints: str) -> None:
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for name, value in {**moto.environment, **endpoints}.items():
        monkeypatch.setenv(name, value)


@contextmanager
def dynamodb(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    moto: MotoServer = request.getfixturevalue("moto")
    proxy = Proxy(moto.port)
    _aws_environment(request, moto, AWS_ENDPOINT_URL=f"http://127.0.0.1:{proxy.port}")
    there = moto.client("dynamodb")
    table = create_table(there, EVENTS_KEYS)
    try:
        yield Harness(
            lambda: Waiting(DynamoDbStore(client("dynamodb"), table, 30)),
            lambda: [_row(item) for item in items(there, table)],
            _aws_faults(proxy, moto, "com.amazonaws.dynamodb.v20120810#ThrottlingException"),
        )
    finally:
        proxy.close()


def _sqs(fifo: bool) -> Factory:
    @contextmanager
    def sqs(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
        """Seen keys in moto's DynamoDB, which nothing happens to; the queue behind the proxy."""
        moto: MotoServer = request.getfixturevalue("moto")
        # moto forgets the deduplication ids of a FIFO queue.
        server = request.getfixturevalue("fauxqs") if fifo else moto.url
        proxy = Proxy(int(server.rpartition(":")[2]))
        _aws_environment(request, moto, AWS_ENDPOINT_URL_SQS=f"http://127.0.0.1:{proxy.port}")
        there = sqs_client(server)
        seen, queue = create_table(moto.client("dynamodb"), SEEN_KEYS), create_queue(there, fifo)
        taken: list[Row] = []

        def build() -> AsyncStore:
            keys = DynamoDbSeenKeys(client("dynamodb"), seen, 30)
            return Waiting(Deduplicated(SqsQueue(client("sqs"), queue), keys))

        def rows() -> list[Row]:
            taken.extend(_row(message) for message in messages(there, queue))
            return sorted(taken, key=lambda row: str(row["received_at"]))

        try:
            yield Harness(build, rows, _aws_faults(proxy, moto, "com.amazonaws.sqs#RequestThrottled"))
        finally:
            proxy.close()

    return sqs


def _google_faults(proxy: Proxy) -> Faults:
    def answer(status: int, code: str) -> bytes:
        return _http(status, {"error": {"code": status, "message": "no", "status": code}})

    return _faults(proxy, answer(429, "RESOURCE_EXHAUSTED"), answer(403, "PERMISSION_DENIED"))


@contextmanager
def firestore(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    emulator: Emulator = request.getfixturevalue("firestore")
    proxy = Proxy(emulator.port)
    there = Firestore(emulator.host)

    def build() -> AsyncStore:
        return Waiting(FirestoreStore(connect("", f"127.0.0.1:{proxy.port}"), there.database, 30))

    try:
        yield Harness(build, lambda: [_row(each) for each in there.documents()], _google_faults(proxy))
    finally:
        proxy.close()


@contextmanager
def pubsub(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    """Seen keys in Firestore, which nothing happens to; Pub/Sub behind the proxy."""
    emulator: Emulator = request.getfixturevalue("pubsub")
    keys: Emulator = request.getfixturevalue("firestore")
    proxy = Proxy(emulator.port)
    there, database = PubSub(emulator.host), Firestore(keys.host).database
    taken: list[Row] = []

    def build() -> AsyncStore:
        queue = PubSubQueue(connect("", f"127.0.0.1:{proxy.port}"), there.topic)
        return Waiting(Deduplicated(queue, FirestoreSeenKeys(connect("", keys.host), database, 30)))

    def rows() -> list[Row]:
        taken.extend(_row(message) for message in there.messages())
        return sorted(taken, key=lambda row: str(row["received_at"]))

    try:
        yield Harness(build, rows, _google_faults(proxy))
    finally:
        proxy.close()


def _azure_faults(proxy: Proxy) -> Faults:
    def answer(status: int, code: str) -> bytes:
        return f"HTTP/1.1 {status} No\r\nx-ms-error-code: {code}\r\nContent-Length: 0\r\n\r\n".encode()

    return _faults(proxy, answer(503, "ServerBusy"), answer(403, "AuthorizationPermissionMismatch"))


@contextmanager
def table(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    azurite: Azurite = request.getfixturevalue("azurite")
    proxy, there = Proxy(azurite.table_port), Storage(azurite)

    def build() -> AsyncStore:
        connection = connection_string(azurite.queue_port, proxy.port)
        return Waiting(TableStore(connect_storage(TableClient, connection, "table", None, table_name=there.table)))

    try:
        yield Harness(build, lambda: [_row(each) for each in there.entities()], _azure_faults(proxy))
    finally:
        proxy.close()


@contextmanager
def storage_queue(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    """Seen keys in a table, which nothing happens to; the queue behind the proxy."""
    azurite: Azurite = request.getfixturevalue("azurite")
    proxy, there = Proxy(azurite.queue_port), Storage(azurite)
    taken: list[Row] = []

    def build() -> AsyncStore:
        connection = connection_string(proxy.port, azurite.table_port)
        queue = connect_storage(QueueClient, connection, "queue", None, queue_name=there.queue)
        keys = connect_storage(TableClient, connection, "table", None, table_name=there.seen_table)
        return Waiting(Deduplicated(StorageQueue(queue), TableSeenKeys(keys)))

    def rows() -> list[Row]:
        taken.extend(_row(message) for message in there.messages())
        return sorted(taken, key=lambda row: str(row["received_at"]))

    try:
        yield Harness(build, rows, _azure_faults(proxy))
    finally:
        proxy.close()


@contextmanager
def service_bus_queue(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    with service_bus(folder, "events") as bus:
        proxy = Proxy(bus.port)
        connection = bus.connection_string.replace(str(bus.port), str(proxy.port))

        def ends() -> None:
            bus.set("normal")
            proxy.set(Mode.REFUSE)  # what it swallowed cannot be made up for: those connections end
            proxy.set(Mode.PASS)

        faults: Faults = {
            "unavailable": (lambda: proxy.set(Mode.REFUSE), ends),
            "silent": (lambda: proxy.set(Mode.SILENT), ends),
            "slow": (lambda: bus.set("slow"), ends),
            "drip": (lambda: proxy.set(Mode.DRIP), ends),
            "throttled": (lambda: bus.set("busy"), ends),
            "denied": (lambda: bus.set("unauthorized"), ends),
            "lost answer": (lambda: bus.set("lost", times=1), ends),
        }
        try:
            yield Harness(
                lambda: ServiceBusStore(connector(connection, None), "events"),
                lambda: [_row(each) for each in bus.messages()],
                faults,
            )
        finally:
            proxy.close()


@contextmanager
def cloudant(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    server: CouchDb = request.getfixturevalue("couchdb")
    proxy, there = Proxy(server.port), Events(server)
    settings = {"DT_CLOUDANT": f"http://user:password@127.0.0.1:{proxy.port}", "DT_DATABASE_PREFIX": there.prefix}

    def answer(status: int, word: str) -> bytes:
        return _http(status, {"error": word, "reason": "no"})

    throttled, denied = answer(429, "too_many_requests"), answer(403, "forbidden")
    accepted = _http(202, {"ok": True, "id": "x", "rev": "1-x"})
    faults = _faults(proxy, throttled, denied)
    faults["no quorum"] = _faults(proxy, accepted, b"")["throttled"]
    try:
        yield Harness(
            lambda: Waiting(build_cloudant(Environment(settings))),
            lambda: [_row(each) for each in there.documents()],
            faults,
        )
    finally:
        proxy.close()


def _row(item: Row) -> Row:
    """Give the attributes the names of `COLUMNS`."""
    names = {"eventId": "event_id", "eventType": "event_type", "deviceId": "device_id", "projectId": "project_id"}
    names |= {"receivedAt": "received_at", "signedBy": "signed_by"}
    return dict.fromkeys(COLUMNS) | {names.get(name, name): value for name, value in item.items()}


@dataclass(frozen=True)
class Entry:
    """One store under contract.

    Attributes:
        factory: Makes its harness.
        faults: The names of those that it can meet.
        is_grouped: Whether it takes many events at a time.
        refuses_copies: Whether the service itself refuses a second copy, however close it follows on the first.
        again: What the store says of a second copy: Service Bus drops one without a word.
    """

    factory: Factory
    faults: frozenset[str]
    is_grouped: bool = False
    refuses_copies: bool = True
    again: Outcome = Outcome.DUPLICATE


_CLOUD_FAULTS = frozenset({"unavailable", "silent", "slow", "drip", "throttled", "lost answer", "denied"})
# unavailable: cannot be reached. silent: takes the request and says nothing. slow: answers too late. drip: answers, a
# byte a second. throttled: says
# that it has no room. denied: says that we may not. lost answer: stores, and then the connection drops. row: refuses
# the event with the id "poison". no quorum: has the event, in too few places.
STORES = {
    "sqlite": Entry(sqlite, frozenset({"unavailable", "silent", "row"}), is_grouped=True),
    "postgres": Entry(
        postgres, frozenset({"unavailable", "silent", "drip", "throttled", "lost answer", "row"}), is_grouped=True
    ),
    "dynamodb": Entry(dynamodb, _CLOUD_FAULTS),
    "sqs": Entry(_sqs(fifo=False), _CLOUD_FAULTS, refuses_copies=False),
    "sqs fifo": Entry(_sqs(fifo=True), _CLOUD_FAULTS - {"denied"}, refuses_copies=False),
    "firestore": Entry(firestore, _CLOUD_FAULTS),
    "pubsub": Entry(pubsub, _CLOUD_FAULTS, refuses_copies=False),
    "service bus": Entry(service_bus_queue, _CLOUD_FAULTS, again=Outcome.STORED),
    "storage queue": Entry(storage_queue, _CLOUD_FAULTS, refuses_copies=False),
    "table": Entry(table, _CLOUD_FAULTS),
    "cloudant": Entry(cloudant, _CLOUD_FAULTS | {"no quorum"}),
}


def meeting(*faults: str, grouped: bool = False) -> pytest.MarkDecorator:
    """Run a test for each store, of those that group if need be, and each of these faults that it can meet."""
    pairs = [
        (name, fault)
        for name, store in STORES.items()
        for fault in faults
        if fault in store.faults and store.is_grouped >= grouped
    ]
    return pytest.mark.parametrize(("harness", "fault"), pairs, indirect=["harness"])


def grouped() -> pytest.MarkDecorator:
    """Run a test for each store that takes many events at a time."""
    return pytest.mark.parametrize(
        "harness", [name for name, store in STORES.items() if store.is_grouped], indirect=True
    )
