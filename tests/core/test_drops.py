"""Events that a filter drops are logged at a limited rate."""

import io
import json
from datetime import UTC, datetime

from core.drops import EVERY, Drops
from core.event import parse_stored
from core.log import Log
from tests.support.deliveries import body

PROJECT = "ccol8iuk9smqiha4e8l0"


def test_warns_at_the_first_drop_and_then_at_most_once_a_minute() -> None:
    stream, now = io.StringIO(), [1000.0]
    drops = Drops(Log(stream), lambda: now[0])

    def warnings() -> list[str]:
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        assert {line["severity"] for line in lines} == {"WARNING"}
        return [line["message"].partition("line: ")[2] for line in lines]

    def drop(content: bytes) -> None:
        drops.add(parse_stored(content, datetime.now(UTC)))

    drop(body())
    assert warnings() == [f"1. Event types: temperature. Projects: {PROJECT}."]
    for content in (body(eventType="touch"), body(targetName=None), body()):
        now[0] += EVERY / 4
        drop(content)
    assert len(warnings()) == 1
    now[0] += EVERY / 4
    drop(body(eventType=None))
    assert warnings()[1:] == [f"4. Event types: touch, temperature, none. Projects: {PROJECT}."]
    for number in range(50):
        drop(body(eventType=f"type{number}"))
    now[0] += EVERY
    drop(body())
    assert warnings()[2].startswith("51. Event types: type0, type1, ")
    assert "type10" not in warnings()[2]
