"""Reads the BigQuery table to which a subscription of the receiver on Google Cloud writes.

Credentials: see `readers.gcp`. The roles are BigQuery Data Viewer on the dataset (``roles/bigquery.dataViewer``) and
BigQuery Job User in the project (``roles/bigquery.jobUser``); the project of the table pays.
"""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

import google.auth
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud.bigquery import ArrayQueryParameter, Client, QueryJobConfig, ScalarQueryParameter

from core.event import Event, rfc3339
from readers import ReaderError
from readers.contract import BATCH, Reader
from readers.gcp import TIMEOUT, asked, reading
from readers.query import Query
from readers.rows import foreign, stored
from readers.seen import newest_signs

_URL = re.compile(
    r"bigquery:((?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9])\.([A-Za-z0-9_]+)\.([A-Za-z0-9_]+)"
).fullmatch
_ROLE = "roles/bigquery.dataViewer on the dataset, and roles/bigquery.jobUser in the project"
# Seconds for a query: BigQuery may sort a large table.
_WAIT = 600.0
# An event is published after its time and its arrival, by clocks that agree so far. Only the partitions since then are
# read.
_AHEAD = timedelta(hours=1)
# https://cloud.google.com/bigquery/pricing#analysis_pricing_models, on demand. A query is billed 10 MB at least.
_PRICE = 6.25
_TIB = 2**40
_LEAST = 10_000_000

# Attributes that are times have six fraction digits and end in Z, so they can be compared as text.
_EVENTS = """\
SELECT
    JSON_VALUE(attributes, '$.key') AS key,
    data,
    JSON_VALUE(attributes, '$.receivedAt') AS received_at,
    JSON_VALUE(attributes, '$.signedBy') AS signed_by,
    message_id,
    COALESCE(JSON_VALUE(attributes, '$.timestamp'), JSON_VALUE(attributes, '$.receivedAt'), '') AS time
FROM `{table}`
WHERE {conditions}
QUALIFY {first}
"""
# As in the views: what was published twice counts once, as it came first. What has no key is not ours.
_ONCE = """\
JSON_VALUE(attributes, '$.key') IS NULL
    OR ROW_NUMBER() OVER (PARTITION BY JSON_VALUE(attributes, '$.key') ORDER BY publish_time, message_id) = 1"""
_NEWEST = """\
ROW_NUMBER() OVER (
    PARTITION BY JSON_VALUE(attributes, '$.deviceId'), JSON_VALUE(attributes, '$.eventType')
    ORDER BY JSON_VALUE(attributes, '$.timestamp') DESC, JSON_VALUE(attributes, '$.key'), publish_time, message_id
) = 1"""

# What was not sent late, and what was: the newest of each. `readers.seen` chooses.
_SEEN = """\
ROW_NUMBER() OVER (
    PARTITION BY
        JSON_VALUE(attributes, '$.deviceId'),
        REGEXP_CONTAINS(SAFE_CONVERT_BYTES_TO_STRING(data), r'"isBackfilled"\\s*:\\s*true')
    ORDER BY
        LEAST(JSON_VALUE(attributes, '$.timestamp'), JSON_VALUE(attributes, '$.receivedAt')) DESC,
        JSON_VALUE(attributes, '$.timestamp') DESC
) = 1"""

Parameters = Mapping[str, Any]


class _Session(AuthorizedSession):
    """Google's session, in which no request waits for longer than `TIMEOUT`: the client waits 120 s for results."""

    def request(self, method: str, url: Any, *, timeout: Any = None, **options: Any) -> Any:  # type: ignore[override]
        return super().request(method, url, timeout=min(timeout or TIMEOUT, TIMEOUT), **options)


class BigQueryReader(Reader):
    """Reads by queries, which bill what is in the columns of the partitions that they read, not what they return.

    An event whose time is more than an hour after its publication is only found without ``since``.

    Args:
        client: Google's client, whose types refuse None for retries; the reader closes it.
        table: The table, ``PROJECT.DATASET.TABLE``.
    """

    is_in_order = True
    # Each look is billed 10 MB at least: 0.09 US$ a day.
    poll_seconds: ClassVar[float | None] = 60.0

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table
        self._name = f"the BigQuery table {table}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def matching(self, query: Query) -> Iterator[Event]:
        """Yield the events, which BigQuery sorts."""
        return self._rows(*self._newest_first(query))

    def cost(self, query: Query) -> str | None:
        """Return what BigQuery would read, by a dry run, which is free."""
        return None if query == Query() else self._cost(*self._newest_first(query))

    def latest(self, query: Query) -> Iterator[Event]:
        """Yield the newest events, which BigQuery finds."""
        return filter(query.matches, self._rows(*self._latest(query)))

    def latest_cost(self, query: Query) -> str | None:
        """Return what BigQuery would read, by a dry run."""
        return self._cost(*self._latest(query))

    def last_signs(self, query: Query) -> Iterator[Event]:
        """Yield the events, which BigQuery finds."""
        statement, parameters = self._events(
            Query(device_id=query.device_id),
            _SEEN,
            "JSON_VALUE(attributes, '$.eventType') IS NOT NULL",
            "JSON_VALUE(attributes, '$.timestamp') IS NOT NULL",
        )
        return filter(query.matches, newest_signs(self._rows(statement, parameters)))

    def arrived(self, since: datetime | None) -> Iterator[Event]:
        """Yield what arrived, oldest first; BigQuery sorts it."""
        return self._rows(*self._arrived(since))

    def arrived_cost(self, since: datetime | None) -> str | None:
        """Return what BigQuery would read, by a dry run, if not everything is wanted."""
        return self._cost(*self._arrived(since)) if since else None

    def follow_cost(self, position: str | None) -> str | None:
        """Return what BigQuery would read, by a dry run."""
        return self.arrived_cost(datetime.fromisoformat(position) if position else None)

    def _newest_first(self, query: Query) -> tuple[str, Parameters]:
        statement, parameters = self._events(query, _ONCE)
        statement += "ORDER BY time DESC, key"
        if query.limit and not query.labels:
            statement += f"\nLIMIT {query.limit}"
        return statement, parameters

    def _latest(self, query: Query) -> tuple[str, Parameters]:
        statement, parameters = self._events(query, _NEWEST, "JSON_VALUE(attributes, '$.parsed') = 'true'")
        return statement + "ORDER BY time DESC, key", parameters

    def _arrived(self, since: datetime | None) -> tuple[str, Parameters]:
        parameters: Parameters = {"arrived": rfc3339(since), "published": _published(since)} if since else {}
        received = "JSON_VALUE(attributes, '$.receivedAt')"
        conditions = f"publish_time >= @published AND {received} >= @arrived" if since else "TRUE"
        return self._statement(conditions, _ONCE) + "ORDER BY received_at, key", parameters

    def _events(self, query: Query, first: str, *more: str) -> tuple[str, Parameters]:
        conditions, parameters = ["TRUE", *more], dict[str, Any]()
        event_time = "COALESCE(JSON_VALUE(attributes, '$.timestamp'), JSON_VALUE(attributes, '$.receivedAt'), '')"
        if query.device_id is not None:
            conditions.append("JSON_VALUE(attributes, '$.deviceId') = @device")
            parameters["device"] = query.device_id
        if query.event_types:
            conditions.append("JSON_VALUE(attributes, '$.eventType') IN UNNEST(@types)")
            parameters["types"] = list(query.event_types)
        if query.since:
            conditions.append(f"publish_time >= @published AND {event_time} >= @since")
            parameters |= {"published": _published(query.since), "since": rfc3339(query.since)}
        if query.until:
            conditions.append(f"{event_time} < @until")
            parameters["until"] = rfc3339(query.until)
        return self._statement(" AND ".join(conditions), first), parameters

    def _statement(self, conditions: str, first: str) -> str:
        return _EVENTS.format(table=self._table, conditions=conditions, first=first)

    def _rows(self, statement: str, parameters: Parameters) -> Iterator[Event]:
        job = self._job(statement, _config(parameters))
        deadline = time.monotonic() + _WAIT
        pause = 0.1
        while not self._asked(lambda: job.done(retry=None, timeout=TIMEOUT)):
            if time.monotonic() > deadline:
                raise ReaderError(f"BigQuery takes too long to read {self._name}. Narrow it down, such as by --since.")
            time.sleep(pause)
            pause = min(2 * pause, 2)
        rows = self._asked(lambda: job.result(page_size=BATCH, retry=None, job_retry=None, timeout=TIMEOUT))
        with reading(self._name, _ROLE):
            for row in rows:
                yield _event(row)

    def _job(self, statement: str, config: QueryJobConfig) -> Any:
        return self._asked(
            lambda: self._client.query(statement, job_config=config, timeout=TIMEOUT, retry=None, job_retry=None)
        )

    def _asked(self, call: Callable[[], Any]) -> Any:
        return asked(call, self._name, _ROLE)

    def _cost(self, statement: str, parameters: Parameters) -> str:
        config = _config(parameters)
        config.dry_run, config.use_query_cache = True, False
        job = self._job(statement, config)
        billed = max(int(job.total_bytes_processed or 0), _LEAST)
        return (
            f"BigQuery reads and bills {billed / 1e6:,.0f} MB, or {billed / _TIB * _PRICE:.4f} US$ at {_PRICE} US$ per "
            "TiB in the US (https://cloud.google.com/bigquery/pricing), of which the first one of a month is free."
        )


def _published(since: datetime) -> datetime:
    try:
        return since - _AHEAD
    except OverflowError:
        return since


def _config(parameters: Parameters) -> QueryJobConfig:
    given: list[Any] = []
    for name, value in parameters.items():
        if isinstance(value, list):
            given.append(ArrayQueryParameter(name, "STRING", value))
        else:
            kind = "TIMESTAMP" if isinstance(value, datetime) else "STRING"
            given.append(ScalarQueryParameter(name, kind, value))
    return QueryJobConfig(query_parameters=given)


def _event(row: Any) -> Event:
    body = row["data"] or b""
    if row["key"] is None:
        return foreign(row["message_id"] or "-", body)
    return stored(row["key"], body, row["received_at"], row["signed_by"])


def open_reader(url: str) -> BigQueryReader:
    """Open ``bigquery:PROJECT.DATASET.TABLE``."""
    found = _URL(url.replace("`", ""))
    if not found:
        raise ReaderError("Name the table so: bigquery:PROJECT.DATASET.TABLE. The deployment prints it as `source`.")
    table = ".".join(found.groups())
    with reading(f"the BigQuery table {table}", _ROLE):
        is_emulated = bool(os.environ.get("BIGQUERY_EMULATOR_HOST"))
        credentials = AnonymousCredentials() if is_emulated else google.auth.default(Client.SCOPE)[0]
        return BigQueryReader(Client(project=found[1], credentials=credentials, _http=_Session(credentials)), table)
