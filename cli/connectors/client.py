"""DT's API by DT's official client: the only module that uses it, and that knows what not to trust it with."""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from cli import CommandError
from cli.connectors.access import Access
from cli.connectors.values import (
    Connector,
    Metrics,
    Project,
    connector_of,
    metrics_of,
    project_of,
)
from core.event import rfc3339
from core.text import printable

# The client's own 3 s make twins: a POST that times out is sent again. One repetition is its least.
TIMEOUT = 15
_REPETITIONS = 1
# DT allows 25 requests in 5 s.
_PER_SECOND = 5.0
_BURST = 24
_PAGE = "1000"
_MAX_TEXT = 300
# Of a Retry-After: below half a minute.
_SECONDS = re.compile("[12]?[0-9]").fullmatch
# Shorter texts are no secrets, and are in every sentence.
_LEAST = 4
# A connector may be answered 404 for some moments after its creation.
_PATIENCE = 20.0
_WAIT = 1.0

REFUSED, NOT_FOUND, LATER = 3, 4, 5


class ApiError(CommandError):
    """DT Cloud refused a request, or did not answer.

    Attributes:
        status: The HTTP status; None without an answer.
    """

    def __init__(self, message: str, exit_code: int, status: int | None = None) -> None:
        super().__init__(message, exit_code)
        self.status = status


class Client:
    """Asks DT's API, at most as often as it allows.

    Every method raises `ApiError` if DT Cloud refuses, or does not answer.

    Args:
        access: Where it is, and who asks.
        burst: How many requests may follow each other at once.
    """

    def __init__(self, access: Access, burst: int = _BURST) -> None:
        self.access = access
        self._burst = burst
        self._asked: deque[float] = deque(maxlen=burst)
        self._dt: Any = _imported()
        self._dt.log_level = None
        self._dt.request_timeout = TIMEOUT
        self._dt.request_attempts = _REPETITIONS
        self._dt.base_url = access.api
        self._dt.emulator_base_url = access.emulator
        self._dt.errors.parse_api_status_code = _bounded(self._dt.errors.parse_api_status_code)
        # What no error may quote.
        self._secrets = {access.secret}
        auth = self._dt.Auth.service_account(access.key_id, access.secret, access.email)
        auth.token_endpoint = access.tokens
        # Their own show the secret.
        for kind in (type(auth), self._dt.DataConnector, self._dt.DataConnector.HttpPushConfig):
            kind.__repr__ = kind.__str__ = object.__repr__
        self._dt.default_auth = auth

    # ---- projects ----

    def projects(self) -> list[Project]:
        """Return the projects that the account may see."""
        with self._asking("list the projects"):
            # The one list that makes `params` of its own; the others keep the last page's token unless they get some.
            return [project_of(each.raw) for each in self._dt.Project.list_projects()]

    def project(self, project_id: str) -> Project:
        """Return a project."""
        with self._asking("read the project"):
            return project_of(self._dt.Project.get_project(project_id).raw)

    def permissions(self, project_id: str) -> frozenset[str]:
        """Return what the account may do in a project."""
        with self._asking("list the account's permissions"):
            return frozenset(self._dt.Project.list_permissions(project_id, params={}))

    # ---- connectors ----

    def connectors(self, project_id: str) -> list[Connector]:
        """Return a project's connectors."""
        with self._asking("list the Data Connectors"):
            found = self._dt.DataConnector.list_data_connectors(project_id, params={})
            connectors = [connector_of(each.raw) for each in found]
        for each in connectors:
            self._hide(each)
        return connectors

    def create(self, wanted: Connector) -> Connector:
        """Create a connector. If this raises, it may exist nevertheless: list, and look for it.

        Args:
            wanted: Its id is ignored.
        """
        config = self._config(wanted.url, wanted.secret, wanted.headers)
        self._hide(wanted)
        with self._asking("create the Data Connector"):
            made = self._dt.DataConnector.create_data_connector(
                wanted.project_id, config, wanted.name, wanted.status, list(wanted.events), list(wanted.labels)
            )
            return connector_of(made.raw)

    def update(
        self,
        connector: Connector,
        *,
        status: str | None = None,
        name: str | None = None,
        events: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        secret: str | None = None,
        headers: Mapping[str, str] | None = None,
        patient: bool = False,
    ) -> Connector:
        """Change what is given; ``patient`` waits for a connector that was just created."""
        self._secrets |= {secret or "", *(headers or {}).values()}
        has_config = secret is not None or headers is not None
        fields = {
            "config": self._config(None, secret, headers) if has_config else None,
            "display_name": name,
            "status": status,
            "event_types": None if events is None else list(events),
            "labels": None if labels is None else list(labels),
        }
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                with self._asking("change the Data Connector"):
                    changed = self._dt.DataConnector.update_data_connector(
                        connector.connector_id, connector.project_id, **fields
                    )
                    return connector_of(changed.raw)
            except ApiError as error:
                if not patient or error.status != 404 or time.monotonic() > end:
                    raise
            time.sleep(_WAIT)

    def delete(self, connector: Connector) -> None:
        """Delete a connector. One that is gone already is deleted."""
        try:
            with self._asking("delete the Data Connector"):
                self._dt.DataConnector.delete_data_connector(connector.connector_id, connector.project_id)
        except ApiError as error:
            if error.status != 404:
                raise

    def metrics(self, connector: Connector) -> Metrics:
        """Return a connector's metrics."""
        with self._asking("read the Data Connector's metrics"):
            found = self._dt.DataConnector.get_metrics(connector.connector_id, connector.project_id)
            return metrics_of(found.raw)

    def sync(self, connector: Connector) -> None:
        """Send the newest event of each type of each device again."""
        with self._asking("synchronize the Data Connector"):
            self._dt.DataConnector.sync_data_connector(connector.connector_id, connector.project_id)

    # ---- devices: as DT's raw documents, because one strange event ends the client's own lists ----

    def devices(self, project_id: str) -> list[dict[str, Any]]:
        """Return a project's devices as DT's documents."""
        return list(self._pages(f"/projects/{project_id}/devices", "devices", {}, "list the devices"))

    def history(self, project_id: str, device_id: str, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
        """Yield a device's events as DT's documents, newest first.

        Args:
            project_id: Its project.
            device_id: The device.
            since: The oldest time of an event.
            until: The newest.
        """
        given = {"startTime": rfc3339(since), "endTime": rfc3339(until), "pageSize": _PAGE}
        url = f"/projects/{project_id}/devices/{device_id}/events"
        return self._pages(url, "events", given, "read the event history")

    def _pages(self, url: str, key: str, given: Mapping[str, str], what: str) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            with self._asking(what):
                params = {**given, "pageToken": token} if token else dict(given)
                page = self._dt.requests.DTRequest.get(url, params=params)
                found, token = list(page[key]), str(page["nextPageToken"])
            yield from found
            if not token:
                return

    # ---- the emulator ----

    def emulate(self, project_id: str, labels: Mapping[str, str]) -> str:
        """Create an emulated touch sensor, and return its id; not by the client's method, which keeps labels."""
        with self._asking("create an emulated sensor"):
            made = self._dt.requests.DTRequest.post(
                f"/projects/{project_id}/devices",
                base_url=self.access.emulator,
                body={"type": "touch", "labels": dict(labels)},
            )
            return str(made["name"]).rpartition("/")[2]

    def touch(self, project_id: str, device_id: str) -> None:
        """Let an emulated sensor be touched."""
        with self._asking("publish an event of the emulated sensor"):
            self._dt.Emulator.publish_event(device_id, project_id, self._dt.events.Touch())

    def remove_emulated(self, project_id: str, device_id: str) -> None:
        """Delete an emulated sensor. One that is gone already is deleted."""
        try:
            with self._asking("delete the emulated sensor"):
                self._dt.Emulator.delete_device(device_id, project_id)
        except ApiError as error:
            if error.status != 404:
                raise

    # ---- one request ----

    def _hide(self, connector: Connector) -> None:
        """Remember what no error may quote: the secret, the headers, and the query, which may be a function's key."""
        self._secrets |= {connector.secret, urlsplit(connector.url).query, *connector.headers.values()}

    def _config(self, url: str | None, secret: str | None, headers: Mapping[str, str] | None) -> Any:
        return self._dt.DataConnector.HttpPushConfig(url, secret, None if headers is None else dict(headers))

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Wait until a request is allowed, and turn what the client raises into one sentence.

        Args:
            what: What is asked for, as in "cannot ...".
        """
        self._wait()
        failure = None
        try:
            with _own_environment(self.access):
                yield
        except Exception as error:
            if isinstance(error, CommandError):
                raise
            failure = self._failure(error, what)
        # Outside of the except block: the client's exception must not be this one's context.
        if failure:
            raise failure

    def _wait(self) -> None:
        """Wait until one more request is within DT's limit."""
        if len(self._asked) == self._burst:
            time.sleep(max(0.0, self._asked[0] + self._burst / _PER_SECOND - time.monotonic()))
        self._asked.append(time.monotonic())

    def _failure(self, error: Exception, what: str) -> ApiError:
        errors = self._dt.errors
        text = _text_of(error, self._secrets)
        host = self.access.host
        match error:
            case errors.Unauthorized():
                return ApiError(
                    "DT Cloud does not accept the service account (401). Check its key id, secret and address, and "
                    "this machine's clock.",
                    REFUSED,
                    401,
                )
            case errors.Forbidden():
                return ApiError(
                    f"The service account may not {what} (403{text}). Give it a higher role in the project, or name "
                    "another project.",
                    REFUSED,
                    403,
                )
            case errors.NotFound():
                return ApiError(f"DT Cloud cannot {what} (404{text}). Check the ids, and --project.", NOT_FOUND, 404)
            case errors.Conflict():
                return ApiError(
                    f"DT Cloud cannot {what} (409{text}): something was changed at the same time. Run the command "
                    "again.",
                    LATER,
                    409,
                )
            case errors.TooManyRequests():
                return ApiError("DT Cloud allows no more requests now (429). Wait 5 s, and run the command again.",
                                LATER, 429)  # fmt: skip
            case errors.BadRequest():
                return ApiError(f"DT Cloud refuses to {what} (400{text}).", 2, 400)
            case errors.ReadTimeout():
                return ApiError(f"{host} did not answer in {TIMEOUT} s. Run the command again.", LATER)
            case errors.ConnectionError():
                return ApiError(
                    f"{host} cannot be reached. Check the network, the proxy and DT_API_URL. DT Cloud on your desk is "
                    "started by `make cloud`.",
                    LATER,
                )
            case errors.DTApiError():
                return ApiError(f"DT Cloud cannot {what} now{text and f' ({text[2:]})'}. Run the command again.", LATER)
        return ApiError(
            f"{host} gave an answer that DT's API does not give ({type(error).__name__}). Check DT_API_URL.", LATER
        )


def _bounded(parse: Callable[..., Any]) -> Callable[..., Any]:
    """Return the client's reading of an answer, without a Retry-After that it would sleep for a day, or cannot read."""
    if hasattr(parse, "__wrapped__"):
        return parse

    @wraps(parse)
    def bounded(status: int | None, data: Any, headers: Any, attempt: int) -> Any:
        return parse(status, data, headers if _SECONDS(str(headers.get("Retry-After", ""))) else {}, attempt)

    return bounded


def _imported() -> Any:
    """Import the client. At import it reads a credentials file, whose absence would end the program."""
    hidden = {name: os.environ.pop(name) for name in ("DT_CREDENTIALS_FILE",) if name in os.environ}
    try:
        import disruptive
        import disruptive.requests
    except ModuleNotFoundError:
        raise CommandError(
            "DT's client is not installed. In a clone: make run. Elsewhere: pip install disruptive", 2
        ) from None
    finally:
        os.environ.update(hidden)
    return disruptive


@contextmanager
def _own_environment(access: Access) -> Iterator[None]:
    """Keep two habits of the client's HTTP library away while it makes a request.

    It replaces the token by an entry of ``~/.netrc`` for the host, and asks a proxy for this machine's own addresses.
    """
    own = {"NETRC": os.devnull}
    if access.is_desk:
        own |= {"NO_PROXY": "127.0.0.1,localhost,::1", "no_proxy": "127.0.0.1,localhost,::1"}
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _text_of(error: Exception, secrets: Collection[str]) -> str:
    """Return DT's own words, as ``: words``; an empty text if there are none."""
    found = error.args[0] if error.args else ""
    text = found.get("error", "") if isinstance(found, Mapping) else found
    if not isinstance(text, str) or not text:
        return ""
    for secret in secrets:
        text = text.replace(secret, "...") if len(secret) >= _LEAST else text
    return f": {printable(text[:_MAX_TEXT])}"
