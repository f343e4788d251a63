"""What DT's API knows of projects and Data Connectors, with nothing secret in any ``repr``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from core.text import printable

ACTIVE = "ACTIVE"
USER_DISABLED = "USER_DISABLED"
SYSTEM_DISABLED = "SYSTEM_DISABLED"
HTTP_PUSH = "HTTP_PUSH"
# Connectors of a project.
MOST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project.

    Attributes:
        project_id: Its id.
        name: What DT Studio shows.
        organization_id: The id of its organization.
    """

    project_id: str
    name: str
    organization_id: str

    @property
    def shown(self) -> str:
        """Name and id, for a person."""
        return f"{printable(self.name)} ({self.project_id})" if self.name else self.project_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Connector:
    """A Data Connector.

    Attributes:
        project_id: The id of its project.
        connector_id: Its id.
        name: What DT Studio shows.
        kind: ``HTTP_PUSH``, or a queue of a cloud, which has no URL.
        status: `ACTIVE`, `USER_DISABLED` or `SYSTEM_DISABLED`.
        events: The event types that it sends; empty for all.
        labels: The labels that it sends.
        url: Where it sends to. A query may contain a function's key.
        secret: The signature secret; empty for none.
        headers: Headers that it sends.
    """

    project_id: str
    connector_id: str
    name: str
    kind: str
    status: str
    events: tuple[str, ...]
    labels: tuple[str, ...]
    url: str = field(repr=False)
    secret: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    @property
    def shown(self) -> str:
        """Name and id, for a person."""
        return f"{printable(self.name)} ({self.connector_id})" if self.name else self.connector_id

    @property
    def argument(self) -> str:
        """What names it in a command, also where the account sees several projects."""
        return f"{self.connector_id} --project {self.project_id}"

    def sends(self, event_type: str) -> bool:
        """Return whether the filter lets an event type through."""
        return not self.events or event_type in self.events


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """The attempts of the last three hours.

    Attributes:
        successes: How many were answered 2xx.
        errors: How many were not.
        p99: Seconds, of the fastest 99 %; None if DT's text is no number.
    """

    successes: int
    errors: int
    p99: float | None

    @property
    def is_failing(self) -> bool:
        """Whether every attempt failed."""
        return self.errors > 0 and self.successes == 0


def project_of(raw: Mapping[str, Any]) -> Project:
    """Return a project from DT's document."""
    return Project(
        project_id=str(raw["name"]).rpartition("/")[2],
        name=str(raw["displayName"]),
        organization_id=str(raw["organization"]).rpartition("/")[2],
    )


def connector_of(raw: Mapping[str, Any]) -> Connector:
    """Return a connector from DT's document."""
    _, project_id, _, connector_id = str(raw["name"]).split("/")
    config = raw.get("httpConfig") or {}
    return Connector(
        project_id=project_id,
        connector_id=connector_id,
        name=str(raw.get("displayName") or ""),
        kind=printable(str(raw["type"])),
        status=printable(str(raw["status"])),
        events=tuple(raw.get("events") or ()),
        labels=tuple(raw.get("labels") or ()),
        url=str(config.get("url", "")),
        secret=str(config.get("signatureSecret", "")),
        headers=dict(config.get("headers") or {}),
    )


def metrics_of(raw: Mapping[str, Any]) -> Metrics:
    """Return metrics from DT's document."""
    found = raw["metrics"]
    try:
        p99 = float(str(found["latency99p"]).rstrip("s"))
    except ValueError:
        p99 = None
    return Metrics(successes=int(found["successCount"]), errors=int(found["errorCount"]), p99=p99)


def device_id(device: Mapping[str, Any]) -> str:
    """Return the id in DT's document of a device."""
    return str(device["name"]).rpartition("/")[2]


def shown_url(url: str) -> str:
    """Return a URL without user, password, query and fragment, which may be secret."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an invalid URL"
    return printable(f"{parts.scheme}://{host}{parts.path}{'?...' if parts.query else ''}")
