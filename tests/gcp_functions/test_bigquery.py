"""The views of BigQuery say what `core.readings.readings` says.

BigQuery runs nowhere but at Google. What stands in for it: sqlglot reads the SQL in BigQuery's grammar and translates
it to DuckDB's, and DuckDB runs it over the messages that the receiver publishes. What DuckDB lacks is a macro below,
written from BigQuery's documentation. So a name that BigQuery does not know would be found by sqlglot only if it is
wrong grammar, and how BigQuery reads a lone surrogate, a \\u0000 or 1e999 is not tested: see `OF_ITS_OWN`.
"""

import base64
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from core.event import EVENT_TYPES, Event, reread
from core.readings import QUANTITIES
from core.receiver import DEADLINE
from gcp_functions.pubsub import URL, PubSubQueue
from gcp_functions.rest import connect
from tests.contract.test_views import COLUMNS, NOW, STRANGE, TIME, event, expected
from tests.support.deliveries import FIXTURES, body, needs_fixtures

TERRAFORM = Path(__file__).parents[2] / "gcp_functions" / "terraform"
TABLES = {"messages": "project.dataset.messages", "readings": "project.dataset.readings"}

# What each database decides for itself: DuckDB's answer says nothing of BigQuery's.
OF_ITS_OWN = {"labels", "lone surrogate", "too large", "too small"}

# https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions and, for what is in brackets,
# https://cloud.google.com/bigquery/docs/reference/standard-sql/operators#json_subscript_operator
# One is not the same: BigQuery puts U+FFFD for bytes that are no UTF-8, but the core marks such a body in any case.
MACROS = """
CREATE MACRO safe_convert_bytes_to_string(bytes) AS TRY(decode(bytes));
CREATE MACRO bq_safe_parse_json(text) AS CASE WHEN json_valid(text) THEN text::JSON END;
CREATE MACRO bq_json_type(value) AS CASE
    WHEN json_type(value) IN ('OBJECT', 'ARRAY', 'BOOLEAN', 'NULL') THEN lower(json_type(value))
    WHEN json_type(value) = 'VARCHAR' THEN 'string'
    WHEN value IS NOT NULL THEN 'number' END;
CREATE MACRO bq_safe_cast_timestamp(text) AS
    CASE WHEN NOT regexp_matches(text, '\\.[0-9]{7}') THEN TRY_CAST(text AS TIMESTAMPTZ) END;
CREATE MACRO lax_float64(value) AS TRY_CAST(value ->> '$' AS DOUBLE);
CREATE MACRO bq_field(value, name) AS CASE WHEN json_type(value) = 'OBJECT' THEN json_extract(value, name) END;
CREATE MACRO bq_element(value, place) AS CASE
    WHEN json_type(value) = 'ARRAY' THEN json_extract(value, '$[' || place || ']') END;
"""
JSON_COLUMNS = {"document", "payload", "fields"}


def bigquery(view: str) -> exp.Expr:
    """Read a view's SQL, as Terraform fills it in."""
    text = (TERRAFORM / f"{view}.sql.tftpl").read_text()
    text = re.sub(r"\$\{(\w+)\}", lambda match: TABLES[match[1]], text)
    return sqlglot.parse_one(text, dialect="bigquery")


@cache
def translated(view: str) -> str:
    """Return the view's SQL in DuckDB's words."""
    query = bigquery(view)
    for node in reversed(list(query.walk())):  # what is inside comes first
        if word := _word(node):
            node.replace(word)
    for unnest in query.find_all(exp.Unnest):
        if unnest.args.get("offset"):  # BigQuery counts from 0, and DuckDB from 1
            samples = unnest.find_ancestor(exp.Select)
            assert samples
            (column,) = [it for it in samples.selects if it.alias_or_name == "sample"]
            column.replace(exp.alias_(exp.Sub(this=exp.column("sample"), expression=exp.Literal.number(1)), "sample"))
    return query.sql("duckdb")


def _word(node: exp.Expr) -> exp.Expr | None:
    """Return the macro for a function or an operator that DuckDB has not, or has otherwise."""
    if isinstance(node, exp.Column) and len(node.parts) > 1 and node.parts[0].name in JSON_COLUMNS:
        first, *rest = node.parts
        value: exp.Expr = exp.column(first.name)
        for part in rest:
            value = exp.Anonymous(this="bq_field", expressions=[value, exp.Literal.string(part.name)])
        return value
    if isinstance(node, exp.Bracket):
        (inside,) = node.expressions
        return exp.Anonymous(this="bq_element" if inside.is_number else "bq_field", expressions=[node.this, inside])
    if isinstance(node, exp.JSONType):
        return exp.Anonymous(this="bq_json_type", expressions=[node.this])
    if isinstance(node, exp.TryCast):
        assert node.to.is_type("timestamptz")
        return exp.Anonymous(this="bq_safe_cast_timestamp", expressions=[node.this])
    if isinstance(node, exp.SafeFunc):
        assert isinstance(node.this, exp.ParseJSON)
        return exp.Anonymous(this="bq_safe_parse_json", expressions=[node.this.this])
    return None


class Table:
    """The table of messages with its views, and the topic before it."""

    def __init__(self, emulator: str, published: list[dict[str, Any]]) -> None:
        self._queue = PubSubQueue(connect(URL, emulator), "projects/project/topics/topic")
        self._published = published
        self._place = 0
        self._database = duckdb.connect()
        self._database.execute("SET TimeZone = 'UTC'")
        self._database.execute("ATTACH ':memory:' AS project; CREATE SCHEMA project.dataset")
        self._database.execute(
            "CREATE TABLE project.dataset.messages "
            "(subscription_name TEXT, message_id TEXT, publish_time TIMESTAMPTZ, data BLOB, attributes JSON)"
        )
        self._database.execute(MACROS)
        for view in ("readings", "latest"):
            self._database.execute(f"CREATE VIEW project.dataset.{view} AS {translated(view)}")

    def put(self, contents: list[bytes]) -> list[Event]:
        """Publish events, and write the messages as a BigQuery subscription does."""
        events = [reread(content, NOW) for content in contents]
        for one in events:
            self._queue.send(one, time.monotonic() + DEADLINE)
        for message in self._published:
            self.write(base64.b64decode(message["data"]), message["attributes"])
        self._published.clear()
        return events

    def write(self, data: bytes, attributes: dict[str, str], place: int | None = None) -> None:
        self._place = self._place + 1 if place is None else place
        row = [
            "projects/project/subscriptions/bigquery",
            str(self._place),
            datetime(2026, 11, 21, 9, tzinfo=UTC) + timedelta(seconds=self._place),
            data,
            json.dumps(attributes),
        ]
        self._database.execute("INSERT INTO project.dataset.messages VALUES (?, ?, ?, ?, ?)", row)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        return self._database.execute(statement).fetchall()

    def viewed(self, view: str = "readings") -> list[tuple[Any, ...]]:
        columns = COLUMNS.replace(" time,", " strftime(time, '%Y-%m-%dT%H:%M:%S.%fZ'),")
        return sorted(self.ask(f"SELECT {columns} FROM project.dataset.{view}"), key=repr)


@pytest.fixture
def table() -> Iterator[Table]:
    """A topic that keeps what is published to it, over HTTP, and the table that it all goes to."""
    published: list[dict[str, Any]] = []

    class Topic(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            published.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"messageIds": ["1"]}')

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Topic) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Table(f"127.0.0.1:{server.server_port}", published)
        server.shutdown()


def test_the_quantities_are_those_of_core() -> None:
    (quantities,) = [it for it in bigquery("readings").find_all(exp.CTE) if it.alias == "quantities"]
    rows = [
        tuple(None if isinstance(it, exp.Null) else it.name for it in row.expressions)
        for row in quantities.find_all(exp.Tuple)
    ]
    assert sorted(rows, key=repr) == sorted(
        ((it.event_type, it.field, it.quantity, it.unit) for it in QUANTITIES), key=repr
    )


def test_the_columns_are_those_of_sqlite() -> None:
    with closing(sqlite3.connect(":memory:")) as sqlite:
        sqlite.executescript((TERRAFORM.parents[1] / "local" / "schema.sql").read_text())
        names = [column[0] for column in sqlite.execute("SELECT * FROM readings").description]
    query = bigquery("readings")
    assert isinstance(query, exp.Select)
    assert query.named_selects == names


@pytest.mark.parametrize("view", ["readings", "latest"])
def test_what_duckdb_runs_is_what_bigquery_gets(view: str) -> None:
    """The translation leaves out none of the clauses, and no function of the view is unknown to sqlglot."""
    query = bigquery(view)
    assert [it.name for it in query.find_all(exp.Anonymous)] == []
    ours = sqlglot.parse_one(translated(view), dialect="duckdb")
    for kind in (exp.CTE, exp.Qualify, exp.Join, exp.Where, exp.Case, exp.Coalesce):
        assert len(list(ours.find_all(kind))) >= len(list(query.find_all(kind))), kind


def test_every_quantity_by_way_of_duckdb(table: Table) -> None:
    contents = []
    for event_type in sorted(EVENT_TYPES - {"labelsChanged", "ping"}):
        named = [it for it in QUANTITIES if it.event_type == event_type]
        for value in (1.5, "text"):
            payload = {it.field: value for it in named if it.field} | {"updateTime": TIME}
            contents.append(event(event_type, payload))
    events = table.put(list(dict.fromkeys(contents)))  # touch has no field, so that its two are one
    assert table.viewed() == expected(events)


@pytest.mark.parametrize("case", sorted(STRANGE.keys() - OF_ITS_OWN))
def test_the_views_read_what_core_reads_by_way_of_duckdb(table: Table, case: str) -> None:
    events = table.put([STRANGE[case]])
    assert table.viewed() == expected(events)


def test_one_body_that_cannot_be_read_does_not_end_every_query_by_way_of_duckdb(table: Table) -> None:
    bodies = [
        event("contact", {"state": "OPEN", "updateTime": TIME}),
        event("contact", {"state": "OPEN", "updateTime": "half past nine"}),
        b"\xff\xfe",
        b"not JSON",
        b'{"event":[]}',
        body(eventType="temperature", data={"temperature": [1]}, eventId="list"),
    ]
    table.put(bodies)
    assert table.ask("SELECT text FROM project.dataset.readings") == [("OPEN",), ("OPEN",)]
    # Said to be read, and by somebody else: nobody but the receiver should publish here.
    table.write(b"\xff\xfe", {"key": "bytes", "parsed": "true", "eventType": "contact"})
    table.write(b"[", {"key": "half", "parsed": "true", "eventType": "contact", "timestamp": "now"})
    table.write(b"{}", {})
    table.write(bodies[0], {"key": "marked", "parsed": "false", "eventType": "contact", "deviceId": "marked"})
    assert table.ask("SELECT count(*) FROM project.dataset.readings") == [(2,)]
    assert table.ask("SELECT count(*) FROM project.dataset.latest") == [(1,)]
    assert table.ask("SELECT count(*) FROM project.dataset.messages WHERE data = '\\xFF\\xFE'::BLOB") == [(2,)]


@needs_fixtures
def test_captured_events_by_way_of_duckdb(table: Table) -> None:
    paths = sorted((FIXTURES / "bodies").glob("*.json"))
    events = table.put([path.read_bytes() for path in paths if path.name != "INDEX.json"])
    assert table.viewed() == expected(events)
    assert len(table.viewed()) > 30


def test_what_was_published_twice_counts_once_by_way_of_duckdb(table: Table) -> None:
    """The first counts, in whatever order the rows were written."""
    (one,) = table.put([event("temperature", {"value": 21, "updateTime": TIME})])
    attributes = {"key": one.key, "eventType": "temperature", "parsed": "true", "deviceId": one.device_id or ""}
    for place, value in ((9, 23), (0, 22), (5, 24)):
        content = event("temperature", {"value": value, "updateTime": TIME})
        table.write(content, attributes | {"receivedAt": f"2026-11-21T09:00:0{place}.000000Z"}, place)
    assert table.ask("SELECT value, device_id FROM project.dataset.readings") == [(22, one.device_id)]
    assert table.ask("SELECT value FROM project.dataset.latest") == [(22,)]


def test_latest_is_by_event_time_and_not_by_arrival_by_way_of_duckdb(table: Table) -> None:
    def reading(event_id: str, value: float, at: str, is_backfilled: bool) -> bytes:
        older = {"value": value - 1, "sampleTime": "2026-11-21T06:00:00Z"}
        payload = {
            "value": value,
            "updateTime": at,
            "samples": [{"value": value, "sampleTime": at}, older],
            "isBackfilled": is_backfilled,
        }
        return body(eventId=event_id, data={"temperature": payload}, timestamp=at)

    for content in (
        reading("new", 21, "2026-11-21T08:00:00.5Z", False),
        reading("older", 15, "2026-11-21T08:00:00Z", True),
        reading("oldest", 10, "2026-11-01T08:00:00.000000Z", True),
    ):
        table.put([content])
    assert [(row[4], row[5]) for row in table.viewed("latest")] == [("temperature", 21)]
    table.put([reading("newest", 22, "2026-11-21T09:00:00.000000Z", False)])
    assert [(row[4], row[5]) for row in table.viewed("latest")] == [("temperature", 22)]
    marked = {"key": "marked", "parsed": "false", "eventType": "temperature", "deviceId": "emucdd6ef2eu277bo8f52vg"}
    table.write(b"{", marked | {"timestamp": "2026-11-21T10:00:00.000000Z"})
    assert [(row[4], row[5]) for row in table.viewed("latest")] == [("temperature", 22)]
    assert table.ask("SELECT sample, name FROM project.dataset.latest") == [(0, "Møterom 3 & <lab>")]
    assert table.ask("SELECT DISTINCT sample FROM project.dataset.readings ORDER BY 1") == [(0,), (1,)]
