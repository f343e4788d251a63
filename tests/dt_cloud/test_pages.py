"""Lists in pages, while items are added and deleted."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.dt_cloud import CONNECTORS, DEVICES, DtCloud


def pages(cloud: DtCloud, path: str, key: str, between: Callable[[], object], **query: Any) -> list[Any]:
    """Return the items of all pages of two; after the first page, call ``between``."""
    found, token = [], ""
    while True:
        page = cloud.call("GET", path, pageSize=2, pageToken=token, **query)
        found += page[key]
        if not token:
            between()
        if not (token := page["nextPageToken"]):
            return found


def test_event_that_is_published_between_two_pages_repeats_none(cloud: DtCloud) -> None:
    sensor = cloud.sensor()
    for value in range(5):
        cloud.publish(sensor, temperature={"value": value})
    before = cloud.call("GET", f"{DEVICES}/{sensor}/events")["events"]
    for types in ([], ["temperature"]):
        found = pages(cloud, f"{DEVICES}/{sensor}/events", "events", lambda: cloud.publish(sensor), eventTypes=types)
        assert [each for each in found if "temperature" in each["data"]] == before


@pytest.mark.parametrize("deleted", [0, 1, 2])
def test_deletion_between_two_pages_hides_no_other(cloud: DtCloud, deleted: int) -> None:
    sensors = [cloud.sensor() for _ in range(5)]
    connectors = [cloud.connector("http://127.0.0.1:9/") for _ in range(5)]
    for path, key, names in ((DEVICES, "devices", sensors), (CONNECTORS, "dataConnectors", connectors)):
        gone = names[deleted]
        found = pages(cloud, path, key, lambda: cloud.call("DELETE", f"{path}/{gone}"))  # noqa: B023 - called at once
        shown = [each["name"].rpartition("/")[2] for each in found]
        assert shown == [name for name in names if name != gone or deleted < 2]
