"""Cloudant's HTTP API, with kept connections: nothing runs after a request.

Why not the SDK: docs/decisions/0021-cloudant.md. Apache CouchDB has the same API.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

import certifi

from core import NAME
from core.service.attempts import ATTEMPT, attempts
from core.service.client import CallError, Client
from core.service.sockets import bounded
from core.stores.contract import StoreUnavailableError

_WORD = re.compile("[a-z_]{1,40}").fullmatch

# The status and the JSON object of an answer.
Answer = tuple[int, Mapping[str, Any]]


class Login(Protocol):
    """Who calls."""

    def header(self, deadline: float) -> str:
        """Return the value of ``Authorization``.

        Args:
            deadline: ``time.monotonic()`` seconds; part of the time is reserved for the call itself.

        Raises:
            StoreUnavailableError: No token could be fetched.
        """
        ...

    def forget(self, header: str) -> None:
        """Discard ``header``, which the service rejected, if it is still in use."""
        ...


class FixedLogin:
    """A constant header: the user and password of an Apache CouchDB.

    Args:
        header: The value of ``Authorization``.
    """

    def __init__(self, header: str) -> None:
        self._header = header

    def header(self, deadline: float) -> str:  # noqa: ARG002
        """Return the value of ``Authorization``; see `Login`."""
        return self._header

    def forget(self, header: str) -> None:
        """Keep it: there is no other."""


class Service:
    """One instance of Cloudant; safe to call from several threads. A failure does not affect the next call.

    Args:
        url: The instance's address, without a path.
        login: The credentials.
    """

    def __init__(self, url: str, login: Login) -> None:
        self._login = login
        self._client = Client(url, certifi.where())

    def call(self, method: str, path: str, deadline: float, document: object = None) -> Answer:
        """Make a request, with the retries of `core.service.attempts`.

        Args:
            method: The HTTP method.
            path: Path and query, percent-encoded.
            deadline: ``time.monotonic()`` seconds.
            document: The body, as JSON; none if None.

        Returns:
            Any answer except 429 and 5xx. A list becomes ``rows``.

        Raises:
            StoreUnavailableError: There was no such answer.
        """
        body = None if document is None else json.dumps(document, ensure_ascii=False).encode()
        cause, was_refused = "deadline", False
        for _ in attempts(deadline):
            header = self._login.header(deadline)
            headers = {"Authorization": header, "Content-Type": "application/json", "User-Agent": NAME}
            try:
                with bounded(ATTEMPT):
                    answer = self._client.send(method, path, body, headers)
            except CallError as error:
                cause = str(error)
                continue
            try:
                found = json.loads(answer.data)
            except (ValueError, RecursionError):
                found = None
            # Only _all_dbs answers a list.
            found = found if type(found) is dict else {"rows": found} if type(found) is list else {}
            cause = cause_of(answer.status, found)
            if answer.status == 401 and not was_refused:
                was_refused = True
                self._login.forget(header)
            elif answer.status < 500 and answer.status != 429:
                return answer.status, found
        raise StoreUnavailableError(cause)


def cause_of(status: int, document: Mapping[str, Any]) -> str:
    """Return CouchDB's error code; no other part of the answer may be logged.

    https://docs.couchdb.org/en/stable/api/basics.html#http-status-codes
    """
    word = document.get("error")
    return f"{status} {word}" if type(word) is str and _WORD(word) else f"HTTP {status}"
