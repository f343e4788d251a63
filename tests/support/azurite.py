"""Azurite, Microsoft's emulator of Azure Storage, in a subprocess."""

import base64
import gzip
import json
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from tests.support.ports import free_port, wait_for
from tests.support.processes import StandIn, spawn

_FOLDER = Path(__file__).with_name("node")
# Azurite's only account, with its well-known key.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Azurite(StandIn):
    """A server whose data is in files, so that it survives a kill."""

    def __init__(self) -> None:
        self.queue_port = free_port()
        self.table_port = free_port()
        self._folder = tempfile.TemporaryDirectory()

    def start(self) -> None:
        """Start the server; after a `kill`, with its data."""
        node = shutil.which("node")
        program = _FOLDER / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"
        if not node or not program.is_file():
            pytest.skip("no Azurite: install Node.js 20 or newer with npm, then `make test` installs it")
        hosts = [f"--{service}Host=127.0.0.1" for service in ("blob", "queue", "table")]
        ports = [f"--blobPort={free_port()}", f"--queuePort={self.queue_port}", f"--tablePort={self.table_port}"]
        # The SDKs use a newer API version than Azurite knows.
        options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", f"--location={self._folder.name}"]
        self.process = spawn([node, str(program), *hosts, *ports, *options], stdout=subprocess.DEVNULL)
        for port in (self.queue_port, self.table_port):
            wait_for(port, self.process)

    def close(self) -> None:
        """Stop the server, and delete its data."""
        super().close()
        self._folder.cleanup()


class Storage:
    """A new queue and two new tables, read without the receiver."""

    def __init__(self, azurite: Azurite) -> None:
        self._azurite = azurite
        self.queue, self.table, self.seen_table = (f"{name}{uuid.uuid4().hex}" for name in ("q", "t", "s"))
        connection = connection_string(azurite.queue_port, azurite.table_port)
        self._queue = QueueClient.from_connection_string(connection, self.queue)
        self._queue.create_queue()
        self._table = TableClient.from_connection_string(connection, self.table)
        self._table.create_table()
        self._seen = TableClient.from_connection_string(connection, self.seen_table)
        self._seen.create_table()

    def messages(self) -> list[dict[str, Any]]:
        """Take all messages from the queue, with the bodies that DT signed."""
        found = [json.loads(str(message.content)) for message in self._queue.receive_messages(messages_per_page=32)]
        return [{**fields, "body": _body(fields)} for fields in found]

    def entities(self) -> list[dict[str, Any]]:
        """Return the events' entities, with the bodies that DT signed."""
        found = [dict(entity) for entity in self._table.list_entities()]
        names = ["body", *(f"body{number}" for number in range(1, 16))]
        return [{**fields, "body": b"".join(fields.get(name, b"") for name in names)} for fields in found]

    def put_foreign_entity(self) -> None:
        """Put an entity that the receiver did not write."""
        self._table.create_entity({"PartitionKey": "theirs", "RowKey": "theirs", "key": 7, "body": "text"})

    def put_foreign_message(self) -> None:
        """Put a message that the receiver did not send."""
        self._queue.send_message('{"key": "theirs"}')

    def seen(self) -> list[str]:
        """Return the marked keys."""
        return [str(entity["PartitionKey"]) for entity in self._seen.list_entities()]


def _body(fields: dict[str, Any]) -> bytes:
    match fields.get("encoding"):
        case "base64":
            return base64.b64decode(fields["body"])
        case "gzip+base64":
            return gzip.decompress(base64.b64decode(fields["body"]))
    return str(fields["body"]).encode()


def connection_string(queue_port: int, table_port: int) -> str:
    """Return the connection string of an Azurite at these ports, or of a proxy in front."""
    endpoints = (("QueueEndpoint", queue_port), ("TableEndpoint", table_port))
    urls = ";".join(f"{name}=http://127.0.0.1:{port}/{ACCOUNT}" for name, port in endpoints)
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{urls};"


@contextmanager
def azurite() -> Iterator[Azurite]:
    """Yield a new server, or skip if it is not installed."""
    server = Azurite()
    try:
        server.start()
        yield server
    finally:
        server.close()
