"""What tests/<adapter>/faults.py is made of: how a cloud's service fails, and the cause that a call gives for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from tests.support.loopback import Answering, Loopback, Reply, assert_no_leak, loopback

# In requests and answers of the tests; no error may show it.
SECRET = "the-words-that-nobody-may-see"

# Writes something by a deadline; True if the answer is the one to `Cloud.stored`.
Write = Callable[[float], bool]
# By name: an answer, or None for a connection that is closed without one; and the cause.
Answers = dict[str, tuple[Reply | None, str]]


@dataclass(frozen=True)
class Cloud:
    """One client of one service, against an HTTP server of the tests' own.

    Attributes:
        connect: Returns what writes to the server.
        stored: The service's answer to a write.
        retried: Answers that another attempt may change.
        final: Answers that it does not change, and those that only look like success.
        unreachable: The cause where nobody listens.
        silent: The cause where no answer comes in time.
        trust: Has clients that are made from now on trust a file of certificates; None if the client cannot be told.
        threads: How many connections the client keeps at least.
        secrets: What else no error may show.
    """

    connect: Callable[[Loopback, pytest.MonkeyPatch], Write]
    stored: Reply
    retried: Answers
    final: Answers
    unreachable: str
    silent: str
    trust: Callable[[str, pytest.MonkeyPatch], None] | None = None
    threads: int = 16
    secrets: tuple[str, ...] = field(default=(SECRET,))

    def cause_of(self, write: Write, seconds: float = DEADLINE) -> str:
        """Return the cause of a write that fails in time, and check that its error holds no secret."""
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError) as caught:
            write(started + seconds)
        assert time.monotonic() - started < max(seconds, 2)
        for secret in self.secrets:
            assert_no_leak(caught.value, secret)
        return caught.value.reason

    def refused(self, answering: Answering, monkeypatch: pytest.MonkeyPatch, seconds: float = DEADLINE) -> "Refused":
        """Write in vain to a server that answers so."""
        with loopback(answering) as server:
            write = self.connect(server, monkeypatch)
            return Refused(self.cause_of(write, seconds), server)


@dataclass(frozen=True)
class Refused:
    """Why a write failed, and the server that was asked."""

    cause: str
    server: Loopback
