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


def located(source: str) -> str | None:
    """Return the store of ``--from``; None if that is the local default, and there is none."""
    path = find(Path(source)) if source == DATABASE else None
    return source if path is None else str(path) if path.exists() else None


def newest_events(source: str, yes: bool = False) -> Newest:
    """Look at a store's newest events; never raises.

    Args:
        source: As for the readers. The local default is left out if there is no such file.
        yes: Whether to read what costs money.
    """
    store, is_asked = located(source), source != DATABASE
    if store is None:
        return Newest(arrived={}, fault=NO_STORE)
    query, arrived = Query(limit=_LOOKED_AT), dict[str | None, datetime]()
    try:
        with open_reader(store) as reader:
            if reader.is_queue:
                return Newest(store=identity(store), arrived={}, fault="a queue has no history")
            cost = reader.cost(query)
            if cost and not yes:
                return Newest(store=identity(store), arrived={}, fault=f"{cost} Add --yes to look")
            for event in reader.events(query):
                # A fetched event was not delivered, whenever it was fetched.
                if not is_proof(event) and event.signed_by != FETCHED:
                    known = arrived.get(event.project_id)
                    arrived[event.project_id] = max(known or event.received_at, event.received_at)
    except ReaderError as error:
        return Newest(store=None, arrived={}, fault=str(error), is_asked=is_asked)
    return Newest(store=identity(store), arrived=arrived, is_asked=is_asked)
