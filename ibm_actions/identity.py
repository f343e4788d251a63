"""The receiver's login at Cloudant: a trusted profile, whose tokens replace keys, or an API key."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import certifi
from ibm_cloud_sdk_core.token_managers.container_token_manager import ContainerTokenManager
from ibm_cloud_sdk_core.token_managers.iam_request_based_token_manager import IAMRequestBasedTokenManager
from ibm_cloud_sdk_core.token_managers.iam_token_manager import IAMTokenManager

from core.service.attempts import ATTEMPT, attempts
from core.service.client import CallError, fetch
from core.service.sockets import bounded
from core.stores.contract import StoreUnavailableError

# The share of a token's life after which it is renewed; the same as in IBM's SDK.
_RENEW_AFTER = 0.8
# Seconds until a failed renewal is retried.
_COOLDOWN = 60.0
# For an SDK error without a class of its own.
_NOT_LINKED = "no compute resource token. Is the trusted profile linked to this application?"


class _Refused(Exception):
    """IAM's answer has no token."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class IamLogin:
    """Tokens of IBM Cloud's IAM, each used for most of its life, which is an hour.

    The SDK requests tokens, but does not cache them here: after a failure its cache makes all callers sleep for up to
    60 seconds, and a failed early renewal is an error although the old token is still valid.

    Args:
        manager: Requests tokens, for a trusted profile or an API key.
        clock: Monotonic seconds.
    """

    def __init__(self, manager: IAMRequestBasedTokenManager, clock: Callable[[], float] = time.monotonic) -> None:
        # The SDK's default is `requests.request`, with a time-out for each read.
        manager._request = self._send
        self._manager = manager
        self._clock = clock
        self._header = ""
        self._renew_at = self._expires_at = float("-inf")
        self._asked = 0
        self._fault = "deadline"
        self._lock = threading.Lock()

    def header(self, deadline: float) -> str:
        """Return the value of ``Authorization``; see `ibm_actions.service.Login`."""
        if self._clock() >= self._renew_at:
            # One thread renews a valid token while the others use it; without a token all wait.
            asked, has_token = self._asked, self._clock() < self._expires_at
            if self._lock.acquire(timeout=0 if has_token else max(deadline - ATTEMPT - time.monotonic(), 0)):
                try:
                    if self._asked == asked:
                        self._renew(deadline - ATTEMPT)
                finally:
                    self._lock.release()
            if self._clock() >= self._expires_at:
                raise StoreUnavailableError(f"IAM: {self._fault}")
        return self._header

    def forget(self, header: str) -> None:
        """Request a new token before the next call; see `ibm_actions.service.Login`."""
        # Without the lock, which a renewal holds for seconds: at worst there is one renewal too many.
        if self._header == header:
            self._renew_at = self._expires_at = float("-inf")

    def _renew(self, deadline: float) -> None:
        self._fault = "deadline"
        for _ in attempts(deadline):
            asked_at = self._clock()
            try:
                with bounded(ATTEMPT):
                    answer = self._manager.request_token()
                header, life = f"Bearer {_word(answer['access_token'])}", int(answer["expires_in"])
            except _Refused as error:
                self._fault = f"HTTP {error.status}"
                if error.status < 500 and error.status != 429:
                    break
            except CallError as error:
                self._fault = str(error)
            except Exception as error:  # Code Engine's token file, unreadable answer
                self._fault = type(error).__name__ if type(error) is not Exception else _NOT_LINKED
            else:
                self._header = header
                self._renew_at, self._expires_at = asked_at + life * _RENEW_AFTER, asked_at + life
                break
        if self._clock() >= self._renew_at:
            self._renew_at = min(self._clock() + _COOLDOWN, self._expires_at)
        self._asked += 1

    def _send(
        self, method: str, url: str, *, headers: Mapping[str, str | None], data: Mapping[str, str], **_: Any
    ) -> Any:
        """Send the SDK's request on a connection with the time limit, without following redirects."""
        sent = {name: value for name, value in headers.items() if value}
        answer = fetch(method, url, urlencode(data), sent, certifi.where())
        if answer.status != 200:
            raise _Refused(answer.status)
        return json.loads(answer.data)


def iam_login(profile: str | None, api_key: str | None, url: str) -> IamLogin:
    """Create a login with a trusted profile, or else with an API key.

    Args:
        profile: The trusted profile's id, to which the application is linked.
        api_key: The key of a service id.
        url: IAM's address.
    """
    if profile:
        return IamLogin(ContainerTokenManager(iam_profile_id=profile, url=url))
    return IamLogin(IAMTokenManager(api_key, url=url))


def _word(token: Any) -> str:
    if type(token) is str and token.isascii() and token.isprintable() and token:
        return token
    raise TypeError
