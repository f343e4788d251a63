"""The reader of BigQuery, by the contract of all readers and beyond.

local-bigquery stands in for BigQuery, and GoogleSQL itself runs the same statements, without Google's client.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.event import Event
from readers.bigquery import BigQueryReader
from readers.contract import Reader
from readers.query import Query, newest_first
from readers.rows import FOREIGN
from readers.sources import open_reader
from tests.contract.store import Harness, http_answer, proxy_faults
from tests.contract.test_readers import (  # noqa: F401 - pytest runs them here, with the harness of this module
    history,
    test_arrived_gives_at_least_what_arrived_since,
    test_error_is_one_sentence_for_a_person,
    test_every_event_comes_back_as_it_was_stored,
    test_export_by_day_has_each_event_once_whatever_the_order,
    test_follow_gives_what_arrives_and_can_be_resumed,
    test_last_sign_of_each_device,
    test_latest_is_the_newest_of_each_device_and_type,
    test_latest_with_a_label_is_of_sensors_that_have_it_now,
    test_query_returns_what_matches_newest_first,
    test_reading_changes_nothing,
    test_row_of_somebody_else_is_shown_as_such,
    test_store_that_does_not_exist_is_one_sentence,
)
from tests.gcp_functions.bigquery import BigQuery
from tests.gcp_functions.local_bigquery import LocalBigQuery, Messages, local_bigquery
from tests.gcp_functions.reading import MINUTE, failure, timed
from tests.support.deliveries import body
from tests.support.events import DEVICE, NOW, event
from tests.support.loopback import SILENT, Loopback, Reply, google_fault, in_turn, loopback, success
from tests.support.proxy import Proxy

PRICE = (
    "US$ at 6.25 US$ per TiB in the US (https://cloud.google.com/bigquery/pricing), of which the first one of a month "
    "is free."
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBigQuery]:
    with local_bigquery(tmp_path_factory.mktemp("bigquery")) as server:
        yield server


@pytest.fixture
def messages(server: LocalBigQuery, monkeypatch: pytest.MonkeyPatch) -> Iterator[Messages]:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{server.port}")
    messages = Messages(server.port)
    yield messages
    messages.close()


@pytest.fixture
def harness(server: LocalBigQuery, messages: Messages, monkeypatch: pytest.MonkeyPatch) -> Iterator[Harness]:
    proxy = Proxy(server.port)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{proxy.port}")
    denied = {"error": {"code": 403, "message": "a secret", "errors": [{"reason": "accessDenied"}]}}
    yield Harness(
        messages.store,
        messages.rows,
        proxy_faults(proxy, b"", http_answer(403, denied)),
        source=f"bigquery:{messages.table}",
        put_foreign=lambda: messages.write(b"text"),
    )
    proxy.close()


def keys(events: Iterator[Event] | list[Event]) -> list[str]:
    return [one.key for one in events]


def opened(messages: Messages) -> Reader:
    return open_reader(f"bigquery:{messages.table}")


def test_message_that_came_twice_is_shown_once_as_it_came_first(messages: Messages) -> None:
    one = timed(1)
    for minutes, signed_by in ((1, "second"), (0, "third"), (2, "first")):
        again = replace(one, signed_by=signed_by)
        messages.write(one.body, again.attributes() | {"parsed": "true"}, NOW - minutes * MINUTE)
    with opened(messages) as reader:
        for found in (reader.events(Query()), reader.latest(Query()), reader.arrived(None)):
            assert [one.signed_by for one in found] == ["first"]


def test_messages_of_somebody_else_are_shown(messages: Messages) -> None:
    messages.publish([timed(1)])
    strange: list[Any] = [None, [], "text", {}, {"key": None}, {"deviceId": "x"}]
    for attributes in strange:
        messages.write(b"\xff", attributes)
    messages.write(None, {"key": "theirs", "timestamp": "now", "receivedAt": "now"})
    with opened(messages) as reader:
        faults = [one.fault for one in reader.events(Query())]
        assert sorted(map(str, faults)) == ["None", *[FOREIGN] * 7]
        assert keys(reader.events(Query(since=NOW - MINUTE))) == [timed(1).key]


def test_only_partitions_since_then_are_asked_for(messages: Messages) -> None:
    """An event that claims to be from tomorrow was published before."""
    ahead = event(body(eventId="ahead", timestamp="2026-11-22T09:00:00Z"), NOW)
    messages.publish([timed(90), timed(30), ahead])
    with opened(messages) as reader:
        assert keys(reader.events(Query())) == [ahead.key, timed(30).key, timed(90).key]
        assert keys(reader.events(Query(since=NOW - 30 * MINUTE))) == [ahead.key, timed(30).key]
        assert not list(reader.events(Query(since=NOW + timedelta(hours=2))))
        assert keys(reader.arrived(NOW - 30 * MINUTE)) == [timed(30).key, ahead.key]


def test_cost_is_that_of_a_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(call: Any) -> Reply:
        job = call.parameters["configuration"]
        assert job["dryRun"] is True
        assert job["query"]["useQueryCache"] is False
        asked.append(job["query"])
        reference = {"projectId": "some-project", "location": "EU"}
        statistics = {"query": {"totalBytesProcessed": "123456789012"}}
        document = {"jobReference": reference, "status": {"state": "DONE"}, "statistics": statistics}
        return Reply(200, json.dumps({**document, "configuration": job}).encode())

    asked: list[dict[str, Any]] = []
    with loopback(answer) as server:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
        with open_reader("bigquery:some-project.d.messages") as reader:
            sentence = f"BigQuery reads and bills 123,457 MB, or 0.7018 {PRICE}"
            query = Query(device_id="a' OR TRUE", event_types=["touch"], since=NOW, limit=1)
            assert reader.cost(query) == reader.latest_cost(query) == reader.arrived_cost(NOW) == sentence
            assert reader.latest_cost(Query()) == sentence
            # What reads no more than it returns.
            assert reader.cost(Query()) is reader.arrived_cost(None) is None
    given = {one["name"]: one["parameterValue"] for one in asked[0]["queryParameters"]}
    assert given["device"] == {"value": "a' OR TRUE"}
    assert all("OR TRUE" not in each["query"] for each in asked)
    assert all("publish_time >= @published" in each["query"] for each in asked[:3])


def test_smallest_bill_is_10_mb(messages: Messages) -> None:
    with opened(messages) as reader:
        assert reader.cost(Query(limit=1)) == f"BigQuery reads and bills 10 MB, or 0.0001 {PRICE}"


# ---- GoogleSQL itself ------------------------------------------------------------------------------------------------


class Job:
    """A query that is done."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def done(self, **_: Any) -> bool:
        return True

    def result(self, **_: Any) -> list[dict[str, Any]]:
        return self._rows


class GoogleSql:
    """The part of Google's client that the reader calls, with GoogleSQL behind it and no parameters."""

    def __init__(self, bigquery: BigQuery) -> None:
        self._bigquery = bigquery

    def query(self, statement: str, job_config: Any, **_: Any) -> "Job":
        given = {each.name: each for each in job_config.query_parameters}

        def literal(match: re.Match[str]) -> str:
            value = getattr(given[match[1]], "values", None) or given[match[1]].value
            return f"TIMESTAMP '{value.isoformat()}'" if isinstance(value, datetime) else json.dumps(value)

        statement = re.sub(r"@(\w+)", literal, statement).replace("`p.d.messages`", "messages")
        names = ("key", "data", "received_at", "signed_by", "message_id", "time")
        return Job([dict(zip(names, row, strict=True)) for row in self._bigquery.ask(statement)])

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(limit=3),
        Query(device_id=DEVICE, event_types=["motion", "touch"], since=NOW - 4 * MINUTE, until=NOW - MINUTE),
        Query(until=NOW - 2 * MINUTE, limit=1),
    ],
)
def test_googlesql_gives_the_same(query: Query) -> None:
    bigquery = BigQuery()
    events = [timed(minutes, kind, device) for minutes in range(6) for kind in ("motion", "co2") for device in "ab"]
    events += [timed(minutes, kind) for minutes in range(6) for kind in ("motion", "co2")]
    for one in [*events, *events]:
        bigquery.write(one.body, one.attributes() | {"parsed": "true"})
    bigquery.close()
    matching = list(newest_first(filter(query.matches, events), 0))
    with BigQueryReader(GoogleSql(bigquery), "p.d.messages") as reader:
        assert keys(reader.events(query)) == keys(matching)[: query.limit or None]
        newest = {(one.device_id, one.event_type): one.key for one in reversed(matching)}
        assert sorted(keys(reader.latest(query))) == sorted(newest.values())
        arrived = [one.received_at for one in reader.arrived(NOW - 3 * MINUTE)]
        assert arrived == sorted(one.received_at for one in events if one.received_at >= NOW - 3 * MINUTE)


def test_googlesql_takes_messages_of_somebody_else() -> None:
    bigquery = BigQuery()
    bigquery.write(b"text", {})
    bigquery.write(b"", {"key": "theirs", "timestamp": "now"})
    bigquery.close()
    with BigQueryReader(GoogleSql(bigquery), "p.d.messages") as reader:
        assert {one.key: one.fault for one in reader.events(Query(limit=5))} == {"1": FOREIGN, "theirs": FOREIGN}


# ---- errors ----------------------------------------------------------------------------------------------------------

SOURCE = "bigquery:some-project.d.messages"


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with loopback(lambda _: Reply(200)) as server:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
        yield server


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (google_fault(403, "PERMISSION_DENIED", "a secret"), "Google denies reading"),
        (google_fault(401, "UNAUTHENTICATED", "a secret"), "No Google Cloud credentials"),
        (google_fault(404, "NOT_FOUND", "a secret"), "Cannot find the BigQuery table"),
        (google_fault(400, "INVALID_ARGUMENT", "a secret"), "Google refuses to read"),
        (google_fault(429, "RESOURCE_EXHAUSTED", "a secret"), "Google cannot read"),
        (google_fault(500, "INTERNAL", "a secret"), "Google cannot read"),
        (google_fault(503, "UNAVAILABLE", "a secret"), "Cannot reach Google Cloud"),
        (Reply(502, b"<p>a secret"), "Google cannot read"),
        (Reply(200, b"a secret"), "Cannot read"),
        (None, "Cannot read"),
    ],
)
def test_answer_becomes_a_sentence(answering: Loopback, reply: Reply | None, sentence: str) -> None:
    answering.answering = lambda _: reply
    began = time.monotonic()
    text = failure(SOURCE)
    assert text.startswith(sentence)
    assert "secret" not in text
    assert time.monotonic() - began < 30
    assert len(answering.calls) <= 3


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.long
def test_silent_service_is_given_up_in_time(answering: Loopback, after: int) -> None:
    """At once, or after some of the calls that a query takes."""
    reference = {"projectId": "some-project", "jobId": "j", "location": "EU"}
    schema = {"fields": [{"name": "key", "type": "STRING", "mode": "NULLABLE"}]}
    job = {"jobReference": reference, "configuration": {"query": {}}}
    calls = [
        success(**job, status={"state": "RUNNING"}),
        success(**job, status={"state": "DONE"}, statistics={"query": {"statementType": "SELECT"}}),
        success(jobReference=reference, jobComplete=True, schema=schema, totalRows="2"),
    ]
    answering.answering = in_turn(*calls[:after], SILENT)
    began = time.monotonic()
    assert failure(SOURCE).startswith("Cannot read the BigQuery table")
    assert time.monotonic() - began < 30
    assert len(answering.calls) >= after


def test_missing_table_is_a_sentence(messages: Messages) -> None:
    assert failure(f"bigquery:{messages.table}2").startswith("Cannot find the BigQuery table")


def test_view_in_the_place_of_the_table_is_a_sentence(messages: Messages) -> None:
    """A user may have copied the name of another output."""
    dataset = messages.table.rpartition(".")[0]
    messages.ask(f"CREATE VIEW `{dataset}.readings` AS SELECT 1 AS value")
    assert failure(f"bigquery:{dataset}.readings").startswith("Google refuses to read")


@pytest.mark.parametrize(
    "url", ["bigquery:", "bigquery:d.t", "bigquery:some-project.d.t.u", "bigquery:some-project.d.t-u"]
)
def test_url_of_another_form_is_a_sentence(url: str) -> None:
    assert failure(url).startswith("Name the table so: bigquery:PROJECT.DATASET.TABLE.")
