"""A stand-in for IBM Cloud's IAM, and a login by it.

Written from IBM's page, https://cloud.ibm.com/apidocs/iam-identity-token-api#gettoken-crtoken.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from ibm_cloud_sdk_core.token_managers.iam_token_manager import IAMTokenManager

from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT
from core.stores.contract import StoreUnavailableError
from ibm_actions.identity import IamLogin
from tests.support.loopback import Answering, Loopback, Reply, assert_no_leak, loopback, success

PROFILE = "Profile-8f7c1d5e-3c6a-4f6f-a0c2-d5a3a0a7c1be"
# What no error and no line of the log may show.
TOKEN, API_KEY, RESOURCE = (f"{what}-that-nobody-may-see" for what in ("token", "api-key", "compute-resource-token"))
HOUR = 3600.0


def token(number: int, life: object = HOUR) -> Reply:
    """Return an answer of IAM's."""
    return success(
        access_token=f"{TOKEN}-{number}",
        refresh_token="not_supported",
        token_type="Bearer",
        expires_in=life,
        expiration=int(time.time()) + 3600,
        scope="ibm openid",
    )


def tokens() -> Answering:
    """Answer with one token after the other."""
    numbers = iter(range(1, 1000))
    return lambda _: token(next(numbers))


def fault(status: int) -> Reply:
    """Return an error as IAM sends it, which repeats the request."""
    document = {"errorCode": "BXNIM0415E", "errorMessage": API_KEY, "context": {"token": RESOURCE}}
    return Reply(status, json.dumps(document).encode())


class Clock:
    """Monotonic seconds that go on when a test says so, beside those that pass."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@contextmanager
def login(answering: Answering, clock: Callable[[], float] = time.monotonic) -> Iterator[tuple[Loopback, IamLogin]]:
    """Give IAM, and a login by an API key."""
    with loopback(answering) as iam:
        yield iam, IamLogin(IAMTokenManager(API_KEY, url=iam.url), clock)


def number(login: IamLogin, seconds: float = DEADLINE) -> int:
    """Return the number of the token; assert that there is time left for the call."""
    started = time.monotonic()
    header = login.header(started + seconds)
    assert time.monotonic() - started < max(seconds - ATTEMPT, 2)
    assert header.startswith(f"Bearer {TOKEN}-")
    return int(header.removeprefix(f"Bearer {TOKEN}-"))


def refused(login: IamLogin, seconds: float = DEADLINE) -> str:
    """Assert that the request for a token fails in time and without a secret; return the cause."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        login.header(started + seconds)
    assert time.monotonic() - started < max(seconds, 2)
    for secret in (TOKEN, API_KEY, RESOURCE):
        assert_no_leak(caught.value, secret)
    return caught.value.reason
