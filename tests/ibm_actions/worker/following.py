"""A worker on a thread, and what it does."""

import io
import json
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from core.environment import Environment
from core.event import Event, parse_stored, rfc3339
from core.log import Log
from ibm_actions.wiring import read_cloudant
from ibm_actions.worker import Worker, connect
from tests.support.deliveries import body

MONTH = timedelta(days=31)
NOW = datetime.now(UTC)


def event(event_id: str = "", at: datetime = NOW, value: float = 21.5) -> Event:
    """Return a temperature of this time."""
    data = {"temperature": {"value": value, "samples": [{"value": value, "sampleTime": rfc3339(at)}]}}
    content = body(eventId=event_id or os.urandom(8).hex(), timestamp=rfc3339(at), data=data)
    return parse_stored(content, datetime.now(UTC))


class Impatient(threading.Event):
    """To stop a worker by, and what it waits for in between: a hundredth of the time."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(timeout and timeout / 100)


def wait_until(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Following:
    """A worker on a thread of its own.

    Attributes:
        seen: The ids of the events that were processed, in order.
        log: What it wrote.
        thread: The thread.
        stopping: Set it to end it.
    """

    def __init__(
        self,
        environ: dict[str, str],
        prefix: str,
        name: str = "tests",
        since: datetime = NOW,
        process: Callable[[Event], object] = lambda _: None,
    ) -> None:
        self.seen: list[str | None] = []
        self.log = io.StringIO()
        self.stopping = Impatient()

        def keep(event: Event) -> None:
            process(event)
            self.seen.append(event.event_id)

        worker = Worker(connect(read_cloudant(Environment(environ))), prefix, name, keep, Log(self.log))
        self.thread = threading.Thread(target=worker.run, args=(since, self.stopping))
        self.thread.start()

    def messages(self) -> list[str]:
        return [json.loads(line)["message"] for line in self.log.getvalue().splitlines()]

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(20)
        assert not self.thread.is_alive()
