"""The queues of our stand-in for Service Bus: messages, their locks and their deliveries.

Each message that was stored is a line of one file, and what became of it a line of another, so that both outlive a
kill. Locks do not.
"""

import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEAD_LETTERS = "/$DeadLetterQueue"


@dataclass
class Stored:
    """A message.

    Attributes:
        sequence: Its sequence number.
        line: What was stored of it.
        queue: Where it is: a queue, or its dead letters.
        deliveries: How many deliveries failed.
        token: The token of its lock; empty if it is not locked.
        until: When the lock ends, as `time.time`.
    """

    sequence: int
    line: dict[str, Any]
    queue: str
    deliveries: int = 0
    token: str = ""
    until: float = 0


class Queues:
    """All queues.

    Args:
        path: The file of the messages; made if need be. The other one is beside it.
        lock: How long a lock lasts, in seconds.
        deliveries: After how many failed deliveries a message is a dead letter.
    """

    def __init__(self, path: Path, lock: float, deliveries: int) -> None:
        self._lock, self._deliveries = lock, deliveries
        self._messages: dict[int, Stored] = {}
        self._file, lines = _opened(path)
        self._seen = {(line["queue"], line["messageId"]) for line in lines}
        self._count = 0
        for line in lines:
            self._add(line)
        self._outcomes, outcomes = _opened(path.with_suffix(".outcomes"))
        for outcome in outcomes:
            self._apply(outcome["sequence"], outcome["outcome"])

    def store(self, line: dict[str, Any]) -> None:
        """Append a message, unless its queue had one with its id."""
        if (line["queue"], line["messageId"]) in self._seen:
            return
        self._seen.add((line["queue"], line["messageId"]))
        self._file(line)
        self._add(line)

    def take(self, queue: str) -> Stored | None:
        """Lock the first message that is not locked, and return it."""
        for message in self._of(queue):
            if not message.token:
                # 16 characters, because the SDK takes the tag of a delivery for the bytes of a UUID.
                message.token, message.until = secrets.token_hex(8), time.time() + self._lock
                return message
        return None

    def settle(self, token: str, outcome: str) -> bool:
        """Apply an outcome: ``accepted``, ``rejected``, ``released`` or ``modified``; False if the lock was lost."""
        message = self._locked(token)
        if message is None:
            return False
        self._record(message, outcome)
        return True

    def renew(self, token: str) -> float | None:
        """Lock a message anew, and return until when; None if the lock was lost."""
        message = self._locked(token)
        if message is None:
            return None
        message.until = time.time() + self._lock
        return message.until

    def peek(self, queue: str, first: int) -> Iterator[Stored]:
        """Yield the messages from a sequence number on, also the locked ones."""
        return (message for message in self._of(queue) if message.sequence >= first)

    def _of(self, queue: str) -> list[Stored]:
        now = time.time()
        for message in list(self._messages.values()):
            if message.token and message.until <= now:
                self._record(message, "modified")
        return [message for message in self._messages.values() if message.queue == queue]

    def _locked(self, token: str) -> Stored | None:
        now = time.time()
        return next((one for one in self._messages.values() if one.token == token and one.until > now), None)

    def _add(self, line: dict[str, Any]) -> None:
        self._count += 1
        self._messages[self._count] = Stored(self._count, line, line["queue"])

    def _record(self, message: Stored, outcome: str) -> None:
        self._outcomes({"sequence": message.sequence, "messageId": message.line["messageId"], "outcome": outcome})
        self._apply(message.sequence, outcome)

    def _apply(self, sequence: int, outcome: str) -> None:
        message = self._messages[sequence]
        message.token = ""
        message.deliveries += outcome == "modified"
        if outcome == "accepted":
            del self._messages[sequence]
        elif outcome == "rejected" or (outcome == "modified" and message.deliveries >= self._deliveries):
            message.queue = message.line["queue"] + DEAD_LETTERS
            message.deliveries = 0


def _opened(path: Path) -> tuple[Callable[[dict[str, Any]], None], list[dict[str, Any]]]:
    """Return what appends a line to a file, and the lines that it has."""
    file = path.open("a+b", buffering=0)
    file.seek(0)
    lines = [json.loads(line) for line in file.read().splitlines()]

    def append(line: dict[str, Any]) -> None:
        # One write, so that a kill leaves a whole line or none.
        file.write(json.dumps(line, default=str).encode() + b"\n")

    return append, lines
