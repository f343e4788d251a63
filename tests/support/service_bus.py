"""A stand-in for Azure Service Bus, in a process that can be frozen, killed and restarted.

`tests.support.service_bus_peer` describes it: our own AMQP 1.0 server, not Microsoft's. Stored messages survive
``kill``.
"""

import base64
import gc
import gzip
import importlib.util
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage

from tests.support.certificates import certificate
from tests.support.ports import free_port, wait_for
from tests.support.processes import ROOT, StandIn, spawn


class ServiceBus(StandIn):
    """One namespace.

    Args:
        folder: The folder for stored messages.
        queues: The existing queues; any queue if empty.
        tls: Use TLS. The SDK then needs `certificate` as its ``connection_verify``, ``TransportType.Amqp``, and
            ``sb://`` with `namespace` as its ``custom_endpoint_address``, because it knows only one port.
        idle: The seconds without a frame after which it closes a connection.
        lock: The seconds for which a message is locked.
        deliveries: The number of failed deliveries after which a message is a dead letter.

    Attributes:
        port: Its port.
        namespace: Host and port, as the SDK expects them.
        connection_string: The SDK's connection string, without TLS.
        certificate: The certificate that clients must trust.
    """

    def __init__(
        self,
        folder: Path,
        *queues: str,
        tls: bool = False,
        idle: float = 240,
        lock: float = 60,
        deliveries: int = 10,
    ) -> None:
        self.port = free_port()
        self.namespace = f"127.0.0.1:{self.port}"
        self.connection_string = (
            f"Endpoint=sb://{self.namespace};SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0;"
            "UseDevelopmentEmulator=true;"
        )
        self.certificate = folder / "certificate.pem"
        self._file = folder / f"service-bus-{self.port}.jsonl"
        self._options = [f"--port={self.port}", f"--file={self._file}", f"--idle={idle}", *queues]
        self._options += [f"--lock={lock}", f"--deliveries={deliveries}"]
        if tls:
            self._options += [f"--certificate={self.certificate}", f"--key={_certify(self.certificate)}"]

    def start(self) -> None:
        """Start it, with earlier stored messages, and return when it listens."""
        self.process = spawn(
            [sys.executable, "-m", "tests.support.service_bus_peer", *self._options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        wait_for(self.port, self.process)

    def set(self, mode: str, times: int = 0, seconds: float = 6) -> None:
        """Set the mode from now on, or for ``times`` messages.

        Args:
            mode: As in `tests.support.service_bus_peer`.
            times: The number of messages after which the mode is normal again; 0: never.
            seconds: The delay in the mode ``slow``.
        """
        line = f"{mode} {times} {seconds}\n".encode()
        process = self._running()
        assert process.stdin
        assert process.stdout
        process.stdin.write(line)
        process.stdin.flush()
        assert process.stdout.readline() == line

    def messages(self) -> list[dict[str, Any]]:
        """Return all stored messages in order, each with its properties by name."""
        found = []
        for line in self._lines(".jsonl"):
            body, properties = base64.b64decode(line.pop("body")), line.pop("properties")
            if properties.get("encoding") == "gzip":
                body = gzip.decompress(body)
            found.append({**properties, **line, "body": body})
        return found

    def tokens(self) -> list[dict[str, str]]:
        """Return all received tokens, each with its ``type`` and its ``audience``."""
        return self._lines(".tokens")

    def send(self, body: bytes, identifier: str, properties: dict[Any, Any] | None = None) -> None:
        """Send a message to the queue ``events``."""
        with (
            ServiceBusClient.from_connection_string(self.connection_string, retry_total=0) as client,
            client.get_queue_sender("events", keep_alive=0) as sender,
        ):
            sender.send_messages(ServiceBusMessage(body, message_id=identifier, application_properties=properties))

    def outcomes(self) -> list[tuple[str, str]]:
        """Return the id of each message that was delivered and settled, or not in time, and the outcome."""
        return [(line["messageId"], line["outcome"]) for line in self._lines(".outcomes")]

    def _lines(self, suffix: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.with_suffix(suffix).read_text().splitlines()]


def _certify(path: Path) -> Path:
    """Write a certificate for 127.0.0.1 and its key; return the certificate's path."""
    public, private = certificate()
    path.write_bytes(public)
    path.with_suffix(".key").write_bytes(private)
    return path.with_suffix(".key")


@contextmanager
def service_bus(folder: Path, *queues: str, **options: Any) -> Iterator[ServiceBus]:
    """Yield a new, running one, or skip if the AMQP library is not installed."""
    if importlib.util.find_spec("proton") is None:
        pytest.skip("no python-qpid-proton: install a C compiler, then `make test` installs it")
    bus = ServiceBus(folder, *queues, **options)
    bus.start()
    with warnings.catch_warnings():
        # The SDK leaves the sockets of failed connections to the garbage collector, and its log records reference them.
        warnings.simplefilter("ignore", ResourceWarning)
        logging.disable()
        try:
            yield bus
        finally:
            bus.close()
            gc.collect()
            logging.disable(logging.NOTSET)
