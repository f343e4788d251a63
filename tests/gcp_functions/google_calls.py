"""A call by `gcp_functions.service` to a test's server in Google's place."""

import time
from typing import Any

import pytest

from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from gcp_functions.service import Service
from tests.contract.fault import SECRET
from tests.support.loopback import Reply, assert_no_leak

PATH = "/v1/projects/p/topics/t:publish?a=b"
DOCUMENT = {"messages": [{"data": SECRET}]}


def publish(service: Service, seconds: float = DEADLINE) -> Any:
    """Make a call with this many seconds before its deadline."""
    return service.call("POST", PATH, time.monotonic() + seconds, DOCUMENT)


def cause_of(service: Service, seconds: float = DEADLINE) -> str:
    """Return the cause of a call that fails; assert that the error has nothing that was sent or answered."""
    with pytest.raises(StoreUnavailableError) as caught:
        publish(service, seconds)
    assert_no_leak(caught.value, SECRET)
    return caught.value.reason


def html(status: int) -> Reply:
    """Return an HTML answer, which Google's API never sends."""
    return Reply(status, f"<p>{SECRET}".encode(), {"Content-Type": "text/html"})
