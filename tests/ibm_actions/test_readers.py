"""What only Cloudant's reader does. PouchDB's server stands in for Cloudant; scripted answers, where it has none.

The server counts reads and global queries by the rules on IBM's page of usage and charges.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from core.environment import Environment
from core.event import Event, parse_stored, rfc3339
from core.receiver import DEADLINE
from ibm_actions.wiring import build_store
from readers import ReaderError
from readers.cloudant import CloudantReader, open_reader
from readers.ibm import authenticator, event_of, select
from readers.ibm_login import CliLogin
from readers.query import Query
from readers.rows import FOREIGN
from tests.ibm_actions.cloudant_calls import listed, page, said
from tests.ibm_actions.conftest import Put
from tests.ibm_actions.iam import fault, token
from tests.support.couchdb import CouchDb, Events
from tests.support.couchdb import couchdb as running_couchdb
from tests.support.deliveries import body
from tests.support.loopback import DROPPED, Call, Reply, in_turn, loopback, success
from tests.support.vendors import vendor

NOW = datetime.now(UTC).replace(microsecond=123456)
HOUR, MONTH = timedelta(hours=1), timedelta(days=31)
DEVICE = "emucdd6ef2eu277bo8f52vg"
HIDDEN = "a-key-that-nobody-may-see"
Cost = Callable[..., tuple[list[str | None], int, int]]


def event(event_id: str, at: datetime | None, device: str = DEVICE, event_type: str = "touch") -> Event:
    """Return an event of this time, or of none."""
    time = {"timestamp": rfc3339(at)} if at else {"timestamp": "yesterday"}
    content = body(eventId=event_id, eventType=event_type, data={event_type: {}}, **time)
    return parse_stored(content.replace(DEVICE.encode(), device.encode()), datetime.now(UTC))


@pytest.fixture(scope="module")
def couchdb() -> Iterator[CouchDb]:
    """A server of this module alone, because its counts are those of all clients."""
    with running_couchdb() as server:
        yield server


@pytest.fixture
def reader(couchdb: CouchDb, events: Events) -> CloudantReader:
    return open_reader(f"cloudant:http://user:password@127.0.0.1:{couchdb.port}/{events.prefix}")


@pytest.fixture
def read(couchdb: CouchDb, reader: CloudantReader) -> Cost:
    """Return the ids of the events that a query finds, and the reads and the global queries that it takes."""

    def read(**conditions: object) -> tuple[list[str | None], int, int]:
        before = couchdb.counts()
        found = [event.event_id for event in reader.events(Query(**conditions))]  # type: ignore[arg-type]
        after = couchdb.counts()
        return found, after["reads"] - before["reads"], after["global_queries"] - before["global_queries"]

    return read


def test_device_and_time_read_no_more_than_they_return(put: Put, read: Cost) -> None:
    put(*(event(f"e{index:03}", NOW - index * HOUR / 60) for index in range(300)))
    put(*(event(f"other{index}", NOW - index * HOUR / 60, "other") for index in range(300)))
    found, reads, queries = read(device_id=DEVICE, since=NOW - 2 * HOUR)
    assert found == [f"e{index:03}" for index in range(121)]
    assert reads <= len(found) * 1.1
    assert queries == 0
    found, reads, queries = read(device_id=DEVICE, limit=100)
    assert found == [f"e{index:03}" for index in range(100)]
    assert reads <= len(found) * 1.1
    assert queries == 0


def test_device_over_several_databases(put: Put, read: Cost) -> None:
    """Each database that is not needed takes a few reads, not a page of them."""
    put(*(event(f"e{index}", NOW - index * MONTH) for index in range(6)))
    put(*(event(f"f{index}", NOW - 3 * MONTH - index * HOUR / 60) for index in range(200)))
    assert read(device_id=DEVICE, limit=3)[0] == ["e0", "e1", "e2"]
    found, reads, _ = read(device_id=DEVICE, since=NOW - 2.5 * MONTH, until=NOW - 0.5 * MONTH)
    assert found == ["e1", "e2"]
    assert reads < 20


def test_without_a_device_pages_of_databases_are_global_queries(
    put: Put, read: Cost, reader: CloudantReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readers.cloudant._GLOBAL_PAGE", 100)
    put(*(event(f"e{index:03}", NOW - index * HOUR / 3600, f"d{index % 7}") for index in range(250)))
    found, reads, queries = read(limit=20)
    assert found == [f"e{index:03}" for index in range(20)]
    assert (reads, queries) == (0, 3)


def test_events_without_a_time_are_found_by_their_arrival(put: Put, read: Cost) -> None:
    put(event("b", NOW - HOUR), event("undated", None), event("a", NOW - HOUR / 2), event("old", NOW - 2 * MONTH))
    assert read(device_id=DEVICE)[0] == ["undated", "a", "b", "old"]
    assert read(device_id=DEVICE, since=NOW - HOUR)[0] == ["undated", "a", "b"]
    assert read(device_id=DEVICE, until=NOW)[0] == ["a", "b", "old"]
    assert read(device_id="none")[0] == []


def test_device_that_is_no_partition(put: Put, read: Cost) -> None:
    """Such events share a partition, by which their ids say nothing of the device."""
    put(event("a", NOW, "one two"), event("b", NOW - HOUR, "three.four"), event("c", NOW - 2 * HOUR, "one two"))
    assert read(device_id="one two")[0] == ["a", "c"]


def test_fallback_database_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_couchdb("user:password", limit=1) as server:
        prefix = Events(server).prefix
        address = f"http://user:password@127.0.0.1:{server.port}"
        store = build_store(Environment({"DT_CLOUDANT": address, "DT_DATABASE_PREFIX": prefix}))
        for name, at in (("first", NOW - 12 * MONTH), ("no room", NOW), ("undated", None)):
            store.put(event(name, at), time.monotonic() + DEADLINE)
        with open_reader(f"cloudant:{address}/{prefix}") as reader:
            for device in (DEVICE, None):
                found = reader.events(Query(device_id=device, since=NOW - HOUR))
                assert [event.event_id for event in found] == ["undated", "no room"]


# Which may hold events of a time.

SOME = ["2024", "2025-01", "2025-03", "2025-q3", "2026", "2027-01", "undated"]


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("2026-05-01", "2026-06-01", ["2025-q3", "2026", "undated"]),
        ("2025-05-01", "2025-06-01", ["2024", "2025-01", "2025-03", "2025-q3", "undated"]),
        ("2026-12-31", "2027-01-01", ["2025-q3", "2026", "2027-01", "undated"]),
        ("2024-01-01", "2024-01-02", ["2024", "undated"]),
        ("2030-01-01", "2030-01-02", ["2027-01", "undated"]),
        ("2026-05-01", "", ["2025-q3", "2026", "2027-01", "undated"]),
        ("0001-01-01", "2024-01-02", SOME),
        ("2026-01-01", "9999-01-01", SOME),
    ],
)
def test_select_databases_of_a_period_with_fallbacks(since: str, until: str, expected: list[str]) -> None:
    end = datetime.fromisoformat(until) if until else None
    assert select(SOME, datetime.fromisoformat(since), end) == expected


def test_select_databases_of_an_empty_instance() -> None:
    assert select([], datetime(2026, 1, 1, tzinfo=UTC)) == []


@pytest.mark.parametrize("names", [["2025", "2026", "undated"], ["undated"]])
def test_databases_of_others_are_ignored(names: list[str]) -> None:
    others = ["events-2026-13", "events-new", "events-2026-11-x", "events-12026"]
    with loopback(listed(in_turn(), *others, *(f"events-{name}" for name in names[::-1]))) as server:
        reader = open_reader(f"cloudant:{server.url.replace('//', '//user:password@')}/events")
        assert reader._selected(Query()) == [f"events-{name}" for name in names]


def test_cost_names_the_class_of_requests(put: Put, reader: CloudantReader, events: Events) -> None:
    put(*(event(f"e{index}", NOW) for index in range(3)))
    [database] = events.databases()
    whole = (
        f"Reads all 3 documents of {database}, by about 1 of Cloudant's global queries; an instance has 5 a second, or "
        "more."
    )
    device = "Reads every event of the device in this time, and each is one of Cloudant's reads; "
    for query in (Query(), Query(limit=2)):
        assert reader.cost(query) == f"{whole} With a device, it reads only that device's events."
    assert str(reader.cost(Query(event_types=["touch"]))).startswith(whole)
    assert reader.cost(Query(device_id=DEVICE, since=NOW, limit=5)) is None
    assert str(reader.cost(Query(device_id=DEVICE, event_types=["touch"]))).startswith(device)
    assert str(reader.cost(Query(device_id=DEVICE, labels={"name": ""}))).startswith(device)
    assert reader.latest_cost(Query()) == whole
    assert str(reader.latest_cost(Query(device_id=DEVICE))).startswith(device)
    assert reader.arrived_cost(NOW) == reader.arrived_cost(None) == reader.follow_cost(None) == whole
    # The next mirror reads what changed since.
    assert reader.follow_cost(reader.end()) is None


def test_follow_sees_new_databases_and_no_indexes(
    put: Put, reader: CloudantReader, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("readers.cloudant.BATCH", 4)
    put(*(event(f"e{index}", NOW) for index in range(10)))
    events.put({"_id": "_design/mine", "views": {}})
    batches = list(reader.follow())
    assert [len(batch.events) for batch in batches] == [4, 4, 2]
    put(event("before", NOW - 3 * MONTH), event("f", NOW))
    again = [one.event_id for batch in reader.follow(batches[-1].position) for one in batch.events]
    assert sorted(again, key=str) == ["before", "f"]


def test_page_ends_with_the_last_document(put: Put, read: Cost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readers.cloudant._PAGE", 3)
    monkeypatch.setattr("readers.cloudant._GLOBAL_PAGE", 3)
    put(*(event(f"e{index}", NOW - index * HOUR / 60) for index in range(7)))
    expected = [f"e{index}" for index in range(7)]
    assert read(device_id=DEVICE)[0] == expected
    assert read()[0] == expected


# Documents.

AT = "2026-11-21T09:00:00Z"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"body": "{}"},
        {"receivedAt": AT},
        {"body": None, "receivedAt": AT},
        {"body": 1, "receivedAt": AT},
        {"body": ["{}"], "receivedAt": AT},
        {"body": "\ud800", "receivedAt": AT},
        {"body": "{}", "receivedAt": "yesterday"},
        {"body": "{}", "receivedAt": "2026-11-21T09:00:00"},
        {"body": "{}", "receivedAt": "0000-00-00T00:00:00Z"},
        {"body": "{}", "receivedAt": "12000-01-01T00:00:00Z"},
        {"body": "{}", "receivedAt": 1},
        {"body": "a", "encoding": "base64", "receivedAt": AT},
        {"body": "ø", "encoding": "base64", "receivedAt": AT},
        {"body": 1, "encoding": "base64", "receivedAt": AT},
    ],
    ids=ascii,
)
def test_document_that_is_not_an_event_is_not_parsed(document: dict[str, Any]) -> None:
    event = event_of({"_id": "x", "key": "k"} | document)
    assert (event.key in ("k", "x"), event.fault, event.parsed) == (True, FOREIGN, False)


@pytest.mark.parametrize(
    ("stored", "read"), [("hs256:1", "hs256:1"), (None, "unknown"), (1, "unknown"), ({}, "unknown")], ids=repr
)
def test_signer_is_read_back(stored: object, read: str) -> None:
    """Documents of an older version have no signer."""
    assert event_of({"_id": "x", "key": "k", "body": "{}", "receivedAt": AT, "signedBy": stored}).signed_by == read


# Credentials.


def read_by(monkeypatch: pytest.MonkeyPatch, url: str, **environ: str) -> str:
    """Read with these variables; return the error."""
    for name in ("DT_CLOUDANT_API_KEY", "DT_IAM_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ReaderError) as caught, open_reader(url) as reader:
        list(reader.events(Query()))
    assert HIDDEN not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("names", [("DT_CLOUDANT_API_KEY", "DT_IAM_URL"), ("CLOUDANT_APIKEY", "CLOUDANT_AUTH_URL")])
def test_api_key_is_exchanged_for_a_token(names: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    token = jwt.encode({"iat": time.time(), "exp": time.time() + 3600}, "k" * 32)
    given = {"access_token": token, "expires_in": 3600, "expiration": int(time.time()) + 3600}
    with loopback(lambda call: success(**given)) as iam, running_couchdb("user:password", token=token) as server:
        environ = {names[0]: HIDDEN, names[1]: iam.url}
        error = read_by(monkeypatch, f"cloudant:{server.url}/events", **environ)
        assert error.startswith("There are no databases events-...")
        assert [call.parameters["apikey"] for call in iam.calls] == [HIDDEN]


@pytest.mark.parametrize("reply", [fault(400), fault(500), token(1), page(200), DROPPED])
def test_iam_without_a_token_is_one_sentence_at_once(reply: Reply | None, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    with loopback(lambda call: reply) as iam:
        environ = {"CLOUDANT_APIKEY": HIDDEN, "CLOUDANT_AUTH_URL": iam.url}
        error = read_by(monkeypatch, f"cloudant:{iam.url}/events", **environ)
    assert error.startswith("IAM gives no token: ")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("password", "start"), [("password", "There are no databases "), (HIDDEN, "Cloudant refuses ")]
)
def test_user_and_password(password: str, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_couchdb("user:password") as server:
        environ = {"CLOUDANT_USERNAME": "user", "CLOUDANT_PASSWORD": password}
        assert read_by(monkeypatch, f"cloudant:{server.url}/events", **environ).startswith(start)
        address = server.url.replace("//", f"//user:{password}@")
        assert read_by(monkeypatch, f"cloudant:{address}/events").startswith(start)


def test_login_of_the_ibm_cloud_cli_is_used_for_ibms_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    token = jwt.encode({"iat": time.time()}, "k" * 32)
    printed = [f"IAM token:  Bearer {token}\n", f'{{"iam_token": "Bearer {token}"}}\n', "Not logged in."]
    with vendor("ibmcloud", lambda _: printed.pop(0), tmp_path, request) as standing:
        for _ in range(2):
            with running_couchdb("user:password", token=token) as server:
                assert read_by(monkeypatch, f"cloudant:{server.url}/events").startswith("There are no databases ")
        assert "Log in with ibmcloud login" in read_by(monkeypatch, "cloudant:http://127.0.0.1:9/events")
        assert standing.commands == [["iam", "oauth-tokens"]] * 3
        for host in ("cloudant.com.example.com", "xcloudant.com", "example.com/cloudant.com"):
            with pytest.raises(ReaderError, match="There are no credentials for Cloudant"):
                authenticator(host=host)
        assert isinstance(authenticator(host="a-bluemix.cloudantnosqldb.appdomain.cloud"), CliLogin)


@pytest.mark.parametrize("environ", [{}, {"CLOUDANT_USERNAME": "user"}, {"CLOUDANT_AUTH_TYPE": "IAM"}])
def test_missing_credentials_are_one_sentence(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    error = read_by(monkeypatch, "cloudant:https://cloudant.invalid/events", **environ)
    assert error.startswith("There are no credentials for Cloudant, ")


@pytest.mark.parametrize(
    "url",
    [
        "cloudant:",
        "cloudant:https://host",
        "cloudant:https://host/",
        "cloudant:https://host/Events",
        "cloudant:http://host/events",
        f"cloudant:https://user:{HIDDEN}@host/a/b",
        "cloudant:host/events",
    ],
)
def test_invalid_url_is_one_sentence(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = read_by(monkeypatch, url, CLOUDANT_APIKEY=HIDDEN)
    assert error.startswith("The URL must be such as cloudant:https://")


# Answers.


def read_from(answering: Callable[[Call], Reply | None], monkeypatch: pytest.MonkeyPatch) -> str:
    with loopback(answering) as server:
        return read_by(monkeypatch, f"cloudant:{server.url.replace('//', f'//user:{HIDDEN}@')}/events")


@pytest.mark.parametrize("status", [401, 403])
def test_missing_rights_are_one_sentence(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    error = read_from(lambda _: said(status, "forbidden"), monkeypatch)
    assert error == "Cloudant refuses these credentials. They need the role Reader on this instance."


def test_busy_instance_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readers.ibm._BUSY_SECONDS", 0.01)
    busy = [said(429, "too_many_requests")] * 5
    error = read_from(in_turn(*busy, Reply(200, b"[]")), monkeypatch)
    assert error.startswith("There are no databases")
    error = read_from(lambda _: busy[0], monkeypatch)
    assert error.startswith("Cloudant is busy: ")


@pytest.mark.parametrize("reply", [said(503, "unavailable"), DROPPED])
def test_failing_instance_is_asked_twice(reply: Reply | None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_from(in_turn(reply, Reply(200, b"[]")), monkeypatch).startswith("There are no databases")
    with loopback(lambda _: reply) as server:
        error = read_by(monkeypatch, f"cloudant:{server.url.replace('//', '//user:password@')}/events")
        assert error.startswith("Cloudant ")
        assert len(server.calls) == 2


@pytest.mark.parametrize("reply", [page(200), Reply(200, b"{}"), Reply(200, b"{"), Reply(200, b"7"), Reply(204, b"")])
def test_answer_of_something_else_is_one_sentence(reply: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_from(lambda _: reply, monkeypatch) in (
        "What answers there is not Cloudant. Check the host in the URL.",
        "Cloudant answers HTTP 200. Try again later.",
    )
