"""BigQuery's views, run by Google's GoogleSQL over the messages that the receiver publishes.

`zetasql` is GoogleSQL's analyzer and reference implementation, built for WebAssembly. It has no BigQuery storage, no
optimizer, and no list of what BigQuery does not support.
"""

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import wasmtime
import zetasql.core.wasm_client
from google.protobuf.timestamp_pb2 import Timestamp
from zetasql.api import CatalogBuilder, TableBuilder
from zetasql.core import ZetaSqlLocalService
from zetasql.types import (
    AnalyzerOptions,
    EvaluateQueryRequest,
    LanguageOptions,
    TableContent,
    TableData,
    TypeKind,
    Value,
    ZetaSQLBuiltinFunctionOptions,
)
from zetasql.wasi._pb2.zetasql.local_service.local_service_pb2 import EvaluateQueryResponse

from core.event import Event
from core.stores.contract import Outcome
from gcp_functions.pubsub import URL, PubSubQueue
from gcp_functions.service import connect

TERRAFORM = Path(__file__).parents[2] / "gcp_functions" / "terraform"


class _Cached(wasmtime.Config):
    def __init__(self) -> None:
        super().__init__()
        self.cache = True  # to compile 28 MB takes 20 s, each time


@cache
def _googlesql() -> tuple[AnalyzerOptions, Any]:
    """Return options, and a catalog with GoogleSQL's functions and the table of messages."""
    zetasql.core.wasm_client.Config = _Cached
    language = LanguageOptions.maximum_features()
    functions = ZetaSQLBuiltinFunctionOptions(language_options=language)
    messages = TableBuilder("messages")
    for name, kind in (
        ("subscription_name", TypeKind.TYPE_STRING),
        ("message_id", TypeKind.TYPE_STRING),
        ("publish_time", TypeKind.TYPE_TIMESTAMP),
        ("data", TypeKind.TYPE_BYTES),
        ("attributes", TypeKind.TYPE_JSON),
    ):
        messages.add_column(name, kind)
    catalog = CatalogBuilder("project").add_table(messages.build()).with_builtin_functions(functions).build()
    return AnalyzerOptions(language_options=language), catalog


def view(name: str) -> str:
    """Return the SQL of a view as Terraform fills it in, with the view that it reads inlined."""
    text = (TERRAFORM / f"{name}.sql.tftpl").read_text().replace("`${messages}`", "messages")
    return text.replace("`${readings}`", f"(\n{view('readings')}\n)" if "`${readings}`" in text else "")


class _Publishing:
    """The receiver's queue, whose events need no looking up here."""

    def __init__(self, queue: PubSubQueue) -> None:
        self._queue = queue

    async def put(self, event: Event, deadline: float) -> Outcome:
        self._queue.send(event, deadline)
        return Outcome.STORED

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass


class BigQuery:
    """The topic, its subscription for BigQuery, and the table of messages with its views.

    Attributes:
        published: What came over HTTP and was not fetched.
    """

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []
        self._rows: list[list[Value]] = []
        self._place = 0
        bigquery = self

        class Topic(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                bigquery.published.extend(json.loads(self.rfile.read(length))["messages"])
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"messageIds": ["1"]}')

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Topic)
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def store(self) -> "_Publishing":
        """Return the store that publishes to the topic."""
        service = connect(URL, f"127.0.0.1:{self._server.server_port}")
        return _Publishing(PubSubQueue(service, "projects/project/topics/topic"))

    def write(self, data: bytes, attributes: dict[str, str], place: int | None = None) -> None:
        """Write a message as a subscription does; ``place`` is the second of its publishing."""
        self._place = self._place + 1 if place is None else place
        published = datetime(2026, 11, 21, 9, tzinfo=UTC) + timedelta(seconds=self._place)
        self._rows.append(
            [
                Value(string_value="projects/project/subscriptions/bigquery"),
                Value(string_value=str(self._place)),
                Value(timestamp_value=Timestamp(seconds=int(published.timestamp()))),
                Value(bytes_value=data),
                Value(json_value=json.dumps(attributes)),
            ]
        )

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement over the table and its views, with or without the dataset that the README has."""
        while self.published:
            message = self.published.pop(0)
            self.write(base64.b64decode(message["data"]), message["attributes"])
        options, catalog = _googlesql()
        sql = statement.replace("dt_receiver.", "")
        rows = TableData(row=[TableData.Row(cell=row) for row in self._rows])
        request = EvaluateQueryRequest(
            sql=re.sub(r"\bFROM (readings|latest)\b", lambda found: f"FROM (\n{view(found[1])}\n)", sql),
            options=options,
            simple_catalog=catalog,
            table_content={"messages": TableContent(table_data=rows)},
        )
        # Not by PreparedQuery, which loses times.
        answer = ZetaSqlLocalService.get_instance().wasm_client.call_grpc_func(
            "ZetaSqlLocalService_EvaluateQuery", request.to_proto(), EvaluateQueryResponse
        )
        return [tuple(map(_python, row.cell)) for row in answer.content.table_data.row]


def _python(cell: Any) -> Any:
    kind = cell.WhichOneof("value")
    value = getattr(cell, kind) if kind else None
    return value.ToDatetime(UTC) if isinstance(value, Timestamp) else value
