"""Service Bus and Azure Storage under contract."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from azure_functions.namespace import namespace
from azure_functions.seen_keys import TableSeenKeys
from azure_functions.service import connect as connect_storage
from azure_functions.service_bus import ServiceBusStore
from azure_functions.storage_queue import StorageQueue
from azure_functions.table import Table, TableStore
from core.receiver import DEADLINE
from core.stores.contract import AsyncStore, Outcome
from core.stores.dedup import Deduplicated
from tests.azure_functions.faults import SERVICE_BUS_CAUSES, STORAGE_CAUSES
from tests.contract.store import CLOUD_FAULTS, Entry, Faults, Harness, Row, Waiting, proxy_faults, row
from tests.support.azurite import ACCOUNT, KEY, Azurite, Storage, connection_string
from tests.support.proxy import Mode, Proxy
from tests.support.service_bus import service_bus


def _azure_faults(proxy: Proxy) -> Faults:
    def answer(status: int, code: str) -> bytes:
        return f"HTTP/1.1 {status} No\r\nx-ms-error-code: {code}\r\nContent-Length: 0\r\n\r\n".encode()

    return proxy_faults(proxy, answer(503, "ServerBusy"), answer(403, "AuthorizationPermissionMismatch"))


@contextmanager
def table(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    azurite: Azurite = request.getfixturevalue("azurite")
    proxy, there = Proxy(azurite.table_port), Storage(azurite)
    request.getfixturevalue("monkeypatch").setenv("AZURE_STORAGE_KEY", KEY)

    def build() -> AsyncStore:
        connection = connection_string(azurite.queue_port, proxy.port)
        return Waiting(TableStore(Table(connect_storage(connection, "table", None), there.table)))

    try:
        yield Harness(
            build,
            lambda: [row(each) for each in there.entities()],
            _azure_faults(proxy),
            source=f"azure-table:http://127.0.0.1:{proxy.port}/{ACCOUNT}/{there.table}",
            put_foreign=there.put_foreign_entity,
        )
    finally:
        proxy.close()


@contextmanager
def storage_queue(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    """The queue is behind the proxy; the seen keys are in a table, without a fault."""
    azurite: Azurite = request.getfixturevalue("azurite")
    proxy, there = Proxy(azurite.queue_port), Storage(azurite)
    request.getfixturevalue("monkeypatch").setenv("AZURE_STORAGE_KEY", KEY)
    taken: list[Row] = []

    def build() -> AsyncStore:
        connection = connection_string(proxy.port, azurite.table_port)
        queue = StorageQueue(connect_storage(connection, "queue", None), there.queue)
        keys = Table(connect_storage(connection, "table", None), there.seen_table)
        return Waiting(Deduplicated(queue, TableSeenKeys(keys)))

    def rows() -> list[Row]:
        taken.extend(row(message) for message in there.messages())
        return sorted(taken, key=lambda row: str(row["received_at"]))

    try:
        yield Harness(
            build,
            rows,
            _azure_faults(proxy),
            source=f"storage-queue:http://127.0.0.1:{proxy.port}/{ACCOUNT}/{there.queue}",
            put_foreign=there.put_foreign_message,
        )
    finally:
        proxy.close()


@contextmanager
def service_bus_queue(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    with service_bus(folder, "events") as bus:
        proxy = Proxy(bus.port)
        connection = bus.connection_string.replace(str(bus.port), str(proxy.port))
        request.getfixturevalue("monkeypatch").setenv("SERVICEBUS_CONNECTION_STR", connection)

        def ends() -> None:
            bus.set("normal")
            proxy.set(Mode.REFUSE)  # close the connections whose bytes were dropped
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
                lambda: ServiceBusStore(namespace(connection, "events", None).open),
                lambda: [row(each) for each in bus.messages()],
                faults,
                source=f"servicebus:127.0.0.1:{proxy.port}/events",
                put_foreign=lambda: bus.send(b"theirs", "theirs"),
            )
        finally:
            proxy.close()


def fetches(url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], object]]:
    """Return the call that fetches a token of the managed identity from ``url``."""
    for name, value in {"IDENTITY_ENDPOINT": f"{url}/msi/token", "IDENTITY_HEADER": "h"}.items():
        monkeypatch.setenv(name, value)
    service = connect_storage("tests", "table", "of this test alone")
    return {"managed identity": lambda: service.call("GET", "/events", time.monotonic() + DEADLINE, None, {})}


STORES = {
    "service bus": Entry(
        service_bus_queue,
        CLOUD_FAULTS,
        again=Outcome.STORED,
        causes=SERVICE_BUS_CAUSES,
        is_readable=True,
        is_queue=True,
    ),
    "storage queue": Entry(storage_queue, CLOUD_FAULTS, refuses_copies=False, causes=STORAGE_CAUSES),
    "table": Entry(table, CLOUD_FAULTS, causes=STORAGE_CAUSES, is_readable=True),
}
