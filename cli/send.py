"""Posts events as DT Cloud does, one request for each, and counts the answers."""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.text import Text

from cli import CommandError
from cli.connectors.values import shown_url
from dt_cloud.bodies import Device, tampered
from dt_cloud.sender import Answer, Sender
from dt_cloud.signing import Signer

_SHOW_PROGRESS_AFTER = 1.0
_MAX_TITLE = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The events to send.

    Attributes:
        url: The receiver.
        signer: Signs the bodies.
        device: Creates the bodies.
        event_types: The types, in turn.
        count: The number of events of each type.
        rate: Events per second; None sends as fast as the receiver answers.
        concurrency: The number of concurrent requests.
        duplicate: Whether each event is delivered again, with a new signature, after the first answer.
        tamper: Whether the body is changed after signing.
        refused: Whether each delivery is expected to be refused: 401. Otherwise 200 is expected, with an outcome.
    """

    url: str
    signer: Signer
    device: Device
    event_types: Sequence[str]
    count: int = 1
    rate: float | None = None
    concurrency: int = 8
    duplicate: bool = False
    tamper: bool = False
    refused: bool = False

    @property
    def deliveries(self) -> int:
        """The number of requests."""
        return len(self.event_types) * self.count * (2 if self.duplicate else 1)

    def expects(self, status: int | None, what: str) -> bool:
        """Return whether an answer is as expected; a status of None means no answer.

        A 200 without an outcome is not from the receiver: some platforms answer 200 by themselves.
        """
        return status == 401 if self.refused else status == 200 and what != ""


class Tally:
    """The answers so far; consistent at any moment, so that an interrupted run has a summary too.

    Args:
        plan: What is being sent.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._answers: Counter[tuple[int | None, str]] = Counter()
        self._latencies: list[float] = []
        self._began = math.inf
        self._seconds = 0.0

    @property
    def count(self) -> int:
        """The number of finished deliveries, with or without an answer."""
        return self._answers.total()

    @property
    def is_as_expected(self) -> bool:
        """Whether every delivery has an answer, and every answer is as expected."""
        return self.count == self._plan.deliveries and all(self._plan.expects(*answer) for answer in self._answers)

    @property
    def is_refused(self) -> bool:
        """Whether a delivery was answered 401 that should not have been."""
        return not self._plan.refused and any(status == 401 for status, _ in self._answers)

    def add(self, status: int | None, what: str, seconds: float) -> None:
        """Count one delivery that took ``seconds``. ``status`` is None, and ``what`` says why, without an answer."""
        self._answers[status, what] += 1
        self._latencies.append(seconds)
        now = time.perf_counter()
        self._began = min(self._began, now - seconds)
        self._seconds = now - self._began

    def document(self) -> dict[str, Any]:
        """Return the summary for a script."""
        return {
            "url": shown_url(self._plan.url),
            "deviceId": self._plan.device.device_id,
            "deliveries": self._plan.deliveries,
            "answers": [
                {"status": status, "outcome": what, "count": count, "expected": self._plan.expects(status, what)}
                for (status, what), count in self._answers.most_common()
            ],
            "asExpected": self.is_as_expected,
            "seconds": round(self._seconds, 3),
            "eventsPerSecond": round(self.count / self._seconds, 1) if self._seconds else 0.0,
            "latencyMs": {name: round(seconds * 1000, 2) for name, seconds in self._percentiles().items()},
        }

    def show(self, console: Console) -> None:
        """Print the summary."""
        document = self.document()
        console.print(f"{self.count} of {self._plan.deliveries} deliveries from device {document['deviceId']}")
        for answer in document["answers"]:
            line = f"  {answer['count']:>6}  {answer['status'] or 'no answer:'} {answer['outcome']}"
            if answer["expected"]:
                console.print(Text(line, "green"))
            else:
                expected = "401" if self._plan.refused else "the receiver's 200"
                console.print(Text(f"{line}  (expected {expected})", "red"))
        if self.count:
            latencies = "  ".join(f"{name} {millis} ms" for name, millis in document["latencyMs"].items())
            console.print(f"{latencies}, {document['eventsPerSecond']} events/s")

    def _percentiles(self) -> dict[str, float]:
        """Return nearest-rank percentiles, in seconds; empty without answers."""
        ordered = sorted(self._latencies)
        ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        return {name: ordered[math.ceil(rank * len(ordered)) - 1] for name, rank in ranks.items() if ordered}


async def deliver(plan: Plan, tally: Tally, console: Console) -> None:
    """Send the events of ``plan``, count the answers in ``tally``; show a progress bar if ``console`` is a terminal.

    Raises:
        CommandError: No connection could be made; earlier answers are in the tally.
    """
    failure: BaseException | None = None
    sender = Sender("dtconn", plan.concurrency)
    try:
        async with asyncio.TaskGroup() as group:
            progress = group.create_task(_show_progress(plan, tally, console))
            events = _schedule(plan)
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(plan.concurrency, plan.deliveries)):
                    workers.create_task(_work(plan, tally, sender, events))
            progress.cancel()
    except* _RefusedError as errors:
        failure = errors  # an exception in here would become an exception group
    finally:
        await sender.close()
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if failure:
        raise CommandError(
            f"Cannot connect to {shown_url(plan.url)}: {failure}. Start the receiver with `make run`, in another "
            "terminal, or check the URL."
        )


class _RefusedError(Exception):
    """No connection could be made."""


def _schedule(plan: Plan) -> Iterator[tuple[float, str]]:
    """Yield each event's due time, in ``time.monotonic()`` seconds, and its type."""
    start = time.monotonic()
    every = 1 / plan.rate if plan.rate else 0.0
    names = (event_type for _ in range(plan.count) for event_type in plan.event_types)
    return ((start + index * every, name) for index, name in enumerate(names))


async def _work(plan: Plan, tally: Tally, sender: Sender, events: Iterator[tuple[float, str]]) -> None:
    """Send events one by one, from those that no other worker has taken."""
    for due, event_type in events:
        await asyncio.sleep(due - time.monotonic())
        body = plan.device.body(event_type, datetime.now(UTC))
        for _ in range(2 if plan.duplicate else 1):
            headers = plan.signer.headers(body, time.time())
            answer = await sender.post(plan.url, tampered(body) if plan.tamper else body, headers)
            if answer.is_refused:
                raise _RefusedError(answer.reason)
            tally.add(answer.status, answer.reason or outcome_of(answer), answer.seconds)


def outcome_of(answer: Answer) -> str:
    """Return an answer's outcome, or its problem title; an empty text if it is not from the receiver."""
    assert answer.status is not None
    text = answer.headers.get("event-outcome", "" if 200 <= answer.status < 300 else None)
    if text is None:
        try:
            text = json.loads(answer.body)["title"]
        except (ValueError, TypeError, LookupError, RecursionError):
            return ""
    return text[:_MAX_TITLE] if isinstance(text, str) and text.isprintable() else ""


async def _show_progress(plan: Plan, tally: Tally, console: Console) -> None:
    """Show the progress until cancelled. A short run shows none."""
    await asyncio.sleep(_SHOW_PROGRESS_AFTER)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=plan.deliveries)
        while True:
            progress.update(task, completed=tally.count)
            await asyncio.sleep(0.1)
