"""The frames that the page follows: what never changes comes once for each connection."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dt_cloud.faults import ALL
from dt_cloud.scenarios import SCENARIOS
from tests.support.dt_cloud import PROJECTS, DtCloud

CONSTANTS = {"allFaults", "scenarios", "projects"}


@contextmanager
def frames(cloud: DtCloud) -> Iterator[Iterator[dict[str, Any]]]:
    """Give the frames of a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=10)
    connection.request("GET", "/desk/frames")
    response = connection.getresponse()

    def read() -> Iterator[dict[str, Any]]:
        while line := response.readline():
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))

    try:
        yield read()
    finally:
        response.close()
        connection.close()


def test_what_never_changes_is_in_the_first_frame_of_each_connection(shared: DtCloud) -> None:
    sensor = shared.sensor()
    for _ in range(2):
        with frames(shared) as coming:
            first, *rest = (next(coming) for _ in range(3))
        assert first["allFaults"] == ALL
        assert [each["name"] for each in first["scenarios"]] == list(SCENARIOS)
        assert first["projects"] == PROJECTS
        assert sensor in {each["id"] for each in first["devices"]}
        for frame in rest:
            assert not CONSTANTS & frame.keys()
            assert first.keys() - CONSTANTS == frame.keys()


def test_a_single_frame_has_everything(shared: DtCloud) -> None:
    assert shared.desk("GET", "/frame").keys() >= CONSTANTS
