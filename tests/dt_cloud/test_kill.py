"""Killed by kill -9 under load, again and again: what the API accepted is never lost."""

import http.client
import json
import random
import signal
import threading
import time
from collections import Counter

import pytest

from tests.support.dt_cloud import DEVICES, Call, DtCloud, Loopback, Reply, ok, until
from tests.support.loopback import SILENT

pytestmark = pytest.mark.long

KILLS = 20
# Each account has a separate request limit.
PUBLISHERS = ("project.developer", "project.admin", "organization.admin")


def test_killed_20_times_it_loses_nothing(cloud: DtCloud, receiver: Loopback) -> None:
    chance = random.Random(20)
    receiver.answering = _mostly
    kept = cloud.connector(receiver.url)
    dropping = cloud.connector("http://127.0.0.1:9/")
    sensor = cloud.sensor()
    cloud.clock(speed=100)
    accepted: list[int] = []
    for number in range(KILLS):
        threads = [_publisher(cloud, sensor, role, accepted) for role in PUBLISHERS]
        least = len(accepted) + 5
        while len(accepted) < least:
            time.sleep(0.01)
        if number % 3 == 0:
            for status in ("USER_DISABLED", "ACTIVE"):
                cloud.desk("PATCH", f"/connectors/{dropping}", {"status": status})
        time.sleep(chance.uniform(0, 0.1))
        cloud.stop(signal.SIGKILL)
        for thread in threads:
            thread.join()
        cloud.start()
        cloud.clock(speed=100)
        for connector in (kept, dropping):
            published, *_ = cloud.books(connector)
            # An event may be stored although its answer was lost: at most one per publisher.
            assert len(accepted) <= published <= len(accepted) + len(PUBLISHERS) * (number + 1)
    receiver.answering = ok
    cloud.drain(kept)
    published, delivered, *rest = cloud.books(kept)
    assert (delivered, rest) == (published, [0, 0, 0])
    came = Counter(json.loads(call.body)["event"]["data"]["temperature"]["value"] for call in receiver.calls)
    assert set(accepted) <= set(came)
    assert len(came) == published
    assert cloud.books(dropping)[4] > 0


def test_kill_during_an_attempt_to_a_disabled_connector(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = lambda _: SILENT
    connector, gone = cloud.connector(receiver.url), cloud.connector(receiver.url)
    cloud.publish(cloud.sensor())
    until(lambda: len(receiver.calls) == 2)
    cloud.desk("PATCH", f"/connectors/{connector}", {"status": "USER_DISABLED"})
    cloud.desk("DELETE", f"/connectors/{gone}")
    assert cloud.books() == (2, 0, 2, 0, 0)
    cloud.stop(signal.SIGKILL)
    cloud.start()
    until(lambda: cloud.books() == (2, 0, 0, 0, 2))


def _mostly(call: Call) -> Reply:
    return Reply(503 if call.began % 1 < 0.3 else 200)


def _publisher(cloud: DtCloud, sensor: str, role: str, accepted: list[int]) -> threading.Thread:
    """Publish through the API on a thread until the cloud is killed; ``accepted`` gets each accepted event's number."""

    def publish() -> None:
        while True:
            number = random.getrandbits(48)
            try:
                status, *_ = cloud.send("POST", f"{DEVICES}/{sensor}:publish", {"temperature": {"value": number}}, role)
            except (OSError, http.client.HTTPException):
                return
            if status == 200:
                accepted.append(number)
            else:
                assert status == 429
                time.sleep(0.02)

    thread = threading.Thread(target=publish)
    thread.start()
    return thread
