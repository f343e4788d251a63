"""The statements that SQLite and Postgres share."""

from collections.abc import Callable, Collection
from typing import Any

from core.event import rfc3339
from readers.query import Query

# As in the index events_by_time, so that the newest events are read from its end.
TIME = "coalesce(timestamp, received_at)"
COLUMNS = ("key", "body", "received_at", "signed_by")


def select(there: Collection[str], *more: str) -> str:
    """Return the beginning of a statement that reads `COLUMNS`, of which an old database has fewer.

    Args:
        there: The columns of the table.
        more: More columns, before the others.
    """
    names = [name if name in there else f"NULL AS {name}" for name in COLUMNS]
    return f"SELECT {', '.join([*more, *names])} FROM events"  # noqa: S608 - constants


def newest(query: Query, there: Collection[str], placeholder: Callable[[int], str]) -> tuple[str, list[Any]]:
    """Return the statement of a query, and its arguments.

    Args:
        query: Its labels, and then its limit, are left to the reader.
        there: As in `select`.
        placeholder: Writes the n-th parameter, counting from 1.
    """
    conditions, arguments = [], list[Any]()

    def parameter(value: str | int) -> str:
        arguments.append(value)
        return placeholder(len(arguments))

    if query.device_id is not None:
        conditions.append(f"device_id = {parameter(query.device_id)}")
    if query.event_types:
        conditions.append(f"event_type IN ({', '.join(parameter(name) for name in query.event_types)})")
    if query.since is not None:
        conditions.append(f"{TIME} >= {parameter(rfc3339(query.since))}")
    if query.until is not None:
        conditions.append(f"{TIME} < {parameter(rfc3339(query.until))}")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = f"{select(there)}{where} ORDER BY {TIME} DESC, key"
    if query.limit and not query.labels:
        statement += f" LIMIT {parameter(query.limit)}"
    return statement, arguments
