"""The worker as a program: repetition, dead letters, locks, signals, and a service that goes away.

Azurite, Microsoft's emulator, stands in for Azure Storage, and our own server for Service Bus: it shows what the real
SDK does with locks and outcomes, not what Service Bus does.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.servicebus import ServiceBusClient
from azure.storage.queue import QueueClient

from azure_functions.service import connect
from azure_functions.service_bus import ServiceBusStore
from azure_functions.storage_queue import StorageQueue
from core.event import Event
from tests.azure_functions.service_bus_store import Connect, put, run
from tests.support.azurite import Azurite, Storage, connection_string
from tests.support.deliveries import body
from tests.support.events import DEVICE, event, soon
from tests.support.processes import ROOT
from tests.support.proxy import Mode, Proxy
from tests.support.service_bus import ServiceBus, service_bus
from tests.support.workers import Start, named, said, starting, wait_until

pytestmark = pytest.mark.long

DELIVERIES = 3
# Of Azure Storage, whose worker counts them: ten take eight minutes.
ATTEMPTS = 4
LOCK = 6.0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    # The SDK leaves sockets of failed connections to the garbage collector.
    setup = f"worker.MAX_ATTEMPTS = {ATTEMPTS}"
    with starting(tmp_path, "azure_functions", setup, arguments=("--visibility-timeout", "8")) as start:
        yield lambda environ, *args, **options: start(environ | {"PYTHONWARNINGS": "ignore"}, *args, **options)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[ServiceBus]:
    with service_bus(tmp_path, "events", lock=LOCK, deliveries=DELIVERIES) as bus:
        yield bus


class Bus:
    """A Service Bus queue, with the hands on it."""

    def __init__(self, bus: ServiceBus, proxy: Proxy) -> None:
        self._bus = bus
        address = bus.connection_string.replace(str(bus.port), str(proxy.port))
        self.environ = {"DT_SERVICE_BUS": address}

    def send(self, *events: Event) -> None:
        async def send(store: ServiceBusStore) -> None:
            for one in events:
                await put(store, one)

        run(Connect(self._bus), send)

    def send_foreign(self) -> None:
        self._bus.send(b"theirs", "theirs")

    def left(self) -> int:
        return len(self._peek("events"))

    def dead_letters(self) -> list[str]:
        return self._peek("events/$DeadLetterQueue")

    def _peek(self, queue: str) -> list[str]:
        with (
            ServiceBusClient.from_connection_string(self._bus.connection_string) as client,
            client.get_queue_receiver(queue) as receiver,
        ):
            return [str(message.message_id) for message in receiver.peek_messages(100)]


class Queue:
    """A queue of Azure Storage, with the hands on it."""

    def __init__(self, azurite: Azurite, proxy: Proxy) -> None:
        self._there = Storage(azurite)
        self._connection = connection_string(azurite.queue_port, azurite.table_port)
        self.environ = {
            "DT_STORE": "storage_queue",
            "DT_STORAGE": connection_string(proxy.port, azurite.table_port),
            "DT_QUEUE": self._there.queue,
        }

    def client(self, suffix: str = "") -> QueueClient:
        return QueueClient.from_connection_string(self._connection, f"{self._there.queue}{suffix}")

    def send(self, *events: Event) -> None:
        for one in events:
            StorageQueue(connect(self._connection, "queue", None), self._there.queue).send(one, soon())

    def send_foreign(self) -> None:
        self._there.put_foreign_message()

    def left(self) -> int:
        return self.client().get_queue_properties().approximate_message_count or 0

    def dead_letters(self) -> list[str]:
        try:
            return [str(message.content) for message in self.client("-poison").peek_messages(max_messages=32)]
        except ResourceNotFoundError:
            return []


@pytest.fixture(params=["service bus", "storage queue"])
def place(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A queue, and a proxy before it."""
    kind, service = (Bus, "bus") if request.param == "service bus" else (Queue, "azurite")
    server = request.getfixturevalue(service)
    proxy = Proxy(server.port if service == "bus" else server.queue_port)
    made: Any = kind(server, proxy)
    made.proxy = proxy
    yield made
    proxy.close()


def test_kill_in_the_middle_of_a_batch_loses_no_event(place: Any, start: Start) -> None:
    place.send(*(named(f"e{number}") for number in range(20)))
    first = start(place.environ, seconds=0.1)
    wait_until(lambda: len(said(first, "processed")) >= 14)
    first.stop(signal.SIGKILL)
    done = said(first, "processed")
    second = start(place.environ)
    wait_until(lambda: not place.left())
    assert {*done, *said(second, "processed")} == {f"e{number}" for number in range(20)}
    # One message of Service Bus comes again, or a batch of Azure Storage.
    assert 20 - len(done) <= len(said(second, "processed")) <= (21 - len(done) if isinstance(place, Bus) else 10)
    assert not place.dead_letters()


def test_sigterm_finishes_what_was_received_and_acknowledges_only_what_was_processed(place: Any, start: Start) -> None:
    place.send(*(named(f"e{number}" if number else "poison") for number in range(20)))
    program = start(place.environ, seconds=0.1)
    wait_until(lambda: len(said(program, "began")) >= 3)
    began = time.monotonic()
    assert program.stop() == 0
    assert time.monotonic() - began < 15
    processed = said(program, "processed")
    assert len(said(program, "began")) == len(processed) + 1 <= 20
    assert place.left() == 20 - len(processed)
    assert "Traceback" not in program.output()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_an_idle_worker_within_seconds(place: Any, start: Start, number: signal.Signals) -> None:
    place.send(named("e1"))
    program = start(place.environ)
    wait_until(lambda: said(program, "processed") and not place.left())
    began = time.monotonic()
    assert program.stop(number) == 0
    assert time.monotonic() - began < 12
    assert "Traceback" not in program.output()


def test_failing_event_becomes_a_dead_letter_while_the_others_go_on(place: Any, start: Start) -> None:
    place.send(named("poison"), named("e1"))
    place.send_foreign()
    program = start(place.environ)
    wait_until(lambda: said(program, "processed") == ["e1"])
    place.send(named("e2"))
    wait_until(lambda: said(program, "processed") == ["e1", "e2"])
    wait_until(lambda: len(place.dead_letters()) == 2)
    assert said(program, "began").count("poison") == (DELIVERIES if isinstance(place, Bus) else ATTEMPTS)
    wait_until(lambda: not place.left())
    assert any("theirs" in letter for letter in place.dead_letters())
    assert any("poison" in letter for letter in place.dead_letters())
    assert "a secret" not in program.output()
    assert "not written by the receiver" in program.output()


def test_worker_goes_on_when_the_service_is_back(place: Any, start: Start) -> None:
    place.send(*(named(f"e{number}") for number in range(5)))
    program = start(place.environ, seconds=0.5)
    # It has the events, and cannot acknowledge them.
    wait_until(lambda: said(program, "began"))
    place.proxy.set(Mode.REFUSE)
    wait_until(lambda: "tries again" in program.output())
    place.proxy.set(Mode.PASS)
    place.send(named("later"))
    wait_until(lambda: not place.left())
    assert set(said(program, "processed")) == {"later", *(f"e{number}" for number in range(5))}
    assert program.stop() == 0


def test_lock_is_renewed_while_an_event_is_processed(bus: ServiceBus, start: Start) -> None:
    there = Bus(bus, Proxy(bus.port))
    there.send(named("e1"), named("e2"))
    program = start(there.environ, seconds=LOCK * 1.5)
    wait_until(lambda: len(bus.outcomes()) == 2)
    assert said(program, "processed") == ["e1", "e2"]
    # Nothing was delivered again, because no lock ended.
    assert {outcome for _, outcome in bus.outcomes()} == {"accepted"}


def test_frozen_service_bus_holds_up_no_sigterm(bus: ServiceBus, start: Start) -> None:
    there = Bus(bus, Proxy(bus.port))
    there.send(named("e1"))
    program = start(there.environ)
    wait_until(lambda: said(program, "processed") and not there.left())
    bus.freeze()
    began = time.monotonic()
    assert program.stop() == 0
    assert time.monotonic() - began < 25
    bus.thaw()


def test_event_that_kills_its_worker_becomes_a_dead_letter(azurite: Azurite, start: Start) -> None:
    there = Queue(azurite, Proxy(azurite.queue_port))
    there.send(named("e1"))
    for _ in range(ATTEMPTS):
        message = there.client().receive_message(visibility_timeout=1)
        assert message
        time.sleep(1.1)
    program = start(there.environ)
    wait_until(there.dead_letters)
    assert not said(program, "began")
    wait_until(lambda: not there.left())


def test_readings_are_printed(place: Any, start: Start) -> None:
    place.send(event(body()))
    program = start(place.environ, module="azure_functions.worker")
    wait_until(lambda: not place.left())
    assert program.output().startswith(f"{DEVICE} temperature ")


def test_help_has_examples() -> None:
    program = subprocess.run(
        [sys.executable, "-m", "azure_functions.worker", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "examples:\n  DT_SERVICE_BUS=" in program.stdout


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, "DT_SERVICE_BUS is not set: the host name of the Service Bus namespace."),
        ({"DT_STORE": "table"}, "DT_STORE must be service_bus or storage_queue."),
        ({"DT_STORE": "storage_queue"}, "DT_STORAGE is not set: the name of the storage account."),
        ({"DT_SERVICE_BUS": "a secret"}, "DT_SERVICE_BUS is neither a name nor an Azure connection string."),
        ({"DT_SERVICE_BUS": "a=secret"}, "Cannot read the queue events: ValueError."),
        ({"DT_STORE": "storage_queue", "DT_STORAGE": "a=secret"}, "Cannot read the queue events: ValueError."),
        (
            {"DT_SERVICE_BUS": "tests.servicebus.windows.net", "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"},
            "No login at Azure: ",
        ),
        (
            {"DT_STORE": "storage_queue", "DT_STORAGE": "tests", "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"},
            "No login at Azure: ",
        ),
    ],
)
def test_wrong_setting_is_one_sentence(start: Start, environ: dict[str, str], sentence: str) -> None:
    program = start(environ, module="azure_functions.worker")
    assert program.process.wait(30) == 1
    assert program.output().startswith(sentence)
    assert "secret" not in program.output()
    assert len(program.output().splitlines()) == 1


def test_missing_queue_is_one_sentence(place: Any, start: Start) -> None:
    program = start(place.environ | {"DT_QUEUE": "missing"})
    assert program.process.wait(30) == 1
    assert program.output().startswith("Cannot find the queue missing.")
