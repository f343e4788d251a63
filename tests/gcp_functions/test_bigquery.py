"""The views of BigQuery only; tests/contract/test_views.py has what all views share."""

from collections.abc import Iterator

import pytest
from zetasql.core.exceptions import ServerError

from core.event import parse_stored
from tests.contract.store import Database
from tests.contract.test_views import NOW, event, put_all
from tests.gcp_functions.bigquery import BigQuery
from tests.support.cases import TIME


@pytest.fixture
def bigquery() -> Iterator[BigQuery]:
    bigquery = BigQuery()
    yield bigquery
    bigquery.close()


def put(bigquery: BigQuery, contents: list[bytes]) -> None:
    put_all(Database(bigquery.store, bigquery.ask, ""), contents)


def test_unknown_function_is_an_error(bigquery: BigQuery) -> None:
    with pytest.raises(ServerError, match="Function not found"):
        bigquery.ask("SELECT LAX_FLOAT65(PARSE_JSON('1'))")


def test_views_survive_messages_of_another_publisher(bigquery: BigQuery) -> None:
    """Only the receiver should publish here."""
    put(bigquery, [event("contact", {"state": "OPEN", "updateTime": TIME})])
    bigquery.write(b"\xff\xfe", {"key": "bytes", "parsed": "true", "eventType": "contact"})
    bigquery.write(b"[", {"key": "half", "parsed": "true", "eventType": "contact", "timestamp": "now"})
    bigquery.write(b"{}", {})
    marked = {"key": "marked", "parsed": "false", "eventType": "contact", "deviceId": "marked"}
    bigquery.write(event("contact", {"state": "CLOSED"}), marked)
    assert bigquery.ask("SELECT text, signed_by FROM readings") == [("OPEN", "hs256:0")]
    assert bigquery.ask("SELECT text FROM latest") == [("OPEN",)]
    assert bigquery.ask("SELECT count(*) FROM messages WHERE data = b'\\xFF\\xFE'") == [(1,)]


def test_duplicate_message_counts_once(bigquery: BigQuery) -> None:
    """The first counts, in whatever order the rows were written."""
    one = parse_stored(event("temperature", {"value": 21, "updateTime": TIME}), NOW)
    for place, value in ((9, 23.0), (0, 22.0), (5, 24.0)):
        content = event("temperature", {"value": value, "updateTime": TIME})
        bigquery.write(content, one.attributes() | {"parsed": "true"}, place)
    assert bigquery.ask("SELECT value, device_id FROM readings") == [(22, one.device_id)]
    assert bigquery.ask("SELECT value FROM latest") == [(22,)]
