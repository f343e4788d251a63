"""Each fault on request: it happens the requested number of times, and the ledger balances afterwards."""

import json
from collections import Counter

import jwt
import pytest

from dt_cloud.faults import ALL, COUNTED
from tests.support.dt_cloud import CONNECTORS, DEVICES, DtCloud, Loopback, Refused, until

SECRET = "s" * 32


def ids(receiver: Loopback) -> Counter[str]:
    """Return how often each event arrived."""
    return Counter(json.loads(call.body)["event"]["eventId"] for call in receiver.calls)


@pytest.fixture
def sensor(cloud: DtCloud, receiver: Loopback) -> str:
    """A sensor whose events a connector sends."""
    cloud.connector(receiver.url, httpConfig={"signatureSecret": SECRET})
    return cloud.sensor()


def fault(cloud: DtCloud, name: str, count: int = 1) -> None:
    """Request a fault."""
    assert cloud.desk("POST", f"/faults/{name}", {"count": count})["command"].startswith(
        f".venv/bin/dtconn cloud fault {name} --count {count}"
    )


def test_an_answer_is_lost(cloud: DtCloud, receiver: Loopback, sensor: str) -> None:
    fault(cloud, "lose-answer")
    cloud.publish(sensor)
    (attempt,) = cloud.attempts(cloud.deliveries()[0]["id"], 1)
    assert (attempt["status"], attempt["note"]) == (None, "answer lost, fault: lose-answer")
    cloud.clock(jump=8)
    until(lambda: cloud.books() == (1, 1, 0, 0, 0))
    assert list(ids(receiver).values()) == [2]


def test_delivered_twice_at_once(cloud: DtCloud, receiver: Loopback, sensor: str) -> None:
    fault(cloud, "deliver-twice")
    for _ in range(2):
        cloud.publish(sensor)
    until(lambda: cloud.books() == (2, 2, 0, 0, 0))
    assert sorted(ids(receiver).values()) == [1, 2]


def test_out_of_order(cloud: DtCloud, receiver: Loopback, sensor: str) -> None:
    fault(cloud, "out-of-order")
    for value in (1, 2):
        cloud.publish(sensor, temperature={"value": value})
    until(lambda: receiver.calls)
    cloud.clock(jump=60)
    until(lambda: cloud.books() == (2, 2, 0, 0, 0))
    assert [json.loads(call.body)["event"]["data"]["temperature"]["value"] for call in receiver.calls] == [2, 1]


def test_slow(cloud: DtCloud, sensor: str) -> None:
    fault(cloud, "slow")
    cloud.publish(sensor)
    (attempt,) = cloud.attempts(cloud.deliveries()[0]["id"], 1)
    assert 3 <= attempt["seconds"] < 5


def test_wrong_secret(cloud: DtCloud, receiver: Loopback, sensor: str) -> None:
    fault(cloud, "wrong-secret")
    cloud.publish(sensor)
    until(lambda: receiver.calls)
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(receiver.calls[0].headers["x-dt-signature"], SECRET, ["HS256"])
    assert "dt-asymmetric-signature" not in receiver.calls[0].headers


def test_expired_token(cloud: DtCloud, receiver: Loopback, sensor: str) -> None:
    fault(cloud, "expired-token")
    cloud.publish(sensor)
    until(lambda: receiver.calls)
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(receiver.calls[0].headers["x-dt-signature"], SECRET, ["HS256"])


def test_unknown_type(cloud: DtCloud, receiver: Loopback, sensor: str) -> None:
    fault(cloud, "unknown-type")
    cloud.publish(sensor)
    until(lambda: receiver.calls)
    assert json.loads(receiver.calls[0].body)["event"]["eventType"] == "airQuality"
    assert cloud.call("GET", f"{DEVICES}/{sensor}")["reported"]["touch"] is None


def test_a_new_connector_is_404(cloud: DtCloud, receiver: Loopback) -> None:
    fault(cloud, "not-found")
    made = [
        cloud.call("POST", CONNECTORS, {"type": "HTTP_PUSH", "httpConfig": {"url": receiver.url}}) for _ in range(2)
    ]
    assert [cloud.send("GET", f"/{each['name']}")[0] for each in made] == [404, 200]


def test_429(cloud: DtCloud) -> None:
    fault(cloud, "too-many-requests")
    answers = [cloud.send("GET", "/roles") for _ in range(2)]
    assert [status for status, _, _ in answers] == [429, 200]
    assert answers[0][2]["retry-after"] == "1"


def test_two_connectors_on_one_url(cloud: DtCloud, receiver: Loopback, sensor: str) -> None:
    fault(cloud, "two-connectors")
    cloud.publish(sensor)
    until(lambda: cloud.books() == (2, 2, 0, 0, 0))
    assert list(ids(receiver).values()) == [2]


def test_a_backfill_comes_newest_first(cloud: DtCloud, receiver: Loopback, sensor: str) -> None:
    cloud.publish(sensor, temperature={"value": 30})
    fault(cloud, "backfill")
    until(lambda: cloud.books() == (101, 101, 0, 0, 0))
    found = [json.loads(call.body)["event"] for call in receiver.calls]
    late = [event["timestamp"] for event in found if event["data"]["temperature"]["isBackfilled"]]
    assert len(set(late)) == 100
    rows = reversed(cloud.desk("GET", f"/deliveries?device={sensor}")["deliveries"])
    times = {event["eventId"]: event["timestamp"] for event in found}
    published = [times[each["eventId"]] for each in rows]
    assert published == sorted(published, reverse=True)
    assert cloud.call("GET", f"{DEVICES}/{sensor}")["reported"]["temperature"]["value"] == 30


def test_impossible_faults_are_refused(cloud: DtCloud) -> None:
    for name, body, status in (
        ("nothing", {}, 404),
        ("slow", {"count": -1}, 400),
        ("slow", {"count": "many"}, 400),
        ("two-connectors", {}, 400),
        ("backfill", {}, 400),
    ):
        with pytest.raises(Refused) as refused:
            cloud.desk("POST", f"/faults/{name}", body)
        assert refused.value.status == status


def test_fault_can_be_turned_off(cloud: DtCloud, receiver: Loopback, sensor: str) -> None:
    for name in COUNTED:
        fault(cloud, name, 5)
        fault(cloud, name, 0)
    cloud.publish(sensor)
    until(lambda: cloud.books() == (1, 1, 0, 0, 0))
    assert set(COUNTED) < set(ALL)
    assert len(receiver.calls) == 1
