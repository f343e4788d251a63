"""Finds connectors by their URL, and those that a repeated request made twice."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from cli import CommandError
from cli.connectors.values import USER_DISABLED, Connector, Project, shown_url

_PORTS = {"http": 80, "https": 443}


def same_url(one: str, other: str) -> bool:
    """Return whether two URLs are the same endpoint: host in any case, default port, a path of ``/`` or none."""
    return _normal(one) == _normal(other)


def _normal(url: str) -> tuple[object, ...]:
    try:
        parts = urlsplit(url.strip())
        return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme), parts.path or "/", parts.query
    except ValueError:
        return (url,)


def at_url(connectors: Sequence[Connector], url: str) -> list[Connector]:
    """Return the connectors that send to a URL."""
    return [each for each in connectors if each.url and same_url(each.url, url)]


def twins(connectors: Sequence[Connector], kept: Connector) -> list[Connector]:
    """Return the copies of ``kept`` that are disabled and equal in everything but the id.

    DT's client sends a POST again that is not answered in time, and then there are two. No other connector is like
    this: equal in its secret too, and never switched on.
    """
    return [
        each
        for each in connectors
        if each.connector_id != kept.connector_id
        and each.status == USER_DISABLED
        and same_url(each.url, kept.url)
        and (each.name, each.secret, each.events, each.labels, each.headers)
        == (kept.name, kept.secret, kept.events, kept.labels, kept.headers)
    ]


def only_one(found: Sequence[Connector], url: str) -> Connector | None:
    """Return the connector of a URL; None if there is none.

    Raises:
        CommandError: There are several.
    """
    if len(found) > 1:
        names = " and ".join(each.shown for each in found)
        raise CommandError(
            f"{len(found)} connectors send to {shown_url(url)}, so each event arrives {len(found)} times: {names}. "
            f"Remove all but one: dtconn disconnect {found[-1].argument}",
        )
    return found[0] if found else None


def choose(connectors: Sequence[Connector], chosen: str | None, project: Project) -> Connector:
    """Return the connector with a URL, id or name; without one, the only connector.

    Raises:
        CommandError: None or several match.
    """
    found = list(connectors)
    if chosen:
        found = [each for each in connectors if chosen in (each.connector_id, each.name)] or at_url(connectors, chosen)
    if len(found) == 1:
        return found[0]
    if not found:
        what = shown_url(chosen) if chosen and "://" in chosen else chosen
        wanted = f'no connector "{what}"' if what else "no Data Connector"
        raise CommandError(
            f"{project.shown} has {wanted}. `dtconn status` lists them; `dtconn connect URL` makes one.", 4
        )
    names = ", ".join(each.shown for each in found)
    raise CommandError(f"{len(found)} connectors match: choose one by its id. {names}", 2)
