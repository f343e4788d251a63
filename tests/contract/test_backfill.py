"""What ``dtconn backfill`` fetches, in every store: once, marked, and never in place of what DT signed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.connectors.fetched import fetched
from cli.connectors.values import ACTIVE, HTTP_PUSH, Connector
from cli.targets import Writer
from core.event import Event, parse_stored
from dt_cloud.bodies import Device
from tests.contract.store import Harness
from tests.contract.stores import STORES

NOW = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
PROJECT = "c14u9p094l47cdv1o3pg"
SENSOR = "emuc17m6d7lq0bgk44smcqg"
CONNECTOR = Connector(
    project_id=PROJECT, connector_id="c16pegipidie7lltrefg", name="", kind=HTTP_PUSH, status=ACTIVE, events=(),
    labels=("name",), url="https://example.com", secret="", headers={},
)  # fmt: skip
DOCUMENT = {
    "name": f"projects/{PROJECT}/devices/{SENSOR}",
    "type": "temperature",
    "productNumber": "102058",
    "labels": {"name": "Kjølerom 1", "floor": "2"},
}


@pytest.fixture(params=STORES)
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    with STORES[request.param].factory(tmp_path, request) as harness:
        harness.refuses_copies = STORES[request.param].refuses_copies
        yield harness


def signed() -> Event:
    return parse_stored(Device(SENSOR, PROJECT).body("temperature", NOW), NOW, "hs256:0")


def of_history(event: Event) -> Event:
    """The same event, fetched."""
    return fetched(event.document["event"], DOCUMENT, CONNECTOR, datetime.now(UTC))


def test_a_fetched_event_is_as_a_connector_would_have_sent_it() -> None:
    event = signed()
    found = of_history(event)
    assert (found.key, found.parsed, found.labels) == (event.key, True, {"name": "Kjølerom 1"})
    assert found.document["metadata"] == event.document["metadata"]
    assert found.document["event"] == event.document["event"]


def test_it_is_stored_once_marked_and_never_replaces_a_signed_one(harness: Harness) -> None:
    delivered, missed = signed(), [of_history(signed()) for _ in range(3)]
    with Writer(harness.build) as writer:
        assert writer.write([delivered]).total() == 1
        # With what was delivered, in the order of the history.
        for _ in range(2):
            counts = writer.write([*missed, of_history(delivered)])
            assert counts["refused"] == 0
    rows = {row["key"]: row for row in harness.rows()}
    assert len(harness.rows()) == len(rows) == 4
    assert bytes(rows[delivered.key]["body"]) == delivered.body
    assert rows[delivered.key]["signed_by"] == "hs256:0"
    for event in missed:
        assert bytes(rows[event.key]["body"]) == event.body
        assert rows[event.key]["signed_by"] == "fetched"
