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
    """The time without deliveries.

    Attributes:
        since: When the newest event arrived that is stored.
        until: When the connector was enabled.
    """

    since: datetime
    until: datetime

    @property
    def window(self) -> tuple[str, str]:
        """Its begin and its end, in whole seconds."""
        return f"{rfc3339(self.since)[:19]}Z", f"{rfc3339(self.until + timedelta(seconds=1))[:19]}Z"

    def command(self, connector: Connector) -> str:
        """Return the command that fetches what was missed."""
        since, until = self.window
        return (
            f"dtconn backfill {connector.connector_id} --project {connector.project_id} --since {since} --until {until}"
        )

    def __str__(self) -> str:
        return f"{age((self.until - self.since).total_seconds())} ago, at {rfc3339(self.since)[:19]}Z"


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
        return Gap(since=arrived, until=datetime.now(UTC))
    return found.fault or "no event of the project is among the newest ones"
