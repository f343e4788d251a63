"""IBM's client of Cloudant, the databases of a receiver, and the event in a document.

Credentials, the first that is there:

- a user and its password in the URL, percent-encoded;
- ``DT_CLOUDANT_API_KEY``, as for the receiver, and ``DT_IAM_URL``;
- those of IBM's SDK: ``CLOUDANT_APIKEY``, or ``CLOUDANT_USERNAME`` and ``CLOUDANT_PASSWORD``, or any other
  ``CLOUDANT_AUTH_TYPE``: https://github.com/IBM/cloudant-python-sdk#authentication-with-environment-variables
- the login of the IBM Cloud CLI, ``ibmcloud``, for an address of IBM's or of this machine.
"""

import base64
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any

import requests
from ibm_cloud_sdk_core import ApiException
from ibm_cloud_sdk_core.authenticators import Authenticator, BasicAuthenticator, IAMAuthenticator
from ibm_cloud_sdk_core.get_authenticator import get_authenticator_from_environment
from ibmcloudant.cloudant_v1 import CloudantV1

from core.event import Event
from readers import DeniedError, ReaderError
from readers.ibm_login import PROGRAM, CliLogin
from readers.rows import foreign, stored

UNDATED = "undated"
# To connect, and between two bytes of an answer; in seconds.
_TIMEOUTS = (5.0, 10.0)
_TRIES = 2
# Cloudant counts by the second, so a busy instance soon has room again.
_BUSY_TRIES = 20
_BUSY_SECONDS = 1.0
# What the receiver calls its databases, after the prefix and a hyphen.
_NAME = re.compile(r"\d{4}(-(0[1-9]|1[0-2]|q[1-4]))?|undated").fullmatch
# Events of other years are in the undated database, or in any if there was no room for that one.
_YEARS = range(2024, 2042)
_LATER = "Try again later."
# Who else gets the token of somebody's login can do all that they can.
_TRUSTED = re.compile(r"([\w-]+\.)+(cloudantnosqldb\.appdomain\.cloud|cloudant\.com)|127\.0\.0\.1(:\d+)?").fullmatch
_NO_RIGHTS = "Cloudant refuses these credentials. They need the role {} on this instance."

# The SDK logs TLS failures with a traceback, and `ReaderError` says the same.
logging.getLogger("ibm-cloud-sdk-core").addHandler(logging.NullHandler())


class Instance:
    """An instance of Cloudant.

    Args:
        address: Its URL, without a database.
        authenticator: Who calls.
        role: The role that is needed, for the sentence when it is missing.
        is_patient: Whether a failed call is repeated.
    """

    def __init__(
        self, address: str, authenticator: Authenticator, role: str = "Reader", *, is_patient: bool = True
    ) -> None:
        self.client = CloudantV1(authenticator)
        self.client.set_service_url(address)
        self.client.set_http_config({"timeout": _TIMEOUTS})
        self._authenticator = authenticator
        self._role = role
        self._tries, self._busy_tries = (_TRIES, _BUSY_TRIES) if is_patient else (1, 1)

    def close(self) -> None:
        """Close the connections."""
        self.client.get_http_client().close()

    def names(self, prefix: str) -> list[str]:
        """List a receiver's databases, without the prefix and its hyphen, in order of time, the undated one last."""
        first = f"{prefix}-"
        bounds = {"start_key": json.dumps(first), "end_key": json.dumps(f"{first}\ufff0", ensure_ascii=False)}
        found = (str(name).removeprefix(first) for name in self.ask("", self.client.get_all_dbs, **bounds))
        return sorted(filter(_NAME, found), key=lambda name: _months(name)[::-1])

    def information(self, database: str, what: str) -> Any:
        """Return a value of a database, such as ``doc_count``."""
        return self.ask(what, self.client.get_database_information, database)[what]

    def ask(self, needed: str, call: Callable[..., Any], *arguments: Any, missing: Any = None, **options: Any) -> Any:
        """Call the SDK.

        Args:
            needed: The name of a value that the answer has; empty if the answer is a list.
            call: A method of the client.
            arguments: Its arguments.
            missing: What to return for 404; an error if None.
            options: Its options.

        Raises:
            ReaderError: There was no such answer.
        """
        for attempt in count(1):
            self._log_in()
            try:
                found = call(*arguments, **options).get_result()
            except ApiException as error:
                status = error.status_code
                if status == 404 and missing is not None:
                    return missing
                if status == 429 and attempt < self._busy_tries:
                    time.sleep(_BUSY_SECONDS)
                elif status < 500 or attempt >= self._tries:
                    # A 401 is a wrong password, or a token that Cloudant does not know.
                    kind = DeniedError if status == 403 else ReaderError
                    raise kind(self._sentence(status)) from None
            except requests.RequestException as error:
                if attempt >= self._tries:
                    # Only the class: the text has the URL.
                    raise ReaderError(
                        f"Cloudant does not answer: {type(error).__name__}. Check the host in the URL."
                    ) from None
            else:
                if needed in found if isinstance(found, dict) else isinstance(found, list) and not needed:
                    return found
                raise ReaderError("What answers there is not Cloudant. Check the host in the URL.")
        raise AssertionError

    def _sentence(self, status: int) -> str:
        if status in (401, 403):
            return _NO_RIGHTS.format(self._role)
        if status == 429:
            return f"Cloudant is busy: increase the capacity of the instance, or ask for less. {_LATER}"
        return (
            f"A database has been deleted. {_LATER}" if status == 404 else f"Cloudant answers HTTP {status}. {_LATER}"
        )

    def _log_in(self) -> None:
        """Fetch a token if there is none, or if it is old."""
        for attempt in range(_TRIES):
            try:
                self._authenticator.authenticate({"headers": {}})
                break
            except ReaderError:
                raise
            except Exception as error:
                # The SDK has no common class for what is wrong with an answer. It waits for a minute before it asks
                # again, unless this is 0. If an old token could not be renewed, it is still there the second time.
                if manager := getattr(self._authenticator, "token_manager", None):
                    manager.request_time = 0
                if attempt == _TRIES - 1:
                    raise ReaderError(
                        f"IAM gives no token: {type(error).__name__}. Is the API key in DT_CLOUDANT_API_KEY or "
                        "CLOUDANT_APIKEY valid, and can IAM be reached from here?"
                    ) from None


def events_of(documents: Sequence[Mapping[str, Any] | None]) -> list[Event]:
    """Return the events in documents, without deleted ones and those of indexes."""
    there = (one for one in documents if one and not one.get("_deleted") and not one["_id"].startswith("_design/"))
    return [event_of(document) for document in there]


def event_of(document: Mapping[str, Any]) -> Event:
    """Return the event in a document; what the receiver did not write is `readers.rows.foreign`."""
    key, body = document.get("key"), document.get("body")
    if not isinstance(key, str) or not isinstance(body, str):
        return foreign(document["_id"])
    try:
        content = base64.b64decode(body, validate=True) if document.get("encoding") == "base64" else body.encode()
    except ValueError:
        return foreign(document["_id"])
    return stored(key, content, document.get("receivedAt"), document.get("signedBy"))


def select(names: list[str], since: datetime | None, until: datetime | None = None) -> list[str]:
    """Return the databases that may have events of this time.

    If there was no room for a database, its events are in one of the same year, the last one before, or the first.
    """
    if since is None or since.year not in _YEARS or (until and until.year not in _YEARS):
        return names
    first, last = f"{since.year}-01", f"{until.year}-12" if until else UNDATED
    before = [name for name in names if _months(name)[1] < first]
    chosen = {*(before[-1:] or names[:1]), UNDATED}
    return [name for name in names if name in chosen or touches(name, first, last)]


def touches(name: str, first: str, last: str) -> bool:
    """Return whether a database has events between two months, such as ``2026-01``, or events without a time."""
    begin, end = _months(name)
    return name == UNDATED or (begin <= last and end >= first)


def _months(name: str) -> tuple[str, str]:
    """Return the first and the last month of a database; the undated one follows them all."""
    year, _, part = name.partition("-")
    if part.startswith("q"):
        return f"{year}-{3 * int(part[1]) - 2:02}", f"{year}-{3 * int(part[1]):02}"
    return (name, name) if part or name == UNDATED else (f"{year}-01", f"{year}-12")


def authenticator(user: str = "", password: str = "", host: str = "") -> Authenticator:
    """Return the user's login, or without a user that of the environment, or of the IBM Cloud CLI.

    Args:
        user: A user of the instance.
        password: Its password.
        host: The host of the instance, and its port if there is one.

    Raises:
        ReaderError: There are no credentials, or not all of them.
    """
    try:
        if user:
            return BasicAuthenticator(user, password)
        if key := os.environ.get("DT_CLOUDANT_API_KEY"):
            return IAMAuthenticator(key, url=os.environ.get("DT_IAM_URL"))
        if (user := os.environ.get("CLOUDANT_USERNAME", "")) and not os.environ.get("CLOUDANT_AUTH_TYPE"):
            return BasicAuthenticator(user, os.environ.get("CLOUDANT_PASSWORD"))
        found = get_authenticator_from_environment("CLOUDANT")
        if not found and _TRUSTED(host) and shutil.which(PROGRAM):
            return CliLogin()
    except ValueError:
        found = None
    if not found:
        raise ReaderError(
            "There are no credentials for Cloudant, or not all of them. Install ibmcloud and log in with it, or set "
            "CLOUDANT_APIKEY to an API key that has the role Reader on the instance."
        )
    return found
