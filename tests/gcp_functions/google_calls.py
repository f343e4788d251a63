"""A call by `gcp_functions.service`, to whatever server a test has in Google's place."""

import time
from typing import Any

import pytest

from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from gcp_functions.service import Service
from tests.support.loopback import Reply, gives_nothing_away

SECRET = "what nobody but DT may know"
PATH = "/v1/projects/p/topics/t:publish?a=b"
DOCUMENT = {"messages": [{"data": SECRET}]}


def publish(service: Service, seconds: float = DEADLINE) -> Any:
    """Make a call, with so much time for it."""
    return service.call("POST", PATH, time.monotonic() + seconds, DOCUMENT)


def cause_of(service: Service, seconds: float = DEADLINE) -> str:
    """Return the cause of a call that fails, having seen that nothing of what was sent or answered is in the error."""
    with pytest.raises(StoreUnavailableError) as caught:
        publish(service, seconds)
    gives_nothing_away(caught.value, SECRET)
    return caught.value.reason


def html(status: int) -> Reply:
    """Return an answer that is none of Google's."""
    return Reply(status, f"<p>{SECRET}".encode(), {"Content-Type": "text/html"})
