"""The reader of Table Storage: what it reads for which query, strange entities, and its errors.

Against Azurite, Microsoft's emulator, through a proxy that counts; a server of the tests gives the answers that Azurite
cannot.
"""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from azure.data.tables import TableClient

from azure_functions.service import connect
from azure_functions.table import Table, TableStore
from core.event import Event, parse_stored
from readers import ReaderError
from readers.query import Query
from readers.sources import open_reader
from tests.contract.test_readers import HOUR, NOW, at
from tests.support.azurite import ACCOUNT, KEY, Azurite, Storage, connection_string
from tests.support.deliveries import body
from tests.support.events import soon
from tests.support.loopback import DROPPED, Loopback, Reply, in_turn, loopback
from tests.support.proxy import Proxy

SECRET = "the-words-that-nobody-may-see"


class Counting(Proxy):
    """Keeps what the service answers."""

    def __init__(self, port: int) -> None:
        self.answers = b""
        super().__init__(port)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        *,
        is_answer: bool,
    ) -> None:
        if is_answer:
            read = reader.read

            async def keep(limit: int) -> bytes:
                data = await read(limit)
                self.answers += data
                return data

            reader.read = keep  # type: ignore[method-assign, assignment]
        await super()._pump(reader, writer, client, is_answer=is_answer)

    def counts(self) -> tuple[int, int]:
        """Return how many answers came since the last call, and how many entities were in them."""
        answers, self.answers = self.answers, b""
        return answers.count(b"HTTP/1.1 200"), answers.count(b'"RowKey"')


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_KEY", KEY)


@pytest.fixture
def there(azurite: Azurite) -> Storage:
    return Storage(azurite)


@pytest.fixture
def table(azurite: Azurite, there: Storage) -> TableClient:
    return TableClient.from_connection_string(connection_string(0, azurite.table_port), there.table)


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[Counting]:
    proxy = Counting(azurite.table_port)
    yield proxy
    proxy.close()


@pytest.fixture
def source(proxy: Counting, there: Storage) -> str:
    return f"azure-table:http://127.0.0.1:{proxy.port}/{ACCOUNT}/{there.table}"


def put(table: TableClient, *events: Event) -> None:
    service = connect(connection_string(0, urlsplit(table.url).port or 0), "table", None)
    store = TableStore(Table(service, table.table_name))
    for event in events:
        store.put(event, soon())


def listed(source: str, query: Query) -> list[str]:
    with open_reader(source) as reader:
        return [event.key for event in reader.events(query)]


# What is read.


def test_period_of_a_device_reads_what_it_returns(table: TableClient, source: str, proxy: Counting) -> None:
    put(table, *(at(hours / 10, device) for hours in range(40) for device in ("emu1", "emu2")))
    query = Query(device_id="emu1", since=NOW - 2 * HOUR)
    assert len(listed(source, query)) == 21
    requests, entities = proxy.counts()
    assert entities == 21
    assert requests <= 5
    with open_reader(source) as reader:
        assert reader.cost(query) is None


def test_newest_of_a_device_are_read_and_not_its_history(table: TableClient, source: str, proxy: Counting) -> None:
    put(table, *(at(hours / 10) for hours in range(200)))
    assert len(listed(source, Query(device_id="emu1", limit=20))) == 20
    _, entities = proxy.counts()
    assert entities <= 30


def test_type_is_selected_by_the_service(table: TableClient, source: str, proxy: Counting) -> None:
    put(table, *(at(hours / 10, "emu1", kind) for hours in range(20) for kind in ("touch", "motion")))
    for device in ("emu1", None):
        assert len(listed(source, Query(device_id=device, event_types=["motion"], since=NOW - HOUR))) == 11
        assert proxy.counts()[1] == 11


def test_silence_of_years_takes_few_requests(table: TableClient, source: str, proxy: Counting) -> None:
    year = 365 * 24
    events = [at(hours) for hours in (0, 1, year, year + 1, 5 * year, 1000 * year)]
    put(table, *events)
    assert listed(source, Query(device_id="emu1")) == [event.key for event in events]
    assert proxy.counts()[0] <= 30


def test_many_events_come_in_order_and_each_once(table: TableClient, source: str) -> None:
    """More than an answer has, in bursts."""
    minutes = [*range(1300), *(60 * hour for hour in range(24, 60))]
    events = [at(minute / 60) for minute in minutes]
    put(table, *events)
    assert listed(source, Query(device_id="emu1")) == [event.key for event in events]


def test_cost_is_said_where_more_is_read_than_returned(source: str) -> None:
    with open_reader(source) as reader:
        assert reader.cost(Query()) == reader.arrived_cost(None) == reader.latest_cost(Query())
        assert reader.poll_seconds is None
        for query in (Query(limit=20), Query(since=NOW), Query(event_types=["touch"])):
            assert "the whole table" in (reader.cost(query) or "")
        assert "all events of the device" in (reader.cost(Query(device_id="a", labels={"b": ""})) or "")
        assert "the whole table" in (reader.latest_cost(Query()) or "")
        assert "all events of the device" in (reader.latest_cost(Query(device_id="a")) or "")
        assert "the whole table" in (reader.arrived_cost(NOW) or "")


# Strange entities.


@pytest.mark.parametrize("device", ["-", "a/b", "a'b", "ø", "it's 7 o'clock"])
def test_device_whose_id_is_no_partition_key(device: str, table: TableClient, source: str) -> None:
    events = [at(hours, device) for hours in (1, 2)]
    put(table, *events, at(1, "other/one"), at(1))
    assert listed(source, Query(device_id=device)) == [event.key for event in events]
    assert listed(source, Query(device_id=device, since=NOW - 1.5 * HOUR)) == [events[0].key]


def test_event_without_a_time_has_the_time_of_its_arrival(table: TableClient, source: str) -> None:
    arrival = NOW - 2.5 * HOUR
    untimed = parse_stored(body(timestamp=None).replace(b"emucdd6ef2eu277bo8f52vg", b"emu1"), arrival)
    assert untimed.timestamp is None
    events = [at(1), at(2), untimed, at(3)]
    put(table, *events)
    keys = [event.key for event in events]
    for device in ("emu1", None):
        assert listed(source, Query(device_id=device)) == keys
        assert listed(source, Query(device_id=device, since=arrival, until=NOW - HOUR)) == keys[1:3]


def test_events_of_the_future_are_listed_first(table: TableClient, source: str) -> None:
    events = [at(-24 * 365), at(-1), at(1)]
    put(table, *events)
    assert listed(source, Query(device_id="emu1")) == [event.key for event in events]


def test_period_that_ends_before_it_begins_is_empty(table: TableClient, source: str) -> None:
    put(table, at(1))
    assert listed(source, Query(device_id="emu1", since=NOW, until=NOW - 2 * HOUR)) == []


@pytest.mark.parametrize("length", [0, 65_536, 65_537, 200_000])
def test_body_in_several_properties_is_whole(length: int, table: TableClient, source: str) -> None:
    put(table, parse_stored(b"x" * length, NOW))
    with open_reader(source) as reader:
        [event] = reader.events(Query())
    assert event.body == b"x" * length


def test_entities_of_somebody_else_end_no_listing(table: TableClient, source: str) -> None:
    day = datetime(2026, 11, 21, tzinfo=UTC)
    properties: list[dict[str, object]] = [
        {},
        {"key": "k", "body": b"{}", "receivedAt": day},
        {"key": "k", "body": "{}", "receivedAt": "2026-11-21T00:00:00Z"},
        {"key": "k", "body1": b"{}", "receivedAt": "2026-11-21T00:00:00Z"},
        {"key": "k", "body": b"{}", "receivedAt": "soon", "signedBy": 7},
    ]
    for number, each in enumerate(properties):
        table.create_entity({"PartitionKey": "emu1", "RowKey": f"2026-11-21 {number}", **each})
    put(table, at(1))
    assert len(listed(source, Query())) == 6
    assert listed(source, Query(device_id="emu1")) == [at(1).key]


# Errors.


def fails(source: str, query: Query | None = None) -> str:
    with pytest.raises(ReaderError) as caught, open_reader(source) as reader:
        list(reader.events(query or Query()))
    assert not any(secret in str(caught.value) for secret in (SECRET, KEY))
    return str(caught.value)


def answered(reply: Reply | None) -> tuple[str, Loopback]:
    with loopback(in_turn(reply)) as server:
        return fails(f"azure-table:{server.url}/{ACCOUNT}/events"), server


def test_missing_table_and_wrong_key(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"azure-table:http://127.0.0.1:{azurite.table_port}/{ACCOUNT}/missing"
    assert fails(source).startswith("Cannot find the table missing.")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "d3Jvbmc=")
    assert re.match("Azure denies reading the table missing: .*Storage Table Data Reader", fails(source))


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (Reply(403, b"", {"x-ms-error-code": "AuthorizationPermissionMismatch"}), "AuthorizationPermissionMismatch"),
        (Reply(503, SECRET.encode(), {"x-ms-error-code": "ServerBusy"}), "ServerBusy. Try again"),
        (Reply(400, SECRET.encode(), {"x-ms-error-code": SECRET}), "HTTP 400. Try again"),
        (Reply(200, f"<html>{SECRET}".encode(), {"Content-Type": "text/html"}), "Cannot read the table events"),
        (DROPPED, "Cannot reach the table events"),
    ],
)
def test_answer_becomes_one_sentence(reply: Reply | None, sentence: str) -> None:
    assert sentence in answered(reply)[0]


@pytest.mark.parametrize("reply", [Reply(503), DROPPED])
def test_failed_request_is_sent_twice(reply: Reply | None) -> None:
    assert len(answered(reply)[1].calls) == 2


def test_identity_that_has_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_KEY", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    # Not what the machine of the tests may be logged in with.
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    assert fails("azure-table:https://account.table.core.windows.net/events").startswith("No login at Azure")
    assert "AZURE_STORAGE_KEY" in fails("azure-table:http://127.0.0.1:1/account/events")


@pytest.mark.parametrize(
    "source",
    [
        "azure-table:events",
        "azure-table:https://account.table.core.windows.net",
        "azure-table:https://account.table.core.windows.net/no-table",
        f"azure-table:https://account.table.core.windows.net/events?sig={SECRET}",
        f"azure-table:https://user:{SECRET}@account.table.core.windows.net/events",
        "azure-table:https://[/events",
        "azure-table:",
    ],
)
def test_bad_url_is_one_sentence(source: str) -> None:
    assert fails(source).startswith("This is not the URL of a store.")


def test_shared_access_signature(table: TableClient, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.core.credentials import AzureNamedKeyCredential
    from azure.data.tables import TableSasPermissions, generate_table_sas

    signature = generate_table_sas(
        AzureNamedKeyCredential(ACCOUNT, KEY),
        table.table_name,
        permission=TableSasPermissions(read=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    monkeypatch.delenv("AZURE_STORAGE_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", signature)
    put(table, at(1))
    assert listed(source, Query()) == [at(1).key]


def test_log_of_the_sdk_is_silent(source: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    fails(source.replace(ACCOUNT, "another"))
    assert not caplog.records
