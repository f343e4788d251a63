"""Deliveries as in DT's documents; times are on the cloud's clock, which is paused between attempts."""

import json
import time
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from tests.support.dt_cloud import (
    CONNECTORS,
    DEVICES,
    FIRST_PROJECT,
    DtCloud,
    Loopback,
    Refused,
    always,
    down,
    ok,
    until,
)
from tests.support.loopback import DROPPED, SILENT

HOUR, DAY = 3600.0, 86_400.0


def events(receiver: Loopback) -> list[dict[str, Any]]:
    """Return the received bodies."""
    return [json.loads(call.body) for call in receiver.calls]


def starts(attempts: list[dict[str, Any]]) -> list[int]:
    """Return the start times of attempts, in seconds after the first."""
    times = [datetime.fromisoformat(each["started"]) for each in attempts]
    return [round((each - times[0]).total_seconds()) for each in times]


def settled(cloud: DtCloud, least: int = 1) -> None:
    """Wait until this many events were published and none is waiting."""
    until(lambda: cloud.books()[0] >= least and not cloud.books()[2])


def test_one_post_per_event_and_active_connector(cloud: DtCloud, receiver: Loopback) -> None:
    sensor = cloud.sensor(name="Kjølerom 1", floor="2")
    config = {"httpConfig": {"headers": {"X-Key": "value"}}}
    cloud.connector(f"{receiver.url}/all", labels=["name", "floor", "none"], **config)
    cloud.connector(f"{receiver.url}/touch", events=["touch"])
    off = cloud.connector(f"{receiver.url}/off", status="USER_DISABLED")
    cloud.publish(sensor, touch={})
    cloud.publish(sensor, temperature={"value": 27})
    until(lambda: len(receiver.calls) == 3)
    settled(cloud)
    by_path = sorted((call.path, json.loads(call.body)["event"]["eventType"]) for call in receiver.calls)
    assert by_path == [("/all", "temperature"), ("/all", "touch"), ("/touch", "touch")]
    of_all = [call for call in receiver.calls if call.path == "/all"]
    assert {call.headers["x-key"] for call in of_all} == {"value"}
    assert {call.headers["content-type"] for call in of_all} == {"application/json"}
    body = json.loads(of_all[0].body)
    assert body["labels"] == {"name": "Kjølerom 1", "floor": "2"}
    assert body["metadata"] == {
        "deviceId": sensor, "projectId": FIRST_PROJECT, "deviceType": "temperature", "productNumber": "",
    }  # fmt: skip
    assert next(each for each in events(receiver) if each["labels"] == {})["event"]["eventType"] == "touch"
    # Events for a disabled connector are counted as dropped; filtered events are not.
    assert cloud.books(off) == (2, 0, 0, 0, 2)
    assert cloud.ledger()["filtered"] == 1


def test_label_change_publishes_an_event(cloud: DtCloud, receiver: Loopback) -> None:
    sensor = cloud.sensor(name="old")
    cloud.connector(receiver.url, labels=["name"])
    cloud.call("POST", f"{DEVICES}:batchUpdate", {"devices": [f"projects/{FIRST_PROJECT}/devices/{sensor}"],
                                                  "addLabels": {"name": "new"}, "removeLabels": ["none"]})  # fmt: skip
    until(lambda: receiver.calls)
    (body,) = events(receiver)
    assert body["event"]["data"] == {"added": {}, "modified": {"name": "new"}, "removed": []}
    assert body["labels"] == {"name": "new"}
    assert cloud.call("GET", f"{DEVICES}/{sensor}/events")["events"] == []


def test_a_backfilled_reading_has_its_own_time(cloud: DtCloud, receiver: Loopback) -> None:
    sensor = cloud.sensor()
    cloud.connector(receiver.url)
    cloud.publish(sensor, temperature={"value": 2})
    old = {"value": 1, "updateTime": "2026-01-01T00:00:00.000000Z", "isBackfilled": True}
    cloud.publish(sensor, temperature=old)
    until(lambda: len(receiver.calls) == 2)
    late = next(each["event"] for each in events(receiver) if each["event"]["data"]["temperature"]["isBackfilled"])
    assert late["timestamp"] == late["data"]["temperature"]["updateTime"] == old["updateTime"]
    assert cloud.call("GET", f"{DEVICES}/{sensor}")["reported"]["temperature"]["value"] == 2


BACKOFF = [0, 8, 24, 56, 120, 248, 504, 1016, 2040, 4088, *(4088 + 3600 * n for n in range(1, 11))]


def test_retry_delays_within_the_12_hours(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = down
    connector = cloud.connector(receiver.url)
    cloud.clock(isPaused=True)
    cloud.publish(cloud.sensor())
    (delivery,) = cloud.deliveries()
    assert starts(cloud.stepped(delivery["id"], len(BACKOFF))) == BACKOFF
    assert cloud.books(connector) == (1, 0, 1, 0, 0)
    cloud.clock(step=True)
    assert cloud.books(connector) == (1, 0, 0, 1, 0)
    assert cloud.ledger(connector)["lostByType"] == {"expired": {"touch": 1}}
    assert len(cloud.attempts(delivery["id"])) == len(BACKOFF)


def test_event_expires_before_its_next_attempt(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = down
    cloud.connector(receiver.url)
    cloud.publish(cloud.sensor())
    until(lambda: receiver.calls and cloud.deliveries()[0]["attempts"])
    cloud.clock(isPaused=True)
    cloud.clock(jump=12 * HOUR)
    assert cloud.books() == (1, 0, 0, 1, 0)
    assert len(receiver.calls) == 1


def test_delay_is_at_least_four_times_the_response_time(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = always(500, 2.5)
    cloud.connector(receiver.url)
    cloud.clock(isPaused=True)
    cloud.publish(cloud.sensor())
    (delivery,) = cloud.deliveries()
    first, second = cloud.stepped(delivery["id"], 2)
    assert 9.9 <= starts([first, second])[1] <= 12
    assert first["status"] == 500


@pytest.mark.long
def test_no_answer_in_10_s_is_a_failure(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = lambda _: SILENT
    cloud.connector(receiver.url)
    cloud.publish(cloud.sensor())
    (delivery,) = cloud.deliveries()
    (attempt,) = cloud.attempts(delivery["id"], 1)
    assert (attempt["status"], attempt["note"]) == (None, "no answer in 10 s")
    assert 9.9 <= attempt["seconds"] < 11


@pytest.mark.parametrize("status", [200, 201, 204, 299, 301, 302, 400, 401, 404, 410, 429, 500, 503])
def test_which_answers_acknowledge(shared: DtCloud, receiver: Loopback, status: int) -> None:
    receiver.answering = always(status)
    connector = shared.connector(receiver.url)
    shared.desk("POST", f"/devices/{_sensor(shared)}:publish", {"touch": {}})
    until(lambda: receiver.calls)
    until(lambda: shared.deliveries(connector=connector)[0]["attempts"])
    assert shared.deliveries(connector=connector)[0]["state"] == ("delivered" if status < 300 else "waiting")
    assert len(receiver.calls) == 1
    shared.desk("DELETE", f"/connectors/{connector}")


def _sensor(cloud: DtCloud) -> str:
    """Return a sensor; the same for all tests that share the cloud."""
    if found := cloud.desk("GET", "/devices")["devices"]:
        return str(found[0]["id"])
    return cloud.sensor()


def test_broken_or_refused_connection_is_a_failure(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = lambda _: DROPPED
    cloud.connector(receiver.url)
    cloud.connector("http://127.0.0.1:9/")
    cloud.publish(cloud.sensor())
    for delivery in cloud.deliveries():
        (attempt,) = cloud.attempts(delivery["id"], 1)
        assert attempt["status"] is None
        assert attempt["note"] in ("ServerDisconnectedError", "ClientConnectorError")


def test_disabled_by_the_system_after_5_days_without_a_success(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = down
    connector, sensor = cloud.connector(receiver.url), cloud.sensor()
    path = f"{CONNECTORS}/{connector}"
    cloud.clock(isPaused=True)
    cloud.publish(sensor)
    cloud.attempts(cloud.deliveries()[0]["id"], 1)
    cloud.clock(jump=5 * DAY - HOUR)
    for _ in range(3):
        cloud.publish(sensor, temperature={"value": 1})
    for delivery in cloud.deliveries()[1:]:
        cloud.attempts(delivery["id"], 1)
    assert cloud.call("GET", path)["status"] == "ACTIVE"
    assert cloud.books(connector) == (4, 0, 3, 1, 0)
    cloud.clock(jump=HOUR)
    until(lambda: cloud.call("GET", path)["status"] == "SYSTEM_DISABLED")
    settled(cloud)
    cloud.publish(sensor)
    assert cloud.books(connector) == (5, 0, 0, 1, 4)
    assert cloud.ledger()["lostByType"] == {"expired": {"touch": 1}, "dropped": {"temperature": 3, "touch": 1}}
    receiver.answering = ok
    assert cloud.call("PATCH", path, {"status": "ACTIVE"})["status"] == "ACTIVE"
    cloud.publish(sensor)
    until(lambda: cloud.books(connector) == (6, 1, 0, 1, 4))


def test_success_restarts_the_5_days(cloud: DtCloud, receiver: Loopback) -> None:
    connector, sensor = cloud.connector(receiver.url), cloud.sensor()
    cloud.clock(isPaused=True)
    for status in (500, 200, 500):
        receiver.answering = always(status)
        cloud.publish(sensor)
        cloud.attempts(cloud.deliveries()[-1]["id"], 1)
        cloud.clock(jump=3 * DAY)
    assert cloud.call("GET", f"{CONNECTORS}/{connector}")["status"] == "ACTIVE"


def test_the_queue_is_dropped_and_nothing_queues_while_disabled(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = down
    connector, sensor = cloud.connector(receiver.url), cloud.sensor()
    path = f"{CONNECTORS}/{connector}"
    cloud.publish(sensor)
    cloud.attempts(cloud.deliveries()[0]["id"], 1)
    cloud.call("PATCH", path, {"status": "USER_DISABLED"})
    cloud.publish(sensor, temperature={"value": 1})
    assert cloud.books(connector) == (2, 0, 0, 0, 2)
    assert cloud.ledger(connector)["lostByType"] == {"dropped": {"touch": 1, "temperature": 1}}
    with pytest.raises(Refused, match="not active"):
        cloud.call("POST", f"{path}:sync")
    with pytest.raises(Refused, match="not active"):
        cloud.desk("POST", f"/connectors/{connector}:sync")
    receiver.answering = ok
    cloud.call("PATCH", path, {"status": "ACTIVE"})
    assert len(receiver.calls) == 1


def test_attempt_in_progress_is_not_repeated_after_disabling(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = always(500, 1)
    connector = cloud.connector(receiver.url)
    cloud.publish(cloud.sensor())
    until(lambda: receiver.calls)
    for status in ("USER_DISABLED", "ACTIVE"):
        cloud.call("PATCH", f"{CONNECTORS}/{connector}", {"status": status})
    assert cloud.books(connector) == (1, 0, 1, 0, 0)
    until(lambda: cloud.books(connector) == (1, 0, 0, 0, 1))


def test_sync_sends_the_newest_of_each_type_with_the_same_event_id(cloud: DtCloud, receiver: Loopback) -> None:
    sensor = cloud.sensor()
    for value in range(3):
        cloud.publish(sensor, temperature={"value": value})
    cloud.publish(sensor, touch={})
    cloud.desk("POST", f"/devices/{sensor}:labels", {"add": {"a": "b"}})
    connector = cloud.connector(receiver.url)
    history = cloud.call("GET", f"{DEVICES}/{sensor}/events")["events"]
    for _ in range(2):
        assert cloud.call("POST", f"{CONNECTORS}/{connector}:sync") == {}
    until(lambda: len(receiver.calls) == 4)
    sent = [each["event"] for each in events(receiver)]
    assert all(event in history for event in sent)
    assert {event["eventId"] for event in sent} == {event["eventId"] for event in history[:2]}
    assert {event["data"].get("temperature", {}).get("value") for event in sent} == {2, None}
    settled(cloud)
    assert cloud.books(connector) == (4, 4, 0, 0, 0)


def test_metrics_are_of_the_last_3_hours(cloud: DtCloud, receiver: Loopback) -> None:
    connector, sensor = cloud.connector(receiver.url), cloud.sensor()
    cloud.clock(isPaused=True)
    for status in (200, 202, 500):
        receiver.answering = always(status)
        cloud.publish(sensor)
        cloud.attempts(cloud.deliveries()[-1]["id"], 1)

    def metrics() -> Any:
        return cloud.call("GET", f"{CONNECTORS}/{connector}:metrics")["metrics"]

    found = metrics()
    assert (found["successCount"], found["errorCount"]) == (2, 1)
    assert found["latency99p"].endswith("s")
    assert 0 < float(found["latency99p"][:-1]) < 5
    receiver.answering = down
    cloud.clock(jump=3 * HOUR - 120)
    cloud.attempts(cloud.deliveries()[-1]["id"], 2)
    assert (metrics()["successCount"], metrics()["errorCount"]) == (2, 2)
    cloud.clock(jump=180)
    cloud.attempts(cloud.deliveries()[-1]["id"], 3)
    assert (metrics()["successCount"], metrics()["errorCount"]) == (0, 2)


def test_speed_shortens_only_delays(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = down
    cloud.connector(receiver.url)
    cloud.clock(speed=100)
    cloud.publish(cloud.sensor())
    (delivery,) = cloud.deliveries()
    began = time.monotonic()
    attempts = cloud.attempts(delivery["id"], 6)
    assert 2.48 <= time.monotonic() - began < 10
    waits = [after - before for before, after in pairwise(starts(attempts))]
    # 120 s are 1.2 s here, for a busy machine.
    assert all(8 * 2**n <= wait < 8 * 2**n + 120 for n, wait in enumerate(waits))


def test_retries_faster_than_commits_are_counted(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = down
    cloud.connector(receiver.url)
    cloud.clock(speed=10_000)
    cloud.publish(cloud.sensor())
    until(lambda: cloud.books() == (1, 0, 0, 1, 0))
    attempts = cloud.attempts(cloud.deliveries()[0]["id"])
    assert [each["number"] for each in attempts] == list(range(1, len(receiver.calls) + 1))
    assert 5 < len(attempts) <= len(BACKOFF)


def test_accepted_headers_and_urls_can_be_sent(cloud: DtCloud, receiver: Loopback) -> None:
    headers = {"X-Key": "\xe9\t!", "Content-Type": "text/x", "user-agent": "mine", "Accept-Encoding": "identity"}
    cloud.connector(f"{receiver.url}/%zz/ø?a=b c#d".replace(" ", ""), httpConfig={"headers": headers})
    for url in ("http://[::1]:9/", "https://127.0.0.1:9/", "HTTP://LOCALHOST:9/%"):
        cloud.connector(url, httpConfig={"signatureSecret": "Ø" * 3})
    cloud.publish(cloud.sensor())
    for delivery in cloud.deliveries():
        assert cloud.attempts(delivery["id"], 1)
    (call,) = receiver.calls
    assert call.path.startswith("/%25zz/%C3%B8?a=b") or call.path.startswith("/%zz/%C3%B8?a=b")
    assert (call.headers["content-type"], call.headers["user-agent"]) == ("text/x", "mine")
    assert call.headers["x-key"].encode("latin-1").decode() == "\xe9\t!"
