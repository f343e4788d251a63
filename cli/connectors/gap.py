"""The gap that a disabled connector leaves, as far as the store tells it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cli.connectors.newest import newest_events
from cli.connectors.values import Connector
from cli.times import age
from core.event import rfc3339

# What was queued when a connector was disabled is dropped too, and DT queues for 12 hours.
QUEUED = timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The time without deliveries, which ends when the connector is enabled.

    Attributes:
        arrived: When the newest event arrived that is stored.
    """

    arrived: datetime

    @property
    def since(self) -> str:
        """Its beginning, in whole seconds."""
        return f"{rfc3339(self.arrived)[:19]}Z"

    def command(self, connector: Connector) -> str:
        """Return the command that fetches what was missed, until it is run: that is after the connector is enabled."""
        return f"dtconn backfill {connector.argument} --since {self.since}"

    def __str__(self) -> str:
        return f"{age((datetime.now(UTC) - self.arrived).total_seconds())} ago, at {self.since}"


def find_gap(source: str, connector: Connector, yes: bool) -> Gap | str:
    """Return the gap before now, or why it is not known.

    Args:
        source: The store.
        connector: One that was disabled.
        yes: Whether to read what costs money.
    """
    found = newest_events(source, yes)
    arrived = found.arrived.get(connector.project_id)
    if arrived:
        return Gap(arrived=arrived)
    return found.fault or "no event of the project is among the newest ones"
