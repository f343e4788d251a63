"""Compares a store with what DT Cloud knows of each device."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cli.connectors.newest import NO_STORE, located
from cli.connectors.values import Connector, device_id
from core.event import read_time
from readers import ReaderError
from readers.query import Query
from readers.sources import open_reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How much of DT Cloud's newest data a store has.

    Attributes:
        devices: How many devices have data that the connector sends.
        fresh: Of how many the store has all of it.
        late: The ids of the others.
        fault: Why the store cannot tell; None if it can.
    """

    devices: int
    fresh: int = 0
    late: Sequence[str] = ()
    fault: str | None = None

    @property
    def text(self) -> str:
        """The result, for a person."""
        if self.fault:
            return f"It is synchronized. What arrived is not known: {self.fault}."
        late = f" Not yet: {', '.join(self.late[:5])}{', ...' if len(self.late) > 5 else ''}" if self.late else ""
        return f"{self.fresh} of {self.devices} devices are fresh.{late}"


def freshness(devices: Sequence[dict[str, Any]], connector: Connector, source: str, yes: bool) -> Freshness:
    """Compare the newest data of each device with the newest events of the store.

    Args:
        devices: DT's documents.
        connector: Its filter says what to expect.
        source: The store.
        yes: Whether to read what costs money.
    """
    wanted = {device_id(device): times for device in devices if (times := _reported(device, connector))}
    store = located(source)
    if store is None:
        return Freshness(devices=len(wanted), fault=NO_STORE)
    try:
        with open_reader(store) as reader:
            if reader.is_queue:
                return Freshness(devices=len(wanted), fault="a queue has no history")
            cost = reader.latest_cost(Query())
            if cost and not yes:
                return Freshness(devices=len(wanted), fault=f"{cost} Add --yes to look")
            stored = {
                (event.device_id, event.event_type): _time(event.document["event"]["data"], event.event_type)
                for event in reader.latest(Query())
                if event.parsed and event.event_type != "ping"
            }
    except ReaderError as error:
        return Freshness(devices=len(wanted), fault=str(error))
    late = [
        device
        for device, times in wanted.items()
        if any((there := stored.get((device, kind))) is None or there < time for kind, time in times.items())
    ]
    return Freshness(devices=len(wanted), fresh=len(wanted) - len(late), late=late)


def _reported(device: dict[str, Any], connector: Connector) -> dict[str, datetime]:
    """Return when each event type was updated that the connector sends."""
    reported = device.get("reported") or {}
    times = {kind: _time(reported, kind) for kind in reported if connector.sends(kind)}
    return {kind: time for kind, time in times.items() if time}


def _time(data: Any, event_type: str | None) -> datetime | None:
    """Return the updateTime of an event type in an event's data, or in a device's ``reported``."""
    fields = data.get(event_type) if isinstance(data, dict) else None
    return read_time(fields.get("updateTime")) if isinstance(fields, dict) else None
