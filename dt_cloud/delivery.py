"""The queue of each Data Connector: attempts, retries, expiry, and the end of it after five days of failures."""

import asyncio
import contextlib
import heapq
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from dt_cloud import ledger
from dt_cloud.attempt import Attempt, Courier, Delivery
from dt_cloud.choices import Choices
from dt_cloud.clock import Clock
from dt_cloud.connectors import ACTIVE, SYSTEM_DISABLED, Connector, Connectors
from dt_cloud.database import Database
from dt_cloud.events import Fields
from dt_cloud.faults import Faults
from dt_cloud.ledger import Ledger
from dt_cloud.loop import keep_running
from dt_cloud.metrics import Metrics
from dt_cloud.outcomes import Outcomes
from dt_cloud.sender import Answer
from dt_cloud.signing import Es256Key

# On the cloud's clock, in seconds.
LIFE = 12 * 3600.0
DISABLED_AFTER = 5 * 86_400.0
# No document names a limit; this one is for the machine's sake.
CONCURRENCY = 64
# Real seconds that attempts in progress get when the cloud is stopped.
_CLOSING = 0.5
# Real seconds after which a receiver that answered at once before counts as hanging.
_SILENCE = 1.0
# Real seconds between checks for deliveries that are too old, which expire even before their next attempt.
_EXPIRE_EVERY = 1.0


@dataclass(slots=True)
class _Queue:
    heap: list[tuple[float, int]] = field(default_factory=list)
    in_flight: set[int] = field(default_factory=set)
    # In progress when the queue was dropped: after a failure they are not repeated.
    dropped: set[int] = field(default_factory=set)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


_COLUMNS = "id, event, connector_id, device_id, event_id, event_type, body, published, attempts, signature"


class Deliverer:
    """Delivers the queued events, each until it is acknowledged, too old, or dropped.

    Args:
        database: Stores the queues.
        clock: Used for everything except deadlines, latencies and signatures.
        choices: Behaviour that the documents do not define.
        connectors: The URLs and secrets.
        books: Counts outcomes.
        metrics: Counts attempts.
        faults: The requested faults.
        key: Signs DT-Asymmetric-Signature.
        issuer: The issuer of that signature.
        organization: The organization id in that signature.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        choices: Choices,
        connectors: Connectors,
        books: Ledger,
        metrics: Metrics,
        faults: Faults,
        *,
        key: Es256Key | None,
        issuer: str,
        organization: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._choices = choices
        self._connectors = connectors
        self._ledger = books
        self._metrics = metrics
        self._courier = Courier(choices, faults, key, issuer, organization)
        self._queues: dict[str, _Queue] = {}
        self._attempts: set[asyncio.Task[None]] = set()
        self._outcomes = Outcomes(database, clock, connectors, books, metrics)
        self._expiring: asyncio.Task[None] | None = None
        self._is_open = False
        self.listeners: list[Callable[[Attempt], None]] = []
        # Per connector, since the start.
        self.last_attempts: dict[str, Attempt] = {}
        for connector_id, due, number in database.execute(
            "SELECT connector_id, due, id FROM deliveries WHERE state = 'waiting'"
        ):
            self._queue(connector_id).heap.append((due, number))
        for queue in self._queues.values():
            heapq.heapify(queue.heap)

    async def open(self) -> None:
        """Start delivering."""
        self._is_open = True
        for connector_id, queue in self._queues.items():
            queue.task = asyncio.create_task(keep_running(partial(self._run, connector_id, queue)))
        self._expiring = asyncio.create_task(keep_running(self._expire_for_ever))

    async def close(self) -> None:
        """Let the attempts in progress end, for at most `_CLOSING`, and store everything.

        Interrupted attempts are repeated after the next start.
        """
        self._is_open = False
        tasks = [queue.task for queue in self._queues.values() if queue.task]
        tasks += [self._expiring] if self._expiring else []
        for task in tasks:
            task.cancel()
        if self._attempts:
            await asyncio.wait(self._attempts, timeout=_CLOSING)
        for task in self._attempts:
            task.cancel()
        await asyncio.gather(*tasks, *self._attempts, return_exceptions=True)
        await self._courier.close()
        self._outcomes.close()

    # ---- queries and commands ----

    def waiting(self, connector_id: str | None = None) -> int:
        """Return the number of deliveries without an outcome in the ledger, including those in progress."""
        queues = [queue for each, queue in self._queues.items() if connector_id in (None, each)]
        return sum(len(queue.heap) + len(queue.in_flight) for queue in queues) + self._outcomes.finished(connector_id)

    def next_attempt(self, connector_id: str | None = None) -> float | None:
        """Return when the next attempt is due; None if no delivery is waiting."""
        queues = self._queues.values() if connector_id is None else [self._queue(connector_id)]
        return min((queue.heap[0][0] for queue in queues if queue.heap), default=None)

    def is_busy(self, connector_id: str) -> bool:
        """Return whether a connector has an attempt that is in progress, due, or not stored yet."""
        queue = self._queue(connector_id)
        is_due = bool(queue.heap) and queue.heap[0][0] <= self._clock.now()
        return bool(queue.in_flight) or is_due or self._outcomes.finished(connector_id) > 0

    def is_behind(self) -> bool:
        """Return whether a connector has more due deliveries than it can send at once, and its receiver answers.

        A receiver that hangs must not slow the clock down for all connectors.
        """
        now = self._clock.now()
        return any(
            queue.heap and queue.heap[0][0] < now and len(queue.in_flight) >= CONCURRENCY and self._is_answered(each)
            for each, queue in self._queues.items()
        )

    def _is_answered(self, connector_id: str) -> bool:
        last = self.last_attempts.get(connector_id)
        if last is None or last.answer.is_timeout:
            return False
        # The first attempts that hang end by the deadline only: until then, compare with how long the last answer took.
        silence = time.time() - last.sent - last.answer.seconds
        return silence <= _SILENCE + 2 * last.answer.seconds

    def enqueue(self, connector: Connector, event: int, document: Fields, body: bytes, due: float) -> int:
        """Store a delivery, in its event's transaction; call `start` after the commit.

        Args:
            connector: The connector.
            event: The event's number in the history.
            document: The event.
            body: The body of the request.
            due: The time of the first attempt.

        Returns:
            The delivery's number.
        """
        event_type = document["eventType"]
        self._ledger.add(connector.connector_id, event_type, ledger.PUBLISHED)
        number = self._database.execute(
            "INSERT INTO deliveries (event, connector_id, project_id, device_id, event_id, event_type, body, "
            "published, due, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting')",
            event, connector.connector_id, connector.project_id, document["targetName"].rpartition("/")[2],
            document["eventId"], event_type, body, self._clock.now(), due,
        ).lastrowid  # fmt: skip
        assert number is not None
        return number

    def start(self, connector_id: str, due: float, number: int) -> None:
        """Start delivering a stored delivery."""
        queue = self._queue(connector_id)
        heapq.heappush(queue.heap, (due, number))
        queue.wake.set()

    def drop(self, connector_id: str) -> None:
        """Drop the waiting deliveries of a disabled or deleted connector; attempts in progress may still arrive."""
        queue = self._queue(connector_id)
        self._give_up(connector_id, {number for _, number in queue.heap}, ledger.DROPPED)
        self._database.after_commit(lambda: queue.dropped.update(queue.in_flight))
        # If the connector is gone, so is its queue once nothing is under way.
        self._database.after_commit(queue.wake.set)

    def resend(self, number: int) -> bool:
        """Attempt a waiting delivery now; return False if it is not waiting."""
        row = self._database.execute("SELECT connector_id FROM deliveries WHERE id = ?", number).fetchone()
        queue = row and self._queues.get(row[0])
        found = queue and next((entry for entry in queue.heap if entry[1] == number), None)
        if not queue or not found:
            return False
        queue.heap[queue.heap.index(found)] = (0.0, number)
        heapq.heapify(queue.heap)
        queue.wake.set()
        return True

    def wake(self) -> None:
        """Check the clock again after a jump or a change of speed."""
        self._expire()
        for queue in self._queues.values():
            queue.wake.set()

    # ---- delivering ----

    def _queue(self, connector_id: str) -> _Queue:
        queue = self._queues.get(connector_id)
        if queue is None:
            queue = self._queues[connector_id] = _Queue()
            if self._is_open:
                queue.task = asyncio.create_task(keep_running(partial(self._run, connector_id, queue)))
        return queue

    async def _run(self, connector_id: str, queue: _Queue) -> None:
        while True:
            queue.wake.clear()
            wait: float | None = None
            while queue.heap and len(queue.in_flight) < CONCURRENCY:
                due, number = queue.heap[0]
                if (wait := self._clock.real_seconds(due)) > 0:
                    break
                heapq.heappop(queue.heap)
                try:
                    self._begin(connector_id, queue, number)
                except sqlite3.Error:
                    heapq.heappush(queue.heap, (due, number))
                    raise
                wait = None
            if not queue.heap and not queue.in_flight and self._connectors.get(connector_id) is None:
                self._forget(connector_id)
                return
            # While paused, this waits until `wake`.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(queue.wake.wait(), None if wait == float("inf") else wait)

    def _forget(self, connector_id: str) -> None:
        self._metrics.forget(connector_id)
        del self._queues[connector_id]
        self.last_attempts.pop(connector_id, None)

    def _begin(self, connector_id: str, queue: _Queue, number: int) -> None:
        # At speed 3,600, a retry comes before the commit of the previous attempt.
        if self._outcomes.has(number):
            self._outcomes.write()
        connector = self._connectors.get(connector_id)
        row = self._database.execute(f"SELECT {_COLUMNS} FROM deliveries WHERE id = ?", number).fetchone()  # noqa: S608
        if row is None:
            return
        if connector is None or connector.status != ACTIVE:
            self._outcomes.give_up(connector_id, [number], ledger.DROPPED)
            return
        delivery = Delivery(*row)
        if delivery.published + LIFE <= self._clock.now():
            self._outcomes.give_up(connector_id, [number], ledger.EXPIRED)
            return
        queue.in_flight.add(number)
        task = asyncio.create_task(self._attempt(connector, queue, delivery))
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    async def _attempt(self, connector: Connector, queue: _Queue, delivery: Delivery) -> None:
        started, sent = self._clock.now(), time.time()
        answer, note, headers = await self._courier.post(connector, delivery, sent)
        self._finish(connector, queue, delivery, started, sent, answer, note, headers)

    def _finish(
        self,
        connector: Connector,
        queue: _Queue,
        delivery: Delivery,
        started: float,
        sent: float,
        answer: Answer,
        note: str,
        headers: dict[str, str],
    ) -> None:
        now = self._clock.now()
        delivery.attempts += 1
        due, is_disabled = 0.0, False
        is_success = self._choices.is_success(answer.status)
        self._metrics.add(connector.connector_id, now, is_success, answer.seconds)
        is_current = connector.status == ACTIVE and delivery.id not in queue.dropped
        if is_success:
            state = ledger.DELIVERED
            connector.failing_since, connector.failures = None, 0
        else:
            connector.failures += 1
            if connector.failing_since is None:
                connector.failing_since = now
            is_disabled = is_current and now - connector.failing_since >= DISABLED_AFTER
            due = now + self._choices.retry_after(delivery.attempts, answer.seconds)
            state = "waiting" if is_current and not is_disabled else ledger.DROPPED
            if state == "waiting" and delivery.published + LIFE <= now:
                state = ledger.EXPIRED
        if state == "waiting":
            heapq.heappush(queue.heap, (due, delivery.id))
        queue.in_flight.discard(delivery.id)
        queue.dropped.discard(delivery.id)
        queue.wake.set()
        attempt = Attempt(
            delivery=delivery,
            state=state,
            due=due,
            started=started,
            sent=sent,
            answer=answer,
            note=note,
            headers=headers,
        )
        self._outcomes.add(attempt)
        self.last_attempts[connector.connector_id] = attempt
        for listen in self.listeners:
            listen(attempt)
        if is_disabled:
            connector.status = SYSTEM_DISABLED
            with self._database.transaction():
                self._connectors.save(connector)
                self.drop(connector.connector_id)

    # ---- expiring ----

    async def _expire_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_EVERY)
            self._expire()
            self._clock.keep()

    def _expire(self) -> None:
        """Expire deliveries older than `LIFE`, even before their next attempt."""
        too_old = self._clock.now() - LIFE
        rows = self._database.execute(
            "SELECT connector_id, id FROM deliveries WHERE state = 'waiting' AND published <= ?", too_old
        ).fetchall()
        by_connector: dict[str, set[int]] = {}
        for connector_id, number in rows:
            by_connector.setdefault(connector_id, set()).add(number)
        for connector_id, numbers in by_connector.items():
            waiting = {number for _, number in self._queue(connector_id).heap}
            self._give_up(connector_id, numbers & waiting, ledger.EXPIRED)

    def _give_up(self, connector_id: str, numbers: set[int], state: str) -> None:
        queue = self._queue(connector_id)

        def take_out() -> None:
            queue.heap = [entry for entry in queue.heap if entry[1] not in numbers]
            heapq.heapify(queue.heap)

        with self._database.transaction():
            self._outcomes.give_up(connector_id, sorted(numbers), state)
            self._database.after_commit(take_out)
