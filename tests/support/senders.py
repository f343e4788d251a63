"""Senders that do what DT Cloud does while a server dies or its store is away, and what has to come of it."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from http.client import HTTPException
from typing import Protocol

from tests.support.deliveries import fresh_body, signed
from tests.support.processes import Answer, Program

SENDERS = 4
# Seconds for which a store is away.
AWAY = 4.0


class Server(Protocol):
    """What an event is sent to."""

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Make one request."""
        ...


class Sender:
    """Sends one event after the other, and each until it is acknowledged.

    Attributes:
        acknowledged: The bodies that were answered 200, in that order.
        waiting: The one that is on its way, or has to be sent again.
        refused: How many answers were 503.
        odd: The answers that were neither.
    """

    def __init__(self) -> None:
        self.acknowledged: list[bytes] = []
        self.waiting: bytes | None = None
        self.refused = 0
        self.odd: list[int] = []

    def send(self, server: Server) -> int:
        """Send what waits, or else a fresh event; return the answer's status."""
        self.waiting = self.waiting or fresh_body()
        status = server.request("POST", "/events", signed(self.waiting), self.waiting).status
        if status == 200:
            self.acknowledged.append(self.waiting)
            self.waiting = None
        elif status == 503:
            self.refused += 1
        else:
            self.odd.append(status)
        return status


@contextmanager
def sending(server: Callable[[], Server]) -> Iterator[list[Sender]]:
    """Send at the same time, to whatever server there is at the moment, as long as the block lasts."""
    is_over = threading.Event()

    def run(sender: Sender) -> None:
        while not is_over.is_set():
            try:
                sender.send(server())
            except (OSError, HTTPException):  # it is dead, or dies
                time.sleep(0.002)

    senders = [Sender() for _ in range(SENDERS)]
    threads = [threading.Thread(target=run, args=(sender,)) for sender in senders]
    for thread in threads:
        thread.start()
    try:
        yield senders
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def kill_often(
    start: Callable[[], AbstractContextManager[Program]],
    kill: Callable[[Program], object],
    times: int,
    within: float = 0.3,
) -> list[Sender]:
    """Send to a program that dies at random moments and is started again; return the senders when it is over.

    Args:
        start: Gives the program, ready.
        kill: Kills it.
        times: How often.
        within: The seconds that it lives at most.
    """
    programs: list[Program] = []
    begun = threading.Event()

    def current() -> Program:
        begun.wait()
        return programs[-1]

    with sending(current) as senders:
        try:
            for _ in range(times):
                with start() as program:
                    programs.append(program)
                    begun.set()
                    time.sleep(random.uniform(0.0, within))
                    kill(program)
                    program.process.wait()
        finally:
            begun.set()
    return senders


def away(senders: list[Sender], goes: Callable[[], object], comes: Callable[[], object]) -> None:
    """Take the store away under load, and give it back: meanwhile nothing is acknowledged, and then all goes on."""
    wait_for(senders, 50)
    goes()
    time.sleep(0.2)  # what was answered already is counted
    before = acknowledged_by(senders)
    time.sleep(AWAY)
    assert acknowledged_by(senders) == before
    comes()
    wait_for(senders, before + 50)


def acknowledged_by(senders: list[Sender]) -> int:
    """Return how many events are acknowledged."""
    return sum(len(sender.acknowledged) for sender in senders)


def wait_for(senders: list[Sender], count: int) -> None:
    """Return once so many events are acknowledged."""
    deadline = time.monotonic() + 20
    while acknowledged_by(senders) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def outcome(senders: list[Sender], stored: list[bytes]) -> tuple[int, int]:
    """Return how many events were acknowledged and how many copies there are too many; no event may be missing."""
    acknowledged = {content for sender in senders for content in sender.acknowledged}
    waiting = {sender.waiting for sender in senders if sender.waiting}
    copies = Counter(stored)
    assert acknowledged <= copies.keys()
    # What was on its way at the end may be there too.
    assert copies.keys() <= acknowledged | waiting
    assert [sender.odd for sender in senders] == [[]] * len(senders)
    return len(acknowledged), copies.total() - len(copies)
