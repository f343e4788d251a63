"""Promise 5 on Azure: a worker killed at any moment costs at most a retry, never an event.

Azurite loses what it was given last when it is killed, so it is frozen instead. Our stand-in for Service Bus does not.
"""

import importlib.util
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.azure_host import azure_functions
from tests.support.azurite import Storage, azurite, connection_string
from tests.support.deliveries import SECRET
from tests.support.processes import Program
from tests.support.senders import KILLS, SENDERS, kill_often, outcome, sending, store_outage
from tests.support.service_bus import service_bus

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        importlib.util.find_spec("azure_functions_runtime") is None,
        reason="no azure-functions-runtime: install Python 3.13, which it wants, then `make test` installs it",
    ),
]
STORES = ["service_bus", "storage_queue", "table"]


@dataclass
class Place:
    """Where events go.

    Attributes:
        environ: The function's environment.
        bodies: Reads what is stored.
        goes: Takes it away.
        comes: Gives it back.
    """

    environ: dict[str, str]
    bodies: Callable[[], list[bytes]]
    goes: Callable[[], object]
    comes: Callable[[], object]


@contextmanager
def place(store: str, folder: Path) -> Iterator[Place]:
    environ = {"DT_STORE": store, "DT_SIGNATURE_SECRET": SECRET}
    if store == "service_bus":
        with service_bus(folder, "events") as bus:
            environ["DT_SERVICE_BUS"] = bus.connection_string
            yield Place(environ, lambda: [each["body"] for each in bus.messages()], bus.kill, bus.start)
        return
    with azurite() as server:
        there = Storage(server)
        environ |= {"DT_STORAGE": connection_string(server.queue_port, server.table_port), "DT_TABLE": there.table}
        environ |= {"DT_QUEUE": there.queue, "DT_SEEN_TABLE": there.seen_table}
        stored = there.entities if store == "table" else there.messages
        yield Place(environ, lambda: [each["body"] for each in stored()], server.freeze, server.thaw)


def kill(program: Program) -> None:
    program.process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("store", STORES)
def test_function_killed_under_load(store: str, tmp_path: Path) -> None:
    with place(store, tmp_path) as there:
        ledger = kill_often(lambda: azure_functions(there.environ, tmp_path), kill)
        _, too_many = outcome(ledger, there.bodies())
        # A kill between the send and the mark costs one duplicate of each request in flight.
        assert too_many <= (KILLS * SENDERS if store == "storage_queue" else 0)


@pytest.mark.parametrize("store", STORES)
def test_store_outage_under_load(store: str, tmp_path: Path) -> None:
    """Service Bus is killed and started again; Azurite freezes."""
    with place(store, tmp_path) as there:
        with azure_functions(there.environ, tmp_path) as program, sending(lambda: program) as ledger:
            store_outage(ledger, there.goes, there.comes)
        _, too_many = outcome(ledger, there.bodies())
        # The service may have stored an attempt that timed out: one more duplicate for each attempt in flight.
        assert too_many <= (SENDERS * 3 if store == "storage_queue" else 0)
