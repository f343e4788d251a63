"""``dtconn backfill --to aws``: the store of the deployment, by the settings of its function."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from cli.targets import open_writer
from core.event import FETCHED, parse_stored
from tests.support.aws import EVENTS_KEYS, create_table, items
from tests.support.deliveries import fresh_body
from tests.support.moto import MotoServer


@pytest.mark.parametrize("name", ["aws", "aws_lambda"])
def test_the_table_of_the_function_gets_each_event_once(
    moto: MotoServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    there = moto.client("dynamodb")
    table = create_table(there, EVENTS_KEYS)
    for variable, value in {**moto.environment, "DT_TABLE": table}.items():
        monkeypatch.setenv(variable, value)
    events = [parse_stored(fresh_body(), datetime.now(UTC), FETCHED) for _ in range(20)]
    with open_writer(name) as writer:
        assert writer.write(events) == Counter(stored=20)
        assert writer.write(events) == Counter(duplicate=20)
    assert Counter(item["key"] for item in items(there, table)) == Counter(event.key for event in events)
