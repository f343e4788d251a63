"""The parts of tests/<adapter>/adapters.py: an adapter as its platform runs it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from core.http import Request
from tests.support.processes import Answer
from tests.support.proxy import Proxy


class Receiving(Protocol):
    """A receiver that runs."""

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Make one HTTP request."""
        ...

    def wait_for_lines(self, count: int) -> list[dict[str, Any]]:
        """Return the log lines once there are ``count``, without those of health checks."""
        ...

    def output(self) -> str:
        """Return all that it printed."""
        ...


@dataclass
class Adapter:
    """One receiver, and a look at what it stored.

    Attributes:
        receiving: The receiver.
        bodies: Reads the stored bodies, past the receiver.
        block: Takes the store away.
        unblock: Gives it back.
        proxies: What is between the receiver and its store.
        longest_header: The bytes of a header that the server before it lets through; of those that are tried.
        again: What is answered to a second copy: Service Bus drops one without a word.
    """

    receiving: Receiving
    bodies: Callable[[], list[bytes]]
    block: Callable[[], object]
    unblock: Callable[[], object]
    proxies: Sequence[Proxy] = ()
    longest_header: int = 102_400
    again: str = "duplicate"


Factory = Callable[[Mapping[str, str], Path, pytest.FixtureRequest], AbstractContextManager[Adapter]]
# How the headers and the body of one HTTP request become a `Request`.
FrontDoor = Callable[[list[tuple[str, str]], bytes], Request]


@dataclass(frozen=True)
class Campaign:
    """How a campaign runs on an adapter: `tests.campaign`.

    Attributes:
        adapter: Its name in `ADAPTERS`.
        throttled: What its service answers when it has no room; empty if a proxy cannot say it.
        threads: How many deliveries are on their way at once; 1 where an instance is given one at a time.
        is_unique: A queue that cannot refuse a second copy takes one when an answer is lost: decisions 5 and 18.
    """

    adapter: str
    throttled: bytes
    threads: int = 4
    is_unique: bool = True
