"""Settings of the function."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.gcp_functions.main.function import DATABASE, STORED, TOPIC, function, outcome, post, problem
from tests.support.deliveries import SECRET, fresh_body
from tests.support.google import Emulator, Firestore, PubSub

WRONG: dict[str, tuple[dict[str, str | None], str]] = {
    "no topic": ({"DT_TOPIC": None}, "DT_TOPIC"),
    "empty topic": ({"DT_TOPIC": ""}, "DT_TOPIC"),
    "a topic's short name": ({"DT_TOPIC": "t"}, "DT_TOPIC"),
    "a topic with more": ({"DT_TOPIC": f"{TOPIC}/x"}, "DT_TOPIC"),
    "no database": ({"DT_FIRESTORE": None}, "DT_FIRESTORE"),
    "a database's short name": ({"DT_STORE": "firestore", "DT_FIRESTORE": "(default)"}, "DT_FIRESTORE"),
    "another store": ({"DT_STORE": "bigtable"}, "DT_STORE"),
    "another order": ({"DT_ORDERING": "project"}, "DT_ORDERING"),
    "other keys": ({"DT_SEEN_KEYS": "redis"}, "DT_SEEN_KEYS"),
    "days in words": ({"DT_KEEP_DAYS": "two"}, "DT_KEEP_DAYS"),
    "days without end": ({"DT_STORE": "firestore", "DT_KEEP_DAYS": "10000"}, "DT_KEEP_DAYS"),
    "no secret": ({"DT_SIGNATURE_SECRET": None}, "DT_SIGNATURE_SECRET"),
    "empty secret": ({"DT_SIGNATURE_SECRET": ""}, "DT_SIGNATURE_SECRET"),
    "nobody is logged in": ({"PUBSUB_EMULATOR_HOST": None}, "credentials"),
}


@pytest.mark.parametrize(("changes", "variable"), WRONG.values(), ids=WRONG.keys())
def test_invalid_settings_are_reported_at_each_delivery(
    changes: dict[str, str | None], variable: str, tmp_path: Path
) -> None:
    """An exception at the start would stop the container, and no answer would say why."""
    host = "127.0.0.1:9"
    environ: dict[str, str | None] = {
        "DT_TOPIC": TOPIC,
        "DT_FIRESTORE": DATABASE,
        "PUBSUB_EMULATOR_HOST": host,
        "FIRESTORE_EMULATOR_HOST": host,
    }
    with function(tmp_path, **environ | changes) as program:
        for count in (1, 2):
            answer = post(program)
            assert problem(answer) == (503, "unavailable")
            assert variable.encode() not in answer.body
            lines = program.wait_for_lines(count)
            assert len(lines) == count
            assert (lines[-1]["severity"], lines[-1]["outcome"]) == ("ERROR", "failed")
            assert re.search(rf"\b{variable}\b", lines[-1]["reason"])
            assert lines[-1]["message"].endswith(".")
        assert program.request("GET", "/healthz").status == 200
        assert program.request("GET", "/").status == 405
        assert SECRET not in program.output()


def test_firestore_is_not_needed_without_seen_keys(pubsub: Emulator, tmp_path: Path) -> None:
    """Neither its name, nor its emulator, nor credentials."""
    topic, content = PubSub(pubsub.host), fresh_body()
    environ = {"DT_TOPIC": topic.topic, "DT_SEEN_KEYS": "none", "PUBSUB_EMULATOR_HOST": pubsub.host}
    with function(tmp_path, **environ) as program:
        assert [outcome(post(program, content)) for _ in range(2)] == [STORED] * 2
    messages = topic.messages()
    assert [message["body"] for message in messages] == [content] * 2
    assert len({message["key"] for message in messages}) == 1
    assert "orderingKey" not in messages[0]


def test_ordering_setting_sets_the_ordering_key(pubsub: Emulator, tmp_path: Path) -> None:
    topic = PubSub(pubsub.host)
    environ = {"DT_TOPIC": topic.topic, "DT_SEEN_KEYS": "none", "PUBSUB_EMULATOR_HOST": pubsub.host}
    with function(tmp_path, **environ, DT_ORDERING="device") as program:
        assert outcome(post(program)) == STORED
    [message] = topic.messages()
    assert message["orderingKey"] == message["deviceId"]


@pytest.mark.parametrize("days", ["0", "3", ""])
def test_keep_days_sets_the_expiry_of_events_and_seen_keys(
    days: str, pubsub: Emulator, firestore: Emulator, tmp_path: Path
) -> None:
    database, topic = Firestore(firestore.host), PubSub(pubsub.host)
    environ = {"DT_FIRESTORE": database.database, "FIRESTORE_EMULATOR_HOST": firestore.host, "DT_KEEP_DAYS": days}
    with function(tmp_path, **environ, DT_STORE="firestore") as program:
        assert outcome(post(program)) == STORED
    with function(tmp_path, **environ, DT_TOPIC=topic.topic, PUBSUB_EMULATOR_HOST=pubsub.host) as program:
        assert outcome(post(program)) == STORED
    for collection in ("events", "seenKeys"):
        [found] = database.documents(collection)
        if days == "0":
            assert "expiresAt" not in found
        else:
            lives = datetime.fromisoformat(found["expiresAt"]) - datetime.now(UTC)
            assert abs(lives.total_seconds() - int(days or "365") * 86_400) < 60
