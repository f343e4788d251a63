"""local-bigquery in BigQuery's place: Google's client as it is, GoogleSQL translated for DuckDB.

`make gcp-tools` installs it into an environment of its own, where there is Python 3.13. It knows no permissions, and
its dry run has no partitions. tests/gcp_functions/bigquery.py has GoogleSQL itself, without the client.
"""

import base64
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.bigquery import Client, SchemaField, Table, TimePartitioning

from core.event import Event
from core.stores.contract import Outcome
from tests.gcp_functions.bigquery import BigQuery
from tests.support.ports import free_port, wait_for
from tests.support.processes import ROOT, StandIn, spawn

_ENVIRONMENT = ROOT / ".venv-gcp"
_PROGRAM = _ENVIRONMENT / "bin" / "local-bigquery"
# What Terraform makes; tests/gcp_functions/test_terraform.py compares its columns.
COLUMNS = {
    "subscription_name": "STRING",
    "message_id": "STRING",
    "publish_time": "TIMESTAMP",
    "data": "BYTES",
    "attributes": "JSON",
}
PROJECT = "some-project"


class LocalBigQuery(StandIn):
    """The program.

    Attributes:
        port: Where it listens, on 127.0.0.1.

    Args:
        folder: For its data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()

    def start(self) -> None:
        """Start, and return once it listens."""
        ports = ["--port", str(self.port), "--grpc-port", str(free_port())]
        self.process = spawn(
            [str(_PROGRAM), "--host", "127.0.0.1", *ports, "--data-dir", str(self._folder)],
            # DuckDB looks for its extensions there, and would fetch them elsewhere.
            env={"PATH": os.environ["PATH"], "HOME": str(_ENVIRONMENT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.port, self.process)


@contextmanager
def local_bigquery(folder: Path) -> Iterator[LocalBigQuery]:
    """Give a running one, or skip if it is not installed."""
    if not _PROGRAM.is_file():
        pytest.skip("no local-bigquery: `make gcp-tools` installs it, where there is Python 3.13")
    started = LocalBigQuery(folder)
    started.start()
    try:
        yield started
    finally:
        started.close()


class Messages:
    """A table of one's own, and the topic whose messages a subscription writes to it.

    Attributes:
        table: Its full name.

    Args:
        port: Where BigQuery listens.
    """

    def __init__(self, port: int) -> None:
        self._client = Client(
            project=PROJECT,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": f"http://127.0.0.1:{port}"},
        )
        self._topic = BigQuery()
        dataset = self._client.create_dataset(f"d{uuid.uuid4().hex}").dataset_id
        self.table = f"{PROJECT}.{dataset}.messages"
        table = Table(self.table, [SchemaField(name, kind) for name, kind in COLUMNS.items()])
        table.time_partitioning = TimePartitioning(field="publish_time")
        self._client.create_table(table)

    def close(self) -> None:
        """Disconnect."""
        self._topic.close()
        self._client.close()

    def write(self, data: bytes | None, attributes: Any = None, published: datetime | None = None) -> None:
        """Write a message, as the subscription does."""
        self._insert([_message(data, attributes, published)])

    def rows(self) -> list[dict[str, Any]]:
        """Return the attributes of all messages."""
        found = self.ask(f"SELECT attributes FROM `{self.table}`")
        return [row["attributes"] for row in found if row["attributes"]]

    def ask(self, statement: str) -> list[Any]:
        """Run a statement."""
        return list(self._client.query_and_wait(statement))

    def store(self) -> "Subscribed":
        """Return the receiver's queue."""
        return Subscribed(self)

    def publish(self, events: list[Event]) -> None:
        """Write events, as if they had been published when they arrived."""
        self._insert([_message(one.body, one.attributes() | {"parsed": "true"}, one.received_at) for one in events])

    def _insert(self, rows: list[dict[str, Any]]) -> None:
        assert not self._client.insert_rows_json(self.table, rows)

    def deliver(self) -> None:
        """Write what was published."""
        messages = self._topic.published
        rows = [_message(base64.b64decode(message["data"]), message["attributes"]) for message in messages]
        messages.clear()
        if rows:
            self._insert(rows)


class Subscribed:
    """A store that publishes. When it is closed, the messages are in the table."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._queue = messages._topic.store()

    async def open(self) -> None:
        pass

    async def put(self, event: Event, deadline: float) -> Outcome:
        return await self._queue.put(event, deadline)

    async def close(self) -> None:
        self._messages.deliver()


def _message(data: bytes | None, attributes: Any, published: datetime | None = None) -> dict[str, Any]:
    return {
        "subscription_name": "projects/some-project/subscriptions/bigquery",
        "message_id": uuid.uuid4().hex,
        "publish_time": (published or datetime.now(UTC)).isoformat(),
        "data": None if data is None else base64.b64encode(data).decode(),
        "attributes": None if attributes is None else json.dumps(attributes),
    }
