"""published = delivered + waiting + expired + dropped, at any moment."""

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dt_cloud.faults import DELIVER_TWICE, LOSE_ANSWER, OUT_OF_ORDER, UNKNOWN_TYPE, WRONG_SECRET
from tests.support.dt_cloud import Call, DtCloud, Loopback, Reply, until
from tests.support.loopback import DROPPED


@pytest.mark.parametrize("seed", [1, 2])
def test_ledger_balances_at_any_moment(cloud: DtCloud, receiver: Loopback, seed: int) -> None:
    chance = random.Random(seed)
    answers, is_well = random.Random(seed + 100), threading.Event()

    def answer(_: Call) -> Reply | None:
        return Reply(200) if is_well.is_set() else answers.choices([Reply(200), Reply(503), DROPPED], [6, 3, 1])[0]

    receiver.answering = answer
    sensors = [cloud.sensor(), cloud.sensor()]
    connectors = [cloud.connector(receiver.url, events=types) for types in ([], ["touch"], ["temperature"])]
    looked = _looking(cloud)

    def publish() -> None:
        sensor = chance.choice(sensors)
        events: list[dict[str, Any]] = [{"touch": {}}, {"temperature": {"value": chance.random()}}]
        cloud.publish(sensor, **chance.choice(events))

    def disable() -> None:
        status = chance.choice(["USER_DISABLED", "ACTIVE", "ACTIVE"])
        cloud.desk("PATCH", f"/connectors/{chance.choice(connectors)}", {"status": status})

    def replace() -> None:
        cloud.desk("DELETE", f"/connectors/{connectors.pop(0)}")
        connectors.append(cloud.connector(receiver.url))

    def fail() -> None:
        name = chance.choice([LOSE_ANSWER, DELIVER_TWICE, OUT_OF_ORDER, WRONG_SECRET, UNKNOWN_TYPE])
        cloud.desk("POST", f"/faults/{name}", {"count": chance.randrange(3)})

    def jump() -> None:
        cloud.clock(jump=chance.choice([8, 600, 7200, 50_000]))

    deeds: list[Callable[[], None]] = [publish, disable, replace, fail, jump]
    for deed in chance.choices(deeds, [30, 3, 1, 3, 4], k=300):
        deed()
    is_well.set()
    assert looked() > 20
    cloud.drain()
    before = cloud.ledger()
    assert before["published"] > 100
    assert all(before[name] for name in ("delivered", "expired", "dropped", "filtered")), before
    assert {name: sum(types.values()) for name, types in before["lostByType"].items()} == {
        name: before[name] for name in ("expired", "dropped")
    }
    # It survives restarts and deleted connectors.
    assert cloud.stop() == 0
    cloud.start()
    assert cloud.ledger() == before
    for connector in connectors:
        cloud.desk("DELETE", f"/connectors/{connector}")
    after = cloud.ledger()
    books = after["connectors"].values()
    assert all(each["isDeleted"] for each in books)
    assert before == {
        **after,
        "connectors": {
            number: {**each, "isDeleted": number not in connectors} for number, each in after["connectors"].items()
        },
    }
    # Replaced ones included, so that the sum is the total.
    for name in ("published", "delivered", "expired", "dropped", "filtered"):
        assert sum(each[name] for each in books) == after[name]


def _looking(cloud: DtCloud) -> Callable[[], int]:
    """Check the ledger until stopped; return a function that stops and returns the number of checks."""
    done, seen = threading.Event(), []

    def look() -> None:
        while not done.is_set():
            seen.append(cloud.books())

    thread = threading.Thread(target=look)
    thread.start()

    def stop() -> int:
        done.set()
        thread.join()
        # The first imbalance ended the thread.
        cloud.books()
        return len(seen)

    return stop


def test_ledger_per_connector(cloud: DtCloud, receiver: Loopback) -> None:
    first, second = cloud.connector(receiver.url), cloud.connector(receiver.url, events=["touch"])
    sensor = cloud.sensor()
    cloud.publish(sensor)
    cloud.publish(sensor, temperature={"value": 1})
    until(lambda: cloud.books() == (3, 3, 0, 0, 0))
    assert cloud.books(first) == (2, 2, 0, 0, 0)
    assert cloud.books(second) == (1, 1, 0, 0, 0)
