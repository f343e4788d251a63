"""Table Storage: entities, seen keys, queries and invalid answers.

Against Azurite, Microsoft's emulator; a server of the tests gives the answers that Azurite cannot.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.data.tables import TableClient

from azure_functions.seen_keys import TableSeenKeys
from azure_functions.service import connect
from azure_functions.table import Table, TableStore
from core.event import Event
from core.stores.contract import Outcome, StoreUnavailableError
from tests.support.azurite import Azurite, Storage, connection_string
from tests.support.deliveries import body
from tests.support.events import ATTRIBUTES, DEVICE, KEY, POLLEN, POLLEN_ATTRIBUTES, TIME, cause_of, event, hashed, soon
from tests.support.loopback import DROPPED, Call, Reply, in_turn, loopback

TAG = "W/\"datetime'2026-11-21T09%3A00%3A00Z'\""
CREATED = Reply(204, b"", {"ETag": TAG})
PART = 65_536


def of_device(device: str, **changes: Any) -> Event:
    """Return an event of a device with this id."""
    content = json.loads(body(**{"targetName": None, "eventId": None} | changes))
    content["metadata"]["deviceId"] = device
    return event(json.dumps(content).encode())


def client(port: int, name: str) -> TableClient:
    """Return the SDK's client, which reads."""
    return TableClient.from_connection_string(connection_string(0, port), name)


def connected(port: int, name: str) -> Table:
    return Table(connect(connection_string(0, port), "table", None), name)


@pytest.fixture
def there(azurite: Azurite) -> Storage:
    return Storage(azurite)


@pytest.fixture
def table(azurite: Azurite, there: Storage) -> TableClient:
    return client(azurite.table_port, there.table)


@pytest.fixture
def store(azurite: Azurite, there: Storage) -> TableStore:
    return TableStore(connected(azurite.table_port, there.table))


def row(table: TableClient) -> dict[str, Any]:
    """Return the only row."""
    [entity] = table.list_entities()
    return dict(entity)


def test_entity_properties(table: TableClient, store: TableStore) -> None:
    assert store.put(event(body()), soon()) == Outcome.STORED
    assert row(table) == {
        "PartitionKey": DEVICE,
        "RowKey": f"{TIME}_{KEY}",
        **ATTRIBUTES,
        "parsed": True,
        "body": body(),
    }


def test_missing_fields_are_left_out_of_the_entity(table: TableClient, store: TableStore) -> None:
    """Without a timestamp the row key is the key, and without a device the partition key is ``-``."""
    assert store.put(event(POLLEN), soon()) == Outcome.STORED
    assert row(table) == {
        "PartitionKey": "-",
        "RowKey": hashed(POLLEN),
        **POLLEN_ATTRIBUTES,
        "parsed": False,
        "body": POLLEN,
    }


@pytest.mark.parametrize(
    "device", ["a/b", "a\\b", "a#b", "a?b", "%", "a%2Fb", "a b", "ø", "温度", "a'b", ".", "a.b", "x" * 257]
)
def test_invalid_partition_key_falls_back_to_dash(device: str, table: TableClient, store: TableStore) -> None:
    one = of_device(device)
    assert [store.put(one, soon()), store.put(one, soon())] == [Outcome.STORED, Outcome.DUPLICATE]
    found = row(table)
    assert (found["PartitionKey"], found["body"]) == ("-", one.body)
    # Longer than 256 it is none for any store.
    assert found.get("deviceId") == (device if len(device) <= 256 else None)


@pytest.mark.parametrize("device", ["-", "_", "A-z_0", "x" * 256])
def test_device_id_is_the_partition_key(device: str, table: TableClient, store: TableStore) -> None:
    assert store.put(of_device(device), soon()) == Outcome.STORED
    assert row(table)["PartitionKey"] == device


# Sizes.


@pytest.mark.parametrize(
    ("length", "parts"), [(0, [0]), (1, [1]), (PART, [PART]), (PART + 1, [PART, 1]), (3 * PART, [PART] * 3)]
)
def test_large_body_is_split_into_properties(
    length: int, parts: list[int], table: TableClient, store: TableStore, there: Storage
) -> None:
    content = os.urandom(length)
    assert store.put(event(content), soon()) == Outcome.STORED
    found = row(table)
    names = ["body", "body1", "body2"][: len(parts)]
    assert [name for name in found if name.startswith("body")] == names
    assert [len(found[name]) for name in names] == parts
    assert there.entities()[0]["body"] == content


# A device's history.


def test_device_history_is_ordered_by_time(table: TableClient, store: TableStore) -> None:
    start = datetime(2026, 11, 20, 23, 59, 59, 999_998, tzinfo=UTC)
    times = [start + timedelta(microseconds=step) for step in (3, 0, 86_400_000_001, 86_400_000_002, 2_000_000, 1, 2)]
    for number, each in enumerate(times):
        # The ids in another order than the times.
        content = body(eventId=f"e{number}", timestamp=each.isoformat().replace("+00:00", "Z"))
        assert store.put(event(content), soon()) == Outcome.STORED
    assert store.put(of_device("another", timestamp="2026-11-21T10:00:00Z"), soon()) == Outcome.STORED
    written = [each.isoformat(timespec="microseconds").replace("+00:00", "Z") for each in sorted(times)]
    assert [entity["timestamp"] for entity in table.list_entities() if entity["PartitionKey"] == DEVICE] == written
    # What README.md shows.
    day = f"PartitionKey eq '{DEVICE}' and RowKey ge '2026-11-21' and RowKey lt '2026-11-22'"
    found = [entity["timestamp"] for entity in table.query_entities(day)]
    assert found == [each for each in written if each.startswith("2026-11-21")]
    assert len(found) == 4


def test_two_events_of_the_same_device_and_time_are_both_stored(table: TableClient, store: TableStore) -> None:
    for identifier in ("one", "two"):
        assert store.put(event(body(eventId=identifier)), soon()) == Outcome.STORED
    assert [entity["RowKey"] for entity in table.list_entities()] == [
        f"{TIME}_{identifier}.temperature.{DEVICE}" for identifier in ("one", "two")
    ]


# Answers.


def answered(reply: Reply | None) -> str:
    with loopback(in_turn(reply)) as server:
        return cause_of(TableStore(connected(server.server_port, "events")).put, event())


def error(status: int, code: str, how: str) -> Reply:
    if how == "header":
        return Reply(status, b"", {"x-ms-error-code": code})
    message = {"lang": "en-US", "value": f"{code}\nRequestId:0"}
    return Reply(status, json.dumps({"odata.error": {"code": code, "message": message}}).encode())


@pytest.mark.parametrize("how", ["header", "body"])
def test_only_entity_already_exists_is_a_duplicate(how: str) -> None:
    with loopback(in_turn(error(409, "EntityAlreadyExists", how))) as server:
        store = TableStore(connected(server.server_port, "events"))
        assert store.put(event(), soon()) == Outcome.DUPLICATE
        assert len(server.calls) == 1
    for code in ("TableBeingDeleted", "TableAlreadyExists", "UpdateConditionNotSatisfied"):
        assert answered(error(409, code, how)) == code
    for page in (b"", b"<p>EntityAlreadyExists", b'{"code":"EntityAlreadyExists"}'):
        assert answered(Reply(409, page)) == "HTTP 409"


def test_missing_table_is_reported_and_used_once_created(azurite: Azurite) -> None:
    name = f"t{os.urandom(8).hex()}"
    store, one = TableStore(connected(azurite.table_port, name)), event()
    assert cause_of(store.put, one) == "TableNotFound"
    client(azurite.table_port, name).create_table()
    assert [store.put(one, soon()), store.put(one, soon())] == [Outcome.STORED, Outcome.DUPLICATE]


NO_ENTITY = [
    Reply(200, b""),
    Reply(200, b"<html>log in</html>", {"Content-Type": "text/html"}),
    Reply(201, b"{}"),
    Reply(201, b"null"),
    Reply(201, b"[]"),
    Reply(204, b""),
    Reply(204, b"", {"ETag": ""}),
]


@pytest.mark.parametrize("reply", NO_ENTITY)
def test_answer_without_an_etag_is_not_acknowledged(reply: Reply) -> None:
    """A proxy between us and Azure might answer so."""
    assert answered(reply)


def test_entity_is_never_overwritten() -> None:
    """The server stores the first entity and drops the connection; the retry finds it there."""
    rows: dict[tuple[str, str], Any] = {}

    def answering(call: Call) -> Reply | None:
        assert call.method == "POST"
        assert call.path == "/devstoreaccount1/events"
        # Or else the answer would hold the body.
        assert call.headers["prefer"] == "return-no-content"
        where = (call.parameters["PartitionKey"], call.parameters["RowKey"])
        if where in rows:
            return error(409, "EntityAlreadyExists", "body")
        rows[where] = call.parameters
        return DROPPED

    with loopback(answering) as server:
        store = TableStore(connected(server.server_port, "events"))
        assert store.put(event(body()), soon()) == Outcome.DUPLICATE
        assert len(server.calls) == 2
    assert rows.keys() == {(DEVICE, f"{TIME}_{KEY}")}


# The keys that were seen.


@pytest.fixture
def keys(azurite: Azurite, there: Storage) -> TableSeenKeys:
    return TableSeenKeys(connected(azurite.table_port, there.seen_table))


def test_marked_key_is_seen(keys: TableSeenKeys, azurite: Azurite, there: Storage) -> None:
    assert keys.contains("a.b.c", soon()) is False
    keys.mark("a.b.c", soon())
    keys.mark("a.b.c", soon())
    assert keys.contains("a.b.c", soon()) is True
    assert keys.contains("a.b.d", soon()) is False
    assert keys.contains("a.b", soon()) is False
    assert row(client(azurite.table_port, there.seen_table)) == {"PartitionKey": "a.b.c", "RowKey": ""}


@pytest.mark.parametrize("content", [body(eventId="-" * 93), b""])
def test_keys_of_any_length_can_be_marked(content: bytes, keys: TableSeenKeys) -> None:
    """128 characters at most."""
    key = event(content).key
    keys.mark(key, soon())
    assert keys.contains(key, soon()) is True


def test_missing_table_of_seen_keys_is_an_error(azurite: Azurite) -> None:
    keys = TableSeenKeys(connected(azurite.table_port, f"t{os.urandom(8).hex()}"))
    assert cause_of(keys.contains, "a.b.c") == "TableNotFound"
    assert cause_of(keys.mark, "a.b.c") == "TableNotFound"


def asked(keys: Callable[[TableSeenKeys], Any], reply: Reply | None) -> tuple[Any, list[Call]]:
    with loopback(in_turn(reply)) as server:
        return keys(TableSeenKeys(connected(server.server_port, "seenKeys"))), server.calls


@pytest.mark.parametrize("how", ["header", "body"])
def test_only_entity_not_found_is_unseen(how: str) -> None:
    found, _ = asked(lambda keys: keys.contains("a.b.c", soon()), error(404, "ResourceNotFound", how))
    assert found is False
    for status, code in ((404, "TableNotFound"), (404, "AccountNotFound"), (403, "AuthorizationFailure")):
        found, calls = asked(lambda keys: cause_of(keys.contains, "a.b.c"), error(status, code, how))
        assert (found, len(calls)) == (code, 1)
    assert asked(lambda keys: cause_of(keys.contains, "a.b.c"), Reply(404, b""))[0] == "HTTP 404"


@pytest.mark.parametrize(
    "content", [b'{"PartitionKey":"a.b.d","RowKey":""}', b"{}", b"[]", b"null", b"", b'"a.b.c"', b"<html>a.b.c</html>"]
)
def test_other_entity_is_not_a_seen_key(content: bytes) -> None:
    """Otherwise the event would be acknowledged and not stored."""

    def is_seen(keys: TableSeenKeys) -> bool:
        try:
            return keys.contains("a.b.c", soon())
        except StoreUnavailableError:
            return False

    assert asked(is_seen, Reply(200, content, {"ETag": TAG}))[0] is False


def test_look_up_of_a_seen_key_selects_only_the_key() -> None:
    found, [call] = asked(
        lambda keys: keys.contains("a.b.c", soon()), Reply(200, b'{"PartitionKey":"a.b.c"}', {"ETag": TAG})
    )
    assert found is True
    assert call.method == "GET"
    assert call.path.startswith("/devstoreaccount1/seenKeys(PartitionKey='a.b.c',RowKey='')?")
    assert "select=PartitionKey" in call.path


def test_only_entity_already_exists_is_already_marked() -> None:
    asked(lambda keys: keys.mark("a.b.c", soon()), error(409, "EntityAlreadyExists", "header"))
    _, [call] = asked(lambda keys: keys.mark("a.b.c", soon()), CREATED)
    assert call.headers["prefer"] == "return-no-content"
    assert asked(lambda keys: cause_of(keys.mark, "a.b.c"), error(409, "TableBeingDeleted", "body"))[0] == (
        "TableBeingDeleted"
    )


@pytest.mark.parametrize("reply", NO_ENTITY)
def test_mark_without_an_etag_is_an_error(reply: Reply) -> None:
    assert asked(lambda keys: cause_of(keys.mark, "a.b.c"), reply)[0]


# Azurite away, and back.
