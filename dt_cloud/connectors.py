"""Data Connectors: their fields, and how clients change them."""

import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from dt_cloud.choices import Choices
from dt_cloud.database import Database
from dt_cloud.errors import ApiError
from dt_cloud.events import CONNECTOR_EVENT_TYPES
from dt_cloud.ids import xid
from dt_cloud.signing import ES256_HEADER, HS256_HEADER

ACTIVE = "ACTIVE"
USER_DISABLED = "USER_DISABLED"
SYSTEM_DISABLED = "SYSTEM_DISABLED"

_COLUMNS = (
    "connector_id", "project_id", "display_name", "status", "events", "labels", "url", "secret", "headers", "created",
    "failing_since", "failures",
)  # fmt: skip
_OTHER_TYPES = ("AZURE_SERVICE_BUS", "AZURE_EVENT_HUB", "GOOGLE_CLOUD_PUBSUB", "AWS_SQS")
_PATHS = (
    "displayName",
    "status",
    "events",
    "labels",
    "httpConfig.url",
    "httpConfig.signatureSecret",
    "httpConfig.headers",
)
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.?").fullmatch
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_HEADER_VALUE = re.compile(r"[\t -~\x80-\xff]*").fullmatch
_OWN_HEADERS = {HS256_HEADER.lower(), ES256_HEADER.lower(), "host", "content-length", "transfer-encoding", "connection"}


@dataclass(slots=True)
class Connector:
    """A Data Connector.

    Attributes:
        connector_id: Its id.
        project_id: The id of its project.
        display_name: The name that people gave it.
        status: ``ACTIVE``, ``USER_DISABLED`` or ``SYSTEM_DISABLED``.
        events: The event types that it sends; all if empty.
        labels: The device labels in each request.
        url: The receiver's URL.
        secret: The signature secret; none if empty.
        headers: Custom headers of each request.
        created: When it was created, in seconds since the epoch on the cloud's clock.
        failing_since: The time of the first failure since the last success; None if the last attempt succeeded.
        failures: The number of failures since then.
    """

    connector_id: str
    project_id: str
    display_name: str
    status: str
    events: list[str]
    labels: list[str]
    url: str = field(repr=False)
    secret: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    created: float
    failing_since: float | None = None
    failures: int = 0

    @property
    def name(self) -> str:
        """The name of the resource."""
        return f"projects/{self.project_id}/dataconnectors/{self.connector_id}"

    def document(self) -> dict[str, Any]:
        """Return the connector as DT's API does, with every field, and the secret in clear text."""
        return {
            "name": self.name,
            "displayName": self.display_name,
            "type": "HTTP_PUSH",
            "status": self.status,
            "events": self.events,
            "labels": self.labels,
            "httpConfig": {"url": self.url, "signatureSecret": self.secret, "headers": self.headers},
        }

    def wants(self, event_type: str) -> bool:
        """Return whether it sends events of this type."""
        return not self.events or event_type in self.events


class Connectors:
    """All Data Connectors, in memory and in the database.

    Args:
        database: Stores them.
        choices: Decide the maximum per project, and the default labels.
        allowed_hosts: Hosts to which events may be sent, besides this machine.
    """

    def __init__(self, database: Database, choices: Choices, allowed_hosts: Collection[str] = ()) -> None:
        self._database = database
        self._choices = choices
        self._allowed_hosts = frozenset(host.lower() for host in allowed_hosts)
        self._all: dict[str, Connector] = {}
        for row in database.execute(f"SELECT {', '.join(_COLUMNS)} FROM connectors ORDER BY rowid"):  # noqa: S608
            values = dict(zip(_COLUMNS, row, strict=True))
            for name in ("events", "labels", "headers"):
                values[name] = json.loads(values[name])
            self._all[values["connector_id"]] = Connector(**values)

    def of(self, projects: Iterable[str]) -> list[Connector]:
        """Return the connectors of some projects, in order of creation."""
        wanted = set(projects)
        return [connector for connector in self._all.values() if connector.project_id in wanted]

    def all(self) -> list[Connector]:
        """Return all connectors."""
        return list(self._all.values())

    def get(self, connector_id: str) -> Connector | None:
        """Return a connector; None if the id is unknown."""
        return self._all.get(connector_id)

    def create(self, project_id: str, given: Mapping[str, Any], now: float) -> Connector:
        """Create a connector.

        Args:
            project_id: The id of its project.
            given: The client's fields; ``type`` and ``httpConfig.url`` are required.
            now: The time, in seconds since the epoch.

        Raises:
            ApiError: 400; also if the project has the maximum number.
        """
        kind = given.get("type")
        if kind in _OTHER_TYPES:
            raise ApiError(400, f"invalid argument: {kind} is not supported; DT Cloud on your desk has HTTP_PUSH only")
        if kind != "HTTP_PUSH":
            raise ApiError(400, "invalid argument: type must be HTTP_PUSH")
        if len(self.of([project_id])) >= self._choices.max_connectors:
            raise ApiError(400, f"invalid argument: a project has at most {self._choices.max_connectors} connectors")
        connector = Connector(xid(now), project_id, "", ACTIVE, [], list(self._choices.default_labels), "", "", {}, now)
        self._apply(connector, given, None)
        if not connector.url:
            raise ApiError(400, "invalid argument: httpConfig.url is missing")
        marks = ", ".join("?" * len(_COLUMNS))
        self._database.execute(f"INSERT INTO connectors VALUES ({marks})", *self._row(connector))  # noqa: S608
        self._database.after_commit(lambda: self._all.update({connector.connector_id: connector}))
        return connector

    def update(self, connector: Connector, given: Mapping[str, Any], mask: str | None) -> Connector:
        """Change fields of a connector.

        Args:
            connector: The connector.
            given: The client's fields. Without a mask, each field that is present and not null is changed: the fields
                of ``httpConfig`` individually, lists and headers as a whole.
            mask: Comma-separated names of fields: exactly those are changed.

        Returns:
            The connector as it will be after the commit.

        Raises:
            ApiError: 400; nothing is changed.
        """
        changed = Connector(*(getattr(connector, name) for name in _COLUMNS))
        self._apply(changed, given, mask)
        if changed.status == ACTIVE != connector.status:
            changed.failing_since, changed.failures = None, 0
        self.save(changed)

        def apply() -> None:
            for name in _COLUMNS:
                setattr(connector, name, getattr(changed, name))

        self._database.after_commit(apply)
        return changed

    def save(self, connector: Connector) -> None:
        """Store a connector."""
        assignments = ", ".join(f"{name} = ?" for name in _COLUMNS)
        self._database.execute(
            f"UPDATE connectors SET {assignments} WHERE connector_id = ?",  # noqa: S608
            *self._row(connector),
            connector.connector_id,
        )

    def delete(self, connector: Connector) -> None:
        """Remove a connector."""
        self._database.execute("DELETE FROM connectors WHERE connector_id = ?", connector.connector_id)
        self._database.after_commit(lambda: self._all.pop(connector.connector_id, None))

    def _apply(self, connector: Connector, given: Mapping[str, Any], mask: str | None) -> None:
        for path in _masked(mask) if mask else _PATHS:
            value: Any = given
            for name in path.split("."):
                value = value.get(name) if isinstance(value, Mapping) else None
            if value is not None or mask:
                self._set(connector, path, value)

    def _set(self, connector: Connector, path: str, value: Any) -> None:
        match path:
            case "displayName":
                connector.display_name = _text(path, value)
            case "status":
                if value not in (ACTIVE, USER_DISABLED, connector.status):
                    raise ApiError(400, "invalid argument: status must be ACTIVE or USER_DISABLED")
                connector.status = value
            case "events":
                connector.events = _texts(path, value)
                if unknown := [each for each in connector.events if each not in CONNECTOR_EVENT_TYPES]:
                    raise ApiError(400, f"invalid argument: events: {unknown[0][:40]} is not an event type")
            case "labels":
                connector.labels = _texts(path, value)
            case "httpConfig.url":
                connector.url = self._checked_url(_text(path, value))
            case "httpConfig.signatureSecret":
                connector.secret = _text(path, value)
            case "httpConfig.headers":
                connector.headers = _headers(value)

    def _checked_url(self, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, is_complete = (parts.hostname or "").lower(), parts.port != 0 and parts.username is None
        except ValueError:
            host, is_complete = "", False
        if not is_complete or not host or parts.scheme not in ("http", "https") or not url.isprintable() or " " in url:
            raise ApiError(
                400,
                "invalid argument: httpConfig.url must begin with https:// or http:// and name a host, "
                "with no user name, no password and no port 0",
            )
        if not is_loopback(host) and host not in self._allowed_hosts:
            raise ApiError(
                400,
                "invalid argument: httpConfig.url: this cloud sends its simulated events only to this machine, such as "
                f"http://127.0.0.1:8000. To send them to {host[:80]} too, start it with --allow-host {host[:80]}",
            )
        return url

    def _row(self, connector: Connector) -> list[Any]:
        values = (getattr(connector, name) for name in _COLUMNS)
        return [json.dumps(value) if isinstance(value, (list, dict)) else value for value in values]


def is_host(text: str) -> bool:
    """Return whether a text is a host as in a URL: a name or an address, without brackets, port and anything else."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST(text) is not None
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host of a URL is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _masked(mask: str) -> list[str]:
    paths: list[str] = []
    for given in mask.split(","):
        head, *rest = given.strip().split("_")
        path = head + "".join(word[:1].upper() + word[1:] for word in rest)
        found = [each for each in _PATHS if each == path or each.startswith(f"{path}.")]
        if not found:
            raise ApiError(
                400, f"invalid argument: updateMask: {given.strip()[:40]} is not a field that can be changed"
            )
        paths += found
    return paths


def _text(path: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ApiError(400, f"invalid argument: {path} must be a string")
    return value


def _texts(path: str, value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ApiError(400, f"invalid argument: {path} must be an array of strings")
    return list(value)


def _headers(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
        raise ApiError(400, "invalid argument: httpConfig.headers must be an object of strings")
    for name, text in value.items():
        if not _HEADER_NAME(name) or name.lower() in _OWN_HEADERS or not _HEADER_VALUE(text):
            raise ApiError(400, f"invalid argument: httpConfig.headers: {name[:40]!r} cannot be sent")
    return dict(value)
