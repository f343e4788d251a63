"""Each event of each database is processed, and the place is kept."""

import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from core.environment import Environment
from core.event import Event, parse_stored
from core.receiver import DEADLINE
from ibm_actions.wiring import build_service
from ibm_actions.worker import BATCH
from tests.ibm_actions.conftest import Put
from tests.ibm_actions.worker.following import MONTH, NOW, Following, event, wait_until
from tests.support.cases import each_table
from tests.support.couchdb import Events

OLD = [datetime(2024, month, 1, tzinfo=UTC) for month in (1, 3, 5)]


# Timestamps of a clock that was never set.
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def test_every_event_of_every_database_is_processed_once(put: Put, follow: Any) -> None:
    """Without faults. Events with a missing or odd timestamp are in a separate database."""
    undated = parse_stored(event("undated").body.replace(b'"timestamp"', b'"time"'), NOW)
    put(event("a"), event("b", NOW - 2 * MONTH), event("c", OLD[0]), undated, event("first", FIRST))
    following = follow()
    wait_until(lambda: len(following.seen) >= 5)
    put(event("d"), event("e", NOW - MONTH / 31), event("last", LAST))
    wait_until(lambda: len(following.seen) >= 8)
    time.sleep(0.3)
    assert Counter(following.seen) == Counter(["a", "b", "c", "d", "e", "undated", "first", "last"])
    assert following.messages() == []


def test_events_before_since_are_skipped(put: Put, follow: Any) -> None:
    """In every database; old databases are not read from the beginning."""
    early = [event("early"), event("long ago", OLD[0]), event("first", FIRST)]
    for one in early:
        one.received_at = NOW - MONTH
    put(*early, event("a"), event("too late", OLD[1]), event("last before", OLD[2]))
    following = follow(since=NOW)
    # The last database may hold fallback events.
    wait_until(lambda: len(following.seen) >= 2)
    put(event("late", OLD[1]), event("also first", FIRST))
    wait_until(lambda: len(following.seen) >= 4)
    time.sleep(0.3)
    assert sorted(following.seen, key=str) == ["a", "also first", "last before", "late"]
    assert following.messages() == []


@pytest.mark.parametrize("count", [BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 50])
def test_more_than_one_batch_is_processed(count: int, put: Put, follow: Any) -> None:
    put(*(event(f"e{index}") for index in range(count)))
    following = follow()
    wait_until(lambda: len(following.seen) >= count)
    time.sleep(0.1)
    assert Counter(following.seen) == Counter(f"e{index}" for index in range(count))


def test_processed_body_is_the_signed_body(put: Put, follow: Any) -> None:
    some = [event("a"), event("b", value=-4)]
    # One of those that Cloudant could not hold as text.
    some.append(parse_stored(event("c").body.replace(b"rom 3", "\ufffe".encode()), NOW))
    put(*some)
    found: list[bytes] = []
    following = follow(process=lambda each: found.append(each.body))
    wait_until(lambda: len(following.seen) >= 3)
    assert sorted(found) == sorted(each.body for each in some)


def test_new_database_is_followed_while_running(put: Put, follow: Any, events: Events) -> None:
    following = follow()
    time.sleep(0.2)
    assert events.databases() == []
    put(event("first"))
    wait_until(lambda: following.seen == ["first"])


def test_documents_that_are_not_events_are_skipped(
    put: Put, follow: Any, events: Events, environ: dict[str, str]
) -> None:
    """A view, a note, a document with an event's key and no body, and one with an invalid time."""
    put(event("a"))
    service = build_service(Environment(environ))
    [database] = events.databases()
    for name, document in {
        "_design/views": {"views": {}},
        "-:note": {"text": "mine"},
        "-:bare": {"key": "k"},
        "-:odd\x9b2J": {"key": {}, "body": "{}", "receivedAt": "12000-01-01T00:00:00Z"},
    }.items():
        path = f"/{database}/{quote(name)}"
        assert service.call("PUT", path, time.monotonic() + DEADLINE, document)[0] == 201
    put(event("b"))
    following = follow()
    wait_until(lambda: len(following.seen) >= 2)
    assert sorted(following.seen) == ["a", "b"]
    assert sorted(following.messages()) == [
        f"The document -:{name} is not written by the receiver, and is skipped."
        for name in ("bare", "note", "odd\x9b2J")
    ]
    assert "\x9b" not in following.log.getvalue()


@each_table
def test_unparsable_bodies_are_processed(cases: dict[str, bytes], put: Put, follow: Any) -> None:
    put(*(parse_stored(each, datetime.now(UTC), "hs256:1") for each in cases.values()))
    found: list[Event] = []
    following = follow(process=found.append)
    wait_until(lambda: len(found) >= len(cases))
    assert sorted(each.body for each in found) == sorted(cases.values())
    assert {each.signed_by for each in found} == {"hs256:1"}
    assert following.messages() == []


def test_checkpoint_is_stored_under_the_worker_name(put: Put, follow: Any) -> None:
    """Each of two names sees every event; the same name sees none twice."""
    put(event("a"), event("b"))

    def seen(name: str, count: int) -> list[str | None]:
        following: Following = follow(name=name)
        wait_until(lambda: len(following.seen) >= count)
        time.sleep(0.1)
        following.stop()
        return sorted(following.seen, key=str)

    names = ("a", "a/b", "a?b", "a?ü %")
    assert [seen(name, 2) for name in names] == [["a", "b"]] * 4
    put(event("c"))
    assert [seen(name, 1) for name in names] == [["c"]] * 4


def test_checkpoint_of_the_former_consumer_is_continued(
    put: Put, follow: Any, events: Events, environ: dict[str, str]
) -> None:
    """It stored only ``since``, and the name percent-encoded in the path."""
    put(event("a"), event("b"))
    service = build_service(Environment(environ))
    [database] = events.databases()

    def call(method: str, path: str, document: object = None) -> Any:
        return service.call(method, f"/{database}/{path}", time.monotonic() + DEADLINE, document)[1]

    place = call("GET", "_changes")["last_seq"]
    checkpoint = f"_local/consumer-{quote('a/b ü', safe='')}"
    assert call("PUT", checkpoint, {"since": place})["ok"]
    put(event("c"))
    following = follow(name="a/b ü")
    wait_until(lambda: following.seen)
    time.sleep(0.1)
    assert following.seen == ["c"]
    wait_until(lambda: call("GET", checkpoint)["since"] != place)


def test_shutdown_waits_for_one_batch_at_most(put: Put, follow: Any) -> None:
    put(*(event(f"e{index}") for index in range(BATCH + 5)))
    begun = threading.Event()
    following = follow(process=lambda _: begun.set())
    assert begun.wait(30)
    following.stop()
    assert len(following.seen) == BATCH


def test_shutdown_finishes_the_current_batch(put: Put, follow: Any) -> None:
    put(*(event(f"e{index}", NOW - (index % 2) * 2 * MONTH) for index in range(10)))
    begun = threading.Event()

    def slow(_: Event) -> None:
        begun.set()
        time.sleep(0.05)

    following = follow(since=NOW - 2 * MONTH, process=slow)
    assert begun.wait(30)
    following.stop()
    assert sorted(following.seen) == [f"e{index}" for index in (1, 3, 5, 7, 9)]
    # And it goes on with the other.
    other = follow(since=NOW - 2 * MONTH)
    wait_until(lambda: len(other.seen) >= 5)
    time.sleep(0.1)
    assert sorted(other.seen) == [f"e{index}" for index in (0, 2, 4, 6, 8)]
