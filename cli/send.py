"""Posts events as DT Cloud does, one request for each, and counts what comes back."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.text import Text

from cli import CommandError
from cli.bodies import Device, tampered
from cli.signing import Signer

# What DT Cloud gives an endpoint.
TIMEOUT = 10.0
# Shorter than the 5 s after which uvicorn closes an idle connection: a request must not meet a closing one.
_KEEPALIVE = 2.0
_SHOW_PROGRESS_AFTER = 1.0
_MAX_TITLE = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send.

    Attributes:
        url: Where to.
        signer: Signs.
        device: Makes the bodies.
        event_types: Which, in turn.
        count: How many of each.
        rate: Events per second; None goes as fast as the receiver answers.
        concurrency: How many requests are on their way at a time.
        duplicate: Whether each event is delivered a second time, signed again, once the first delivery is answered.
        tamper: Whether the body changes after it is signed.
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
        """How many requests that makes."""
        return len(self.event_types) * self.count * (2 if self.duplicate else 1)

    def expects(self, status: int | None, what: str) -> bool:
        """Return whether an answer is as it should be; a status of None is no answer.

        A 200 without an outcome is not the receiver's: where it is not there, some platforms answer so themselves.
        """
        return status == 401 if self.refused else status == 200 and what != ""


class Tally:
    """The answers so far; whole at any moment, so that an interrupted run has a summary too.

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
        """How many deliveries have ended, with an answer or without."""
        return self._answers.total()

    @property
    def is_as_expected(self) -> bool:
        """Whether there is an answer to each delivery, and each is as expected."""
        return self.count == self._plan.deliveries and all(self._plan.expects(*answer) for answer in self._answers)

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
            "url": self._plan.url,
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
        """Write the summary for a person."""
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
        """Return nearest-rank percentiles, in seconds; none without an answer."""
        ordered = sorted(self._latencies)
        ranks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        return {name: ordered[math.ceil(rank * len(ordered)) - 1] for name, rank in ranks.items() if ordered}


async def deliver(plan: Plan, tally: Tally, console: Console) -> None:
    """Send what ``plan`` says, counting in ``tally``, with a progress bar on a ``console`` that is a terminal.

    Raises:
        CommandError: No connection could be made; what came back before that is in the tally.
    """
    await _warm_up()
    limits = httpx.Limits(max_connections=plan.concurrency, keepalive_expiry=_KEEPALIVE)
    headers = {"Content-Type": "application/json", "User-Agent": "dtconn"}
    # Not through a proxy to this very machine, whatever HTTP_PROXY says.
    direct = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
    failure: BaseException | None = None
    try:
        async with (
            httpx.AsyncClient(limits=limits, headers=headers, mounts=direct, timeout=TIMEOUT) as client,
            asyncio.TaskGroup() as group,
        ):
            progress = group.create_task(_show_progress(plan, tally, console))
            events = _schedule(plan)
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(plan.concurrency, plan.deliveries)):
                    workers.create_task(_work(plan, tally, client, events))
            progress.cancel()
    except* (httpx.ConnectError, httpx.ConnectTimeout) as errors:
        failure = errors  # what is raised in here would come out as a group
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    if failure:
        raise CommandError(
            f"Cannot connect to {plan.url}: {str(failure) or 'no answer in time'}. Start the receiver with `make run`, "
            "in another terminal, or check the URL."
        )


def _schedule(plan: Plan) -> Iterator[tuple[float, str]]:
    """Yield when each event is due, in ``time.monotonic()`` seconds, and its type."""
    start = time.monotonic()
    every = 1 / plan.rate if plan.rate else 0.0
    names = (event_type for _ in range(plan.count) for event_type in plan.event_types)
    return ((start + index * every, name) for index, name in enumerate(names))


async def _work(plan: Plan, tally: Tally, client: httpx.AsyncClient, events: Iterator[tuple[float, str]]) -> None:
    """Send one event after another, of those that no other worker took."""
    for due, event_type in events:
        await asyncio.sleep(due - time.monotonic())
        body = plan.device.body(event_type, datetime.now(UTC))
        for _ in range(2 if plan.duplicate else 1):
            await _post(plan, tally, client, body)


async def _post(plan: Plan, tally: Tally, client: httpx.AsyncClient, body: bytes) -> None:
    headers = plan.signer.headers(body, time.time())
    content = tampered(body) if plan.tamper else body
    started = time.perf_counter()
    status = None
    try:
        # httpx limits each read and write; DT Cloud the whole.
        async with asyncio.timeout(TIMEOUT):
            answer = await client.post(plan.url, content=content, headers=headers)
        status, what = answer.status_code, _what(answer)
    except (httpx.ConnectError, httpx.ConnectTimeout):
        raise
    except (TimeoutError, httpx.RequestError) as error:
        what = type(error).__name__
    tally.add(status, what, time.perf_counter() - started)


def _what(answer: httpx.Response) -> str:
    """Return what the receiver calls the answer: an outcome, or the title of a problem; nothing if it is not ours."""
    text = answer.headers.get("event-outcome", "" if answer.is_success else None)
    if text is None:
        try:
            text = answer.json()["title"]
        except (ValueError, TypeError, LookupError, RecursionError):
            return ""
    return text[:_MAX_TITLE] if isinstance(text, str) and text.isprintable() else ""


async def _warm_up() -> None:
    """Have done with what httpx imports at its first connection: it would count as the receiver's time."""
    from anyio import connect_tcp, lowlevel  # noqa: F401

    await lowlevel.checkpoint()


async def _show_progress(plan: Plan, tally: Tally, console: Console) -> None:
    """Until cancelled. A short run shows none."""
    await asyncio.sleep(_SHOW_PROGRESS_AFTER)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=plan.deliveries)
        while True:
            progress.update(task, completed=tally.count)
            await asyncio.sleep(0.1)
