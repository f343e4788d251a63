"""Who the receiver is to Cloudant: a trusted profile, whose tokens take the place of keys, or what else there is."""

import threading
import time
from collections.abc import Callable
from typing import Any

from ibm_cloud_sdk_core import ApiException
from ibm_cloud_sdk_core.token_managers.container_token_manager import ContainerTokenManager
from ibm_cloud_sdk_core.token_managers.iam_request_based_token_manager import IAMRequestBasedTokenManager
from ibm_cloud_sdk_core.token_managers.iam_token_manager import IAMTokenManager

from core.attempts import ATTEMPT, CONNECT_TIMEOUT, READ_TIMEOUT, attempts
from core.store import StoreUnavailable

# Of its life, a token's share after which a new one is asked for; IBM's SDK has the same.
_RENEW_AFTER = 0.8
# Seconds until that is tried again, if it failed.
_COOLDOWN = 60.0
# Of the SDK, which has no class for it.
_NOT_LINKED = "no compute resource token. Is the trusted profile linked to this application?"


class IamLogin:
    """Tokens of IBM Cloud's IAM, each used for most of its life, which is an hour.

    The SDK's own way to keep a token is not used, only that to ask for one: after a failure it has all callers sleep
    for up to 60 seconds, and a new token that fails to come early is an error although the old one still lasts.

    Args:
        manager: Asks for tokens: as a trusted profile, or with an API key.
        clock: Monotonic seconds.
    """

    def __init__(self, manager: IAMRequestBasedTokenManager, clock: Callable[[], float] = time.monotonic) -> None:
        # Its own time-out is 60 s. No proxy comes between, nor is a key sent on to wherever an answer says.
        manager.http_config = {
            "timeout": (CONNECT_TIMEOUT, READ_TIMEOUT),
            "proxies": {"http": None, "https": None, "all": None},
            "allow_redirects": False,
        }
        self._manager = manager
        self._clock = clock
        self._header = ""
        self._renew_at = self._expires_at = float("-inf")
        self._asked = 0
        self._fault = "deadline"
        self._lock = threading.Lock()

    def header(self, deadline: float) -> str:
        """Return the value of ``Authorization``; see `ibm_actions.rest.Login`."""
        if self._clock() >= self._renew_at:
            # One thread renews a token that still lasts, and the others use it meanwhile; without one all wait.
            asked, has_token = self._asked, self._clock() < self._expires_at
            if self._lock.acquire(timeout=0 if has_token else max(deadline - ATTEMPT - time.monotonic(), 0)):
                try:
                    if self._asked == asked:
                        self._renew(deadline - ATTEMPT)
                finally:
                    self._lock.release()
            if self._clock() >= self._expires_at:
                raise StoreUnavailable(f"IAM: {self._fault}")
        return self._header

    def forget(self, header: str) -> None:
        """Ask for another token before the next call; see `ibm_actions.rest.Login`."""
        # Without the lock, which whoever renews holds for seconds: at worst a new token is asked for once too often.
        if self._header == header:
            self._renew_at = self._expires_at = float("-inf")

    def _renew(self, deadline: float) -> None:
        self._fault = "deadline"
        for _ in attempts(deadline):
            asked_at = self._clock()
            try:
                answer = self._manager.request_token()
                header, life = f"Bearer {_word(answer['access_token'])}", int(answer["expires_in"])
            except ApiException as error:
                self._fault = f"HTTP {error.status_code}"
                if error.status_code < 500 and error.status_code != 429:
                    break
            except Exception as error:  # of the network, of the file with Code Engine's token, of an unreadable answer
                self._fault = type(error).__name__ if type(error) is not Exception else _NOT_LINKED
            else:
                self._header = header
                self._renew_at, self._expires_at = asked_at + life * _RENEW_AFTER, asked_at + life
                break
        if self._clock() >= self._renew_at:
            self._renew_at = min(self._clock() + _COOLDOWN, self._expires_at)
        self._asked += 1


def iam_login(profile: str | None, api_key: str | None, url: str) -> IamLogin:
    """Make a login by a trusted profile, or else by an API key.

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
