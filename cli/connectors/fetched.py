"""Events of DT's event history, as a Data Connector would have sent them, and marked as fetched."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cli.connectors.values import Connector, device_id
from core.event import FETCHED, Event, parse_stored
from dt_cloud.events import delivery_body, metadata


def fetched(raw: Mapping[str, Any], device: Mapping[str, Any], connector: Connector, now: datetime) -> Event:
    """Return an event of the history.

    The history has no labels and no metadata: they are the device's of today, those that the connector sends.

    Args:
        raw: DT's document of the event.
        device: DT's document of the device.
        connector: The connector that would have sent it.
        now: The time of fetching, in UTC.
    """
    there = device.get("labels") or {}
    labels = {name: there[name] for name in connector.labels if name in there}
    product = str(device.get("productNumber") or "")
    about = metadata(connector.project_id, device_id(device), str(device.get("type") or ""), product)
    return parse_stored(delivery_body(dict(raw), labels, about), now, FETCHED)
