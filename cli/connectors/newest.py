"""The newest event of a store: how far deliveries came."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cli.places import find
from cli.reading import DATABASE
from core.event import FETCHED, rfc3339
from readers import ReaderError
from readers.query import Query, is_proof
from readers.sources import identity, open_reader

# Newest events that are looked at for one of a project that is no proof.
_LOOKED_AT = 500
NO_STORE = "no store was looked at: name it with --from"


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """What a store has.

    Attributes:
        store: Its URL without anything secret; None if no store was looked at.
        arrived: When the newest event of each project arrived, by project id.
        fault: Why the store cannot tell; None if it can.
        is_asked: Whether the store was named, so that its fault matters.
    """

    store: str | None = None
    arrived: dict[str | None, datetime]
    fault: str | None = None
    is_asked: bool = False

    def document(self, now: datetime) -> dict[str, Any]:
        """Return it for a script."""
        return {
            "store": self.store,
            "fault": self.fault,
            "newest": {
                project: {"receivedAt": rfc3339(time), "ageSeconds": round((now - time).total_seconds())}
                for project, time in self.arrived.items()
                if project
            },
        }


def newest_events(source: str, yes: bool = False) -> Newest:
    """Look at a store's newest events; never raises.

    Args:
        source: As for the readers. The local default is left out if there is no such file.
        yes: Whether to read what costs money.
    """
    is_default = source == DATABASE
    path = find(Path(source)) if is_default else None
    if path and not path.exists():
        return Newest(arrived={}, fault=NO_STORE)
    query, arrived = Query(limit=_LOOKED_AT), dict[str | None, datetime]()
    try:
        with open_reader(str(path or source)) as reader:
            if reader.is_queue:
                return Newest(store=identity(source), arrived={}, fault="a queue has no history")
            cost = reader.cost(query)
            if cost and not yes:
                return Newest(store=identity(source), arrived={}, fault=f"{cost} Add --yes to look")
            for event in reader.events(query):
                # A fetched event was not delivered, whenever it was fetched.
                if not is_proof(event) and event.signed_by != FETCHED:
                    known = arrived.get(event.project_id)
                    arrived[event.project_id] = max(known or event.received_at, event.received_at)
    except ReaderError as error:
        return Newest(store=None, arrived={}, fault=str(error), is_asked=not is_default)
    return Newest(store=identity(str(path or source)), arrived=arrived, is_asked=not is_default)
