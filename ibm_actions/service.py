"""Cloudant's HTTP API, by one pool of connections: nothing runs behind a request.

docs/decisions/0021-cloudant.md says why this and not the SDK. Apache CouchDB has the same API.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

import certifi
from urllib3.exceptions import HTTPError

from core.service.attempts import ATTEMPT, attempts
from core.service.sockets import bounded
from core.service.transport import pool_manager
from core.stores.contract import StoreUnavailableError

# As many as the application has threads.
CONNECTIONS = 32
_WORD = re.compile("[a-z_]{1,40}").fullmatch

# The status and the object of an answer.
Answer = tuple[int, Mapping[str, Any]]


class Login(Protocol):
    """Who calls."""

    def header(self, deadline: float) -> str:
        """Return the value of ``Authorization``.

        Args:
            deadline: ``time.monotonic()`` seconds, some of which are kept for the call itself.

        Raises:
            StoreUnavailableError: No token could be fetched.
        """
        ...

    def forget(self, header: str) -> None:
        """Take note that the service did not accept ``header``, if that is still the one that is sent."""
        ...


class FixedLogin:
    """What is sent with each call and stays as it is: the user and password of an Apache CouchDB.

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
    """One instance of Cloudant; safe to call from several threads. It holds no failure: each call is on its own.

    Args:
        url: The address that all paths are relative to.
        login: Who calls.
    """

    def __init__(self, url: str, login: Login) -> None:
        self._url = url
        self._login = login
        self._pool = pool_manager(CONNECTIONS, certifi.where())

    def call(self, method: str, path: str, deadline: float, document: object = None) -> Answer:
        """Make a request, as often as `core.service.attempts` has it.

        Args:
            method: The HTTP method.
            path: Path and query, relative to the instance's address.
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
            headers = {"Authorization": header, "Content-Type": "application/json"}
            try:
                with bounded(ATTEMPT):
                    answer = self._pool.urlopen(method, self._url + path, body=body, headers=headers, redirect=False)
            except HTTPError as error:
                cause = type(error).__name__
                continue
            try:
                found = json.loads(answer.data)
            except (ValueError, RecursionError):
                found = None
            # _all_dbs alone answers a list.
            found = found if type(found) is dict else {"rows": found} if type(found) is list else {}
            cause = cause_of(answer.status, found)
            if answer.status == 401 and not was_refused:
                was_refused = True
                self._login.forget(header)
            elif answer.status < 500 and answer.status != 429:
                return answer.status, found
        raise StoreUnavailableError(cause)


def cause_of(status: int, document: Mapping[str, Any]) -> str:
    """Return CouchDB's own word for an error; nothing else that the answer says is for the log.

    https://docs.couchdb.org/en/stable/api/basics.html#http-status-codes
    """
    word = document.get("error")
    return f"{status} {word}" if type(word) is str and _WORD(word) else f"HTTP {status}"
