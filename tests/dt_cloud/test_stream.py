"""The event stream on the wire: one document per line, or server-sent events, and pings under any load."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.dt_cloud import DEVICES, FIRST_PROJECT, DtCloud
from tests.support.processes import Answer


@contextmanager
def stream(cloud: DtCloud, query: str, accept: str = "") -> Iterator[http.client.HTTPResponse]:
    """Yield an open stream."""
    connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=10)
    account = cloud.accounts["project.user"]
    grant = cloud.basic(account)
    connection.request("GET", f"/v2{DEVICES}:stream?{query}", headers={"Authorization": grant, "Accept": accept})
    try:
        yield connection.getresponse()
    finally:
        connection.close()


def test_one_document_per_line_and_pings_under_load(shared: DtCloud) -> None:
    busy, quiet = shared.sensor(), shared.sensor()
    done = threading.Event()

    def publish() -> None:
        while not done.wait(0.02):
            shared.publish(busy)

    thread = threading.Thread(target=publish)
    with stream(shared, f"device_ids={quiet}&ping_interval=0.3s") as response:
        thread.start()
        lines = [response.readline() for _ in range(2)]
        shared.publish(quiet, temperature={"value": 1})
        lines.append(response.readline())
        done.set()
        thread.join()
    assert all(line.endswith(b"}\n") for line in lines)
    *pings, event = [json.loads(line)["result"]["event"] for line in lines]
    for ping in pings:
        assert (ping["eventType"], ping["data"], ping["targetName"]) == ("ping", None, f"projects/{FIRST_PROJECT}")
    assert event["targetName"].endswith(quiet)


def test_server_sent_events_on_request(shared: DtCloud) -> None:
    with stream(shared, "pingInterval=0.1s", "text/event-stream") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        line, blank = response.readline(), response.readline()
    assert json.loads(line.removeprefix(b"data: "))["result"]["event"]["eventType"] == "ping"
    assert blank == b"\n"


def test_errors_are_one_line_in_the_clients_form(shared: DtCloud) -> None:
    answer: Answer = shared.request("GET", f"/v2{DEVICES}:stream")
    assert answer.status == 401
    assert set(json.loads(answer.body)) == {"error"}
    assert b"\n" not in answer.body
