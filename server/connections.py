"""All connections of a server: how many there are, and how long each may wait."""

import asyncio
import time
from abc import abstractmethod

# Messages that have arrived in part, at most: 256 KiB of body each, and as much in a parser or a buffer.
MAX_UNFINISHED = 100
# At some 10 KB each.
MAX_CONNECTIONS = 4_000
# Descriptors for everything else: the database, the log, DT's keys.
_OTHER_DESCRIPTORS = 64
# Seconds until a connection is closed on which no request has begun.
SILENCE = 10.0
# Seconds between two looks at all connections.
_SWEEP = 0.25


class Connection(asyncio.Protocol):
    """What `Connections` knows of a connection.

    Attributes:
        since: ``time.monotonic()`` when its present state began.
        limit: The seconds that this state may last.
    """

    since: float
    limit: float

    @abstractmethod
    def expire(self) -> None:
        """End it: its state has lasted too long."""

    @abstractmethod
    def evict(self) -> None:
        """End it: there are too many others."""


class Connections:
    """Bounds what clients can hold without a signature.

    DT's events are one or two packets. So if there are too many connections, one that waits for a request is closed,
    the oldest first; and if too many messages are unfinished, the oldest is given up: it is not DT's.

    One timer for all checks them every quarter of a second: one timer for each request would cost more than parsing it.
    """

    def __init__(self) -> None:
        self._all: set[Connection] = set()
        # Each in the order in which its state began.
        self._idle: dict[Connection, None] = {}
        self._unfinished: dict[Connection, None] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._most = max(1, min(MAX_CONNECTIONS, _descriptors() - _OTHER_DESCRIPTORS))

    def add(self, connection: Connection) -> None:
        """Add a new connection, which is idle."""
        if len(self._all) >= self._most:
            oldest = next(iter(self._idle or self._unfinished or (connection,)))
            self._idle.pop(oldest, None)  # it may be closed after another one has come
            oldest.evict()
        self._all.add(connection)
        self.rest(connection, SILENCE)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP, self._sweep)

    def remove(self, connection: Connection) -> None:
        """Forget a closed connection."""
        self._all.discard(connection)
        self._idle.pop(connection, None)
        self._unfinished.pop(connection, None)

    def rest(self, connection: Connection, limit: float) -> None:
        """Note that a connection waits for a request, or for its client to close it, for ``limit`` seconds at most."""
        self._unfinished.pop(connection, None)
        self._idle[connection] = None
        connection.since, connection.limit = time.monotonic(), limit

    def begin(self, connection: Connection) -> float:
        """Note that a message begins; return ``time.monotonic()``."""
        self._idle.pop(connection, None)
        return time.monotonic()

    def wait(self, connection: Connection) -> None:
        """Note that a message has not arrived in full."""
        if connection not in self._unfinished:
            if len(self._unfinished) >= MAX_UNFINISHED:
                next(iter(self._unfinished)).evict()
            self._unfinished[connection] = None

    def complete(self, connection: Connection) -> None:
        """Note that a message has arrived."""
        self._unfinished.pop(connection, None)

    def _sweep(self) -> None:
        # First, so that nothing can end it.
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP, self._sweep) if self._all else None
        now = time.monotonic()
        for connection in [each for each in self._all if now - each.since > each.limit]:
            connection.expire()


def _descriptors() -> int:
    """Return how many files and sockets the process may have open, after raising that as far as is allowed."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return MAX_CONNECTIONS + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + _OTHER_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    raised = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return raised
