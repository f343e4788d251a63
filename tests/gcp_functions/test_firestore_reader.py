"""What only the reader of Firestore has: its indexes, what it reads, and what it says that this costs.

Google's emulator is Firestore, behind a server of the tests that counts the documents and refuses what needs an index
that Terraform does not make.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest

from core.event import Event
from gcp_functions.firestore import FirestoreStore
from gcp_functions.service import connect
from readers import ReaderError
from readers.contract import Reader
from readers.firestore import FirestoreReader, UnindexedFirestoreReader
from readers.query import Query, newest_first
from readers.rows import FOREIGN
from readers.sources import open_reader
from tests.gcp_functions.firestore_front import FirestoreFront, Index, made
from tests.gcp_functions.google_events import of_device
from tests.gcp_functions.reading import MINUTE, failure, timed
from tests.gcp_functions.test_terraform import GCP
from tests.support.deliveries import body
from tests.support.events import DEVICE, NOW, POLLEN, event, hashed, soon
from tests.support.google import Emulator, Firestore, emulator
from tests.support.terraform import Workspace, needs_terraform

OTHER = "another"
PRICE = "at 0.03 US$ per 100,000 reads in Iowa (https://cloud.google.com/firestore/pricing)"
# What Terraform makes, and the fields whose own indexes it replaces.
INDEXES: set[Index] = {
    ("COLLECTION", ("eventType ASCENDING", "timestamp DESCENDING")),
    ("COLLECTION_GROUP", ("eventType ASCENDING", "timestamp DESCENDING")),
    ("COLLECTION", ("parsed ASCENDING", "receivedAt DESCENDING")),
    ("COLLECTION_GROUP", ("parsed ASCENDING", "receivedAt DESCENDING")),
    ("COLLECTION", ("timestamp ASCENDING",)),
    ("COLLECTION", ("timestamp DESCENDING",)),
    ("COLLECTION_GROUP", ("timestamp DESCENDING",)),
    ("COLLECTION_GROUP", ("receivedAt ASCENDING",)),
}
OVERRIDDEN = {"expiresAt", "body", "timestamp", "receivedAt"}
TYPES = "temperature", "motion"
EVENTS = [timed(minutes, TYPES[minutes % 2], device) for minutes in range(60) for device in (DEVICE, OTHER)]


@pytest.fixture(scope="module")
def filled(firestore: Emulator) -> Firestore:
    """Two devices, and an event of each minute of an hour, by turns of two types."""
    database = Firestore(firestore.host)
    fill(firestore, database, EVENTS)
    return database


@pytest.fixture
def front(firestore: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[FirestoreFront]:
    front = FirestoreFront(firestore.host, INDEXES, OVERRIDDEN)
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", front.host)
    yield front
    front.close()


def fill(server: Emulator, database: Firestore, events: list[Event]) -> None:
    store = FirestoreStore(connect("", server.host), database.database, 0)
    for one in events:
        store.put(one, soon(30))


def opened(database: Firestore) -> Reader:
    return open_reader(f"firestore:{database.database}")


def keys(events: Iterator[Event] | list[Event]) -> list[str]:
    return [one.key for one in events]


@needs_terraform
def test_terraform_makes_these_indexes(tmp_path_factory: pytest.TempPathFactory) -> None:
    given = {"project": "some-project", "package": "package.zip", "store": "firestore"}
    planned = Workspace(tmp_path_factory.mktemp("terraform"), GCP, given).planned()
    found = made(planned.instances("google_firestore_index"), planned.instances("google_firestore_field"))
    assert found == (INDEXES, OVERRIDDEN)


QUERIES = [
    Query(device_id=DEVICE, since=NOW - 40 * MINUTE),
    Query(device_id=DEVICE, since=NOW - 40 * MINUTE, until=NOW - 20 * MINUTE),
    Query(device_id=DEVICE, limit=20),
    Query(device_id=DEVICE, event_types=["motion"], limit=20),
    Query(device_id=DEVICE, event_types=["motion", "touch"], since=NOW - 40 * MINUTE),
    Query(device_id=DEVICE),
    Query(device_id="none"),
    Query(device_id=DEVICE, since=NOW, until=NOW - MINUTE),
    Query(limit=20),
    Query(event_types=["motion"], limit=20),
    Query(event_types=["touch"], limit=20),
    Query(since=NOW - 40 * MINUTE, until=NOW - 20 * MINUTE),
    Query(until=NOW - 50 * MINUTE),
    Query(),
]


@pytest.mark.parametrize("query", QUERIES)
def test_query_reads_what_it_returns(filled: Firestore, front: FirestoreFront, query: Query) -> None:
    expected = keys(newest_first(filter(query.matches, EVENTS), 0))[: query.limit or None]
    with opened(filled) as reader:
        assert reader.cost(query) is None
        front.read = 0
        assert keys(reader.events(query)) == expected
    assert front.read <= len(expected) * 1.1


def test_listing_that_is_left_early_reads_little(filled: Firestore, front: FirestoreFront) -> None:
    with opened(filled) as reader:
        front.read = 0
        found = reader.events(Query(device_id=DEVICE))
        assert [next(found).event_id for _ in range(5)] == [f"e{minutes}" for minutes in range(5)]
    assert front.read == 20


@pytest.mark.parametrize("query", [*QUERIES, Query(labels={"name": ""}, limit=3)])
def test_database_without_indexes_gives_the_same(filled: Firestore, front: FirestoreFront, query: Query) -> None:
    front.indexes, front.overridden = set(), set()
    with opened(filled) as reader:
        assert type(reader) is UnindexedFirestoreReader
        found = keys(reader.events(query))
        latest = keys(reader.latest(query))
        signs = sorted(keys(reader.last_signs(query)))
    front.indexes = None
    with opened(filled) as reader:
        assert type(reader) is FirestoreReader
        assert keys(reader.events(query)) == found
        assert keys(reader.latest(query)) == latest
        assert sorted(keys(reader.last_signs(query))) == signs


def test_last_signs_read_three_documents_of_each_device(filled: Firestore, front: FirestoreFront) -> None:
    with opened(filled) as reader:
        front.read = 0
        assert keys(reader.last_signs(Query(device_id=DEVICE))) == [timed(0).key]
        assert front.read == 2  # and Firestore bills the answer that there is none without a time
        assert reader.last_signs_cost(Query(device_id=DEVICE)) is None
        assert "other devices" in (reader.last_signs_cost(Query(device_id="-")) or "")
        sentence = f"Firestore reads three documents of each device, or more, {PRICE}."
        assert reader.last_signs_cost(Query()) == sentence


def test_latest_goes_from_type_to_type(filled: Firestore, front: FirestoreFront) -> None:
    with opened(filled) as reader:
        front.read = 0
        newest = [timed(minutes, TYPES[minutes], device) for minutes in (0, 1) for device in (OTHER, DEVICE)]
        assert keys(reader.latest(Query(limit=1))) == keys(newest)
        assert front.read == 4
        assert keys(reader.latest(Query(device_id=DEVICE, event_types=["motion"]))) == [timed(1, "motion").key]
        before = Query(device_id=DEVICE, until=NOW - 10 * MINUTE)
        assert keys(reader.latest(before)) == [timed(11, "motion").key, timed(12).key]
        assert not list(reader.latest(Query(since=NOW + MINUTE)))
        assert reader.latest_cost(Query(device_id=DEVICE)) is None
        assert reader.latest_cost(Query()) == (
            f"Firestore reads two documents more for each device than it returns events, {PRICE}."
        )


def test_arrivals_are_read_in_their_order(filled: Firestore, front: FirestoreFront) -> None:
    with opened(filled) as reader:
        assert reader.is_in_order
        assert reader.arrived_cost(NOW) is None
        front.read = 0
        found = [one.received_at for one in reader.arrived(NOW - 5 * MINUTE)]
        assert found == sorted(found)
        assert len(found) == front.read == 12
        assert len(list(reader.arrived(None))) == len(EVENTS)


def test_cost_says_what_is_read(filled: Firestore, front: FirestoreFront) -> None:
    with opened(filled) as reader:
        assert reader.cost(Query(labels={"floor": "2"})) == (
            f"Firestore also reads events of other labels: up to 120 documents in all, or 0.0000 US$, {PRICE}."
        )
        since = Query(device_id=DEVICE, labels={"floor": "2"}, since=NOW - 9 * MINUTE)
        assert "up to 10 documents in all" in (reader.cost(since) or "")
        many = Query(event_types=[f"t{number}" for number in range(31)])
        assert "events of other types" in (reader.cost(many) or "")
        assert not list(reader.events(many))
        assert "events of other devices" in (reader.cost(Query(device_id="a/b")) or "")
    front.indexes = set()
    with opened(filled) as reader:
        sentence = (
            f"Firestore reads the whole database: up to 120 documents in all, or 0.0000 US$, {PRICE}. "
            "`terraform apply` in gcp_functions/terraform makes the indexes that save this."
        )
        assert reader.cost(Query(limit=1)) == reader.latest_cost(Query()) == reader.arrived_cost(NOW) == sentence
        assert reader.cost(Query()) == reader.arrived_cost(None) == sentence
        assert "events of other types" in (reader.cost(Query(device_id=DEVICE, event_types=["motion"])) or "")
        assert "events of other times" in (reader.latest_cost(Query(device_id=DEVICE)) or "")
        assert reader.cost(Query(device_id=DEVICE)) is None
        assert reader.poll_seconds is None


@pytest.mark.parametrize("indexed", [True, False])
def test_events_without_a_time_are_in_their_place(
    firestore: Emulator, database: Firestore, front: FirestoreFront, indexed: bool
) -> None:
    """They have the time of their arrival. Others of what cannot be parsed have their own, and are not shown twice."""
    if not indexed:
        front.indexes, front.overridden = set(), set()
    untimed = [
        replace(event(body(eventId=f"u{minutes}", timestamp="yesterday")), received_at=NOW - minutes * MINUTE)
        for minutes in (2, 5)
    ]
    unknown = timed(3, "pollen")
    assert not unknown.parsed
    fill(firestore, database, [*untimed, *(timed(minutes) for minutes in (1, 4, 6)), unknown, event(POLLEN)])
    with opened(database) as reader:
        found = [one.event_id for one in reader.events(Query(device_id=DEVICE))]
        assert found == ["e1", "u2", "e3", "e4", "u5", "e6"]
        query = Query(device_id=DEVICE, since=NOW - 5 * MINUTE, until=NOW - MINUTE)
        assert [one.event_id for one in reader.events(query)] == ["u2", "e3", "e4", "u5"]
        assert [one.event_id for one in reader.events(replace(query, device_id=None))] == ["u2", "e3", "e4", "u5"]
        assert keys(reader.events(Query(limit=1))) == [hashed(POLLEN)]


def test_device_that_is_no_document_id_shares_a_collection(
    firestore: Emulator, database: Firestore, front: FirestoreFront
) -> None:
    devices = ["a/b", "ø", "-"]
    fill(firestore, database, [of_device(device, eventId="e1") for device in devices])
    with opened(database) as reader:
        for device in devices:
            [found] = reader.events(Query(device_id=device))
            assert found.device_id == device
            assert keys(reader.latest(Query(device_id=device))) == [found.key]
        assert {one.device_id for one in reader.latest(Query())} == set(devices)


def test_every_page_is_read(
    firestore: Emulator, database: Firestore, front: FirestoreFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of query goes on where its page ended, also within one time."""
    monkeypatch.setattr("readers.firestore._PAGE", 7)
    events = [event(body(eventId=f"e{number}"), NOW) for number in range(20)]
    events += [event(body(eventId=f"u{number}", timestamp=None), NOW) for number in range(10)]
    fill(firestore, database, events)
    with opened(database) as reader:
        for query in (Query(), Query(device_id=DEVICE), Query(limit=17), Query(event_types=["temperature"])):
            expected = keys(newest_first(filter(query.matches, events), 0))
            assert keys(reader.events(query)) == expected[: query.limit or None]
        assert len(list(reader.arrived(NOW))) == 30


def test_documents_of_somebody_else_are_shown(firestore: Emulator, database: Firestore, front: FirestoreFront) -> None:
    strange = {
        "key": {"integerValue": "7"},
        "eventType": {"integerValue": "7"},
        "timestamp": {"timestampValue": "2026-11-21T08:00:00Z"},
        "receivedAt": {"mapValue": {"fields": {"a": {"nullValue": None}}}},
        "parsed": {"booleanValue": False},
    }
    database.put("devices/theirs/events/strange", strange)
    database.put("events/empty", {})
    fill(firestore, database, [timed(1)])
    with opened(database) as reader:
        found = {one.key: one.fault for one in reader.events(Query())}
        assert found == {timed(1).key: None, "devices/theirs/events/strange": FOREIGN, "events/empty": FOREIGN}
        assert keys(reader.latest(Query())) == [timed(1).key]
        assert keys(reader.events(Query(limit=1))) == [timed(1).key]


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "Google denies reading"),
        (grpc.StatusCode.UNAUTHENTICATED, "Google does not accept your login"),
        (grpc.StatusCode.NOT_FOUND, "Cannot find the Firestore database"),
        (grpc.StatusCode.FAILED_PRECONDITION, "Google refuses to read"),
        (grpc.StatusCode.INVALID_ARGUMENT, "Google refuses to read"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Google cannot read"),
        (grpc.StatusCode.INTERNAL, "Google cannot read"),
        (grpc.StatusCode.UNAVAILABLE, "Cannot reach Google Cloud"),
    ],
)
def test_error_becomes_a_sentence(
    filled: Firestore, front: FirestoreFront, status: grpc.StatusCode, sentence: str
) -> None:
    front.fault = lambda _: status
    text = failure(f"firestore:{filled.database}")
    assert text.startswith(sentence)
    assert "secret" not in text
    assert len(front.calls) <= 2


def test_error_in_the_middle_of_a_listing_is_a_sentence(
    filled: Firestore, front: FirestoreFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readers.firestore._PAGE", 10)
    with opened(filled) as reader:
        found = reader.events(Query(device_id=DEVICE))
        next(found)
        front.fault = lambda _: grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(ReaderError, match=r"^Google denies reading"):
            list(found)


@pytest.mark.long
def test_silent_service_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulator("firestore") as server:
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", server.host)
        database = Firestore(server.host)
        server.freeze()
        began = time.monotonic()
        assert failure(f"firestore:{database.database}").startswith("Cannot reach Google Cloud to read")
        assert time.monotonic() - began < 30
        server.thaw()


@pytest.mark.parametrize(
    "url",
    [
        "firestore:",
        "firestore:dt-events",
        "firestore:projects/p/databases/",
        "firestore:projects/p/databases/A",
        "firestore:projects/p/databases/dt-events/documents",
        "firestore://projects/p/databases/dt-events",
    ],
)
def test_url_of_another_form_is_a_sentence(url: str) -> None:
    assert failure(url).startswith("Name the database so: firestore:projects/PROJECT/databases/DATABASE.")


def test_missing_credentials_are_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("FIRESTORE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    text = failure("firestore:projects/p/databases/dt-events")
    assert text.startswith("No Google Cloud credentials: DefaultCredentialsError. Run `gcloud auth application-default")
