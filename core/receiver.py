"""Decides on each request: verify, parse, put, answer. The only code that chooses a status."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from core.drops import Drops
from core.environment import SettingsError
from core.event import Event, parse
from core.http import Request, Response, problem
from core.log import Log, Severity
from core.settings import Settings
from core.stores.contract import AsyncStore, Outcome, Store, StoreUnavailableError
from core.verify.keys import MAX_REFRESH, KeysNeeded, KeysUnavailableError
from core.verify.signature import SignatureError

if TYPE_CHECKING:
    import asyncio

# DT's time-out is 10 s; 2 of them are reserved for the network.
DEADLINE = 8.0
# DT's events measure 400 to 4,000 bytes.
MAX_BODY = 262_144
# The secrets and the published keys, each once per request.
_MAX_REFRESHES = 2


def _receipt(outcome: str) -> Response:
    """Build the acknowledgement. It has no body, which would be a second packet per event."""
    return Response(200, (("content-length", "0"), ("event-outcome", outcome)), b"")


# All 401 answers are the same; only the log says which check failed.
UNVERIFIED = problem(
    401,
    "unverified",
    "The request is not signed by DT Cloud for this receiver.",
    ("www-authenticate", "X-Dt-Signature"),
)
TOO_LARGE = problem(413, "too-large", f"The body is larger than {MAX_BODY} bytes.")
NOT_ALLOWED = problem(
    405, "method-not-allowed", "This is the endpoint of a Data Connector: it takes POST.", ("allow", "POST")
)
RETRY = ("retry-after", "8")
UNAVAILABLE = problem(503, "unavailable", "The event is not stored. Send it again.", RETRY)
# Without the rest of the body the connection cannot be reused.
GIVEN_UP = problem(
    503, "unavailable", "The body did not arrive in full. Send it again.", RETRY, ("connection", "close")
)
BUG = problem(500, "internal-error", "The event is not stored. Send it again.")
HEALTHY = _receipt("none")
# Not None, which a store may return by mistake.
_DROPPED = Outcome("dropped")
_RECEIPTS = {name: _receipt(name) for name in ("stored", "duplicate", "dropped")}


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer to a request that needs no store, and what the log says about it."""

    response: Response
    severity: Severity
    outcome: str
    reason: str | None = None


_HEALTH = _Answer(HEALTHY, "INFO", "health")
_METHOD = _Answer(NOT_ALLOWED, "INFO", "refused", "method")
_TOO_LARGE = _Answer(TOO_LARGE, "WARNING", "refused", "too_large")


class _Answering:
    """Answers that need neither settings nor a store.

    Args:
        log: Gets one line per request; standard output by default.
    """

    def __init__(self, log: Log | None = None) -> None:
        self.log = log or Log()

    def refuse(
        self,
        request: Request,
        response: Response,
        reason: str,
        started: float,
        severity: Severity = "WARNING",
        outcome: str = "refused",
    ) -> Response:
        """Log a request that an adapter refuses, and return ``response``.

        Args:
            request: The request, as far as known.
            response: The answer, such as a `core.http.problem`.
            reason: Why; for the log.
            started: ``time.monotonic()`` at its arrival.
            severity: WARNING, or ERROR if the fault is ours.
            outcome: ``refused``, or ``failed`` if the fault is ours.
        """
        self._write(severity, outcome, request, response, started, reason)
        return response

    def give_up(self, request: Request, reason: str, started: float) -> Response:
        """Answer 503 to a request without a complete body; arguments as above.

        Reasons: ``body_timeout``, ``too_many_bodies``, ``disconnected``.
        """
        return self.refuse(request, GIVEN_UP, reason, started, outcome="failed")

    def too_large(self, request: Request, started: float) -> Response:
        """Answer 413 to a request whose body exceeds the limit; arguments as above."""
        return self.refuse(request, TOO_LARGE, "too_large", started)

    def _guard(self, request: Request) -> _Answer | None:
        if request.method != "POST":
            return _HEALTH if request.method in ("GET", "HEAD") and request.path == "/healthz" else _METHOD
        return _TOO_LARGE if len(request.body) > MAX_BODY else None

    def _answer(self, request: Request, answer: _Answer, started: float) -> Response:
        self._write(answer.severity, answer.outcome, request, answer.response, started, answer.reason)
        return answer.response

    def _write(
        self,
        severity: Severity,
        outcome: str,
        request: Request,
        response: Response,
        started: float,
        reason: str | None = None,
        event: Event | None = None,
        note: str | None = None,
        error: Exception | None = None,
    ) -> None:
        self.log.request(
            severity,
            outcome,
            status=response.status,
            seconds=time.monotonic() - started,
            size=len(event.body if event else request.body),
            reason=reason,
            event=event,
            note=note,
            error=error,
        )


class UnconfiguredReceiver(_Answering):
    """Answers 503 to every delivery, because the environment is invalid. DT retries for 12 hours.

    Args:
        error: The faults, logged for each request.
        log: As above.
    """

    def __init__(self, error: SettingsError, log: Log | None = None) -> None:
        super().__init__(log)
        self.error = error

    def handle(self, request: Request, started: float | None = None) -> Response:
        """Answer one request; arguments as in `Receiver.handle`."""
        answer = self._guard(request) or _Answer(UNAVAILABLE, "ERROR", "failed", str(self.error))
        return self._answer(request, answer, time.monotonic() if started is None else started)


class AsyncUnconfiguredReceiver(UnconfiguredReceiver):
    """The same for an event loop."""

    async def handle(self, request: Request, started: float | None = None) -> Response:  # type: ignore[override]
        """Answer one request; arguments as in `Receiver.handle`."""
        return super().handle(request, started)


S = TypeVar("S")


class _Deciding(_Answering, Generic[S]):
    """The code that both receivers share: everything except blocking calls.

    Args:
        settings: What to accept.
        store: Stores the events.
        log: Gets one line per request; standard output by default.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, settings: Settings, store: S, log: Log | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(log)
        self._settings = settings
        self._store = store
        self._clock = clock
        self._drops = Drops(self.log)
        for warning in settings.warnings:
            self.log.notice("WARNING", warning)

    def _admit(self, request: Request) -> Event | _Answer | KeysNeeded:
        """Return a verified event, or the answer, or the keys to refresh first.

        Raises:
            SignatureError, KeysUnavailableError: The request is refused.
        """
        if answer := self._guard(request):
            return answer
        now = self._clock()
        verified = self._settings.verifier.verify(request, now)
        return verified if isinstance(verified, KeysNeeded) else parse(verified, datetime.fromtimestamp(now, UTC))

    def _report(self, fault: str | None) -> None:
        if fault:
            self.log.notice("ERROR", fault)

    def _is_wanted(self, event: Event) -> bool:
        """Return whether to store an event. An unknown type or project (None) is stored."""
        settings = self._settings
        return (
            settings.event_types is None or event.event_type is None or event.event_type in settings.event_types
        ) and (settings.projects is None or event.project_id is None or event.project_id in settings.projects)

    def _acknowledge(self, request: Request, event: Event, outcome: Outcome, started: float) -> Response:
        response, note = _RECEIPTS[outcome.name], outcome.note
        if outcome is _DROPPED:
            self._drops.add(event)
        self._write("WARNING" if note else "INFO", outcome.name, request, response, started, event=event, note=note)
        return response

    def _fail(self, request: Request, event: Event | None, error: Exception, started: float) -> Response:
        """Choose the answer to a request that is not acknowledged."""
        if isinstance(error, SignatureError):
            return self.refuse(request, UNVERIFIED, error.reason, started)
        if isinstance(error, StoreUnavailableError):
            self._write("ERROR", "failed", request, UNAVAILABLE, started, error.reason, event, error.note)
            return UNAVAILABLE
        if isinstance(error, KeysUnavailableError):
            return self.refuse(request, UNAVAILABLE, error.reason, started, "ERROR", "failed")
        self._write("ERROR", "failed", request, BUG, started, "bug", event, error=error)
        return BUG


def _check_refresh(refreshes: int, started: float) -> None:
    """Check that there is time for `core.verify.keys.Refreshable.refresh`, and limit the number of refreshes."""
    if refreshes > _MAX_REFRESHES:
        raise KeysUnavailableError("keys_unavailable: the keys change faster than they can be fetched.")
    if time.monotonic() > started + DEADLINE - MAX_REFRESH:
        raise KeysUnavailableError("keys_unavailable: the request took too long to arrive to fetch the keys.")


class Receiver(_Deciding[Store]):
    """Answers one request at a time on the caller's thread; safe to call from several threads."""

    def handle(self, request: Request, started: float | None = None) -> Response:
        """Answer one request, within `DEADLINE` seconds if the store respects it. Never raises an `Exception`.

        Args:
            request: The request.
            started: ``time.monotonic()`` at its arrival; by default now.
        """
        started = time.monotonic() if started is None else started
        event = None
        try:
            admitted, refreshes = self._admit(request), 0
            while isinstance(admitted, KeysNeeded):
                refreshes += 1
                _check_refresh(refreshes, started)
                self._report(admitted.source.refresh())
                admitted = self._admit(request)
            if not isinstance(admitted, Event):
                return self._answer(request, admitted, started)
            event = admitted
            outcome = self._store.put(event, started + DEADLINE) if self._is_wanted(event) else _DROPPED
            return self._acknowledge(request, event, outcome, started)
        except Exception as error:
            return self._fail(request, event, error, started)


def _result(put: "asyncio.Future[Outcome]") -> Outcome | Exception:
    if put.cancelled():
        return StoreUnavailableError("cancelled")
    error = put.exception()
    return put.result() if error is None else cast("Exception", error)


class AsyncReceiver(_Deciding[AsyncStore]):
    """The same for an event loop, which it never blocks: keys are fetched on another thread."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tasks: set[object] = set()

    def begin(self, request: Request, started: float, answer: Callable[[Response], object]) -> None:
        """Call ``answer`` with what `handle` returns, now or later, in the running event loop.

        Without a task, which would cost more than the verification, unless keys must be fetched or the store needs one.
        """
        try:
            admitted = self._admit(request)
        except Exception as error:
            answer(self._fail(request, None, error, started))
            return
        if isinstance(admitted, Event):
            if self._is_wanted(admitted):
                self._put(request, admitted, started, answer)
            else:
                answer(self._acknowledge(request, admitted, _DROPPED, started))
        elif isinstance(admitted, KeysNeeded):
            self._run(self.handle(request, started), lambda handling: answer(handling.result()))
        else:
            answer(self._answer(request, admitted, started))

    def _put(self, request: Request, event: Event, started: float, answer: Callable[[Response], object]) -> None:
        def finish(result: Outcome | Exception) -> None:
            try:
                if isinstance(result, Exception):
                    response = self._fail(request, event, result, started)
                else:
                    response = self._acknowledge(request, event, result, started)
            except Exception as error:
                response = self._fail(request, event, error, started)
            answer(response)

        try:
            if begin := getattr(self._store, "begin", None):
                begin(event, started + DEADLINE, finish)
            else:
                self._run(self._store.put(event, started + DEADLINE), lambda put: finish(_result(put)))
        except Exception as error:
            finish(error)

    def _run(self, awaitable: "Awaitable[Any]", done: "Callable[[asyncio.Future[Any]], object]") -> None:
        import asyncio

        running = asyncio.ensure_future(awaitable)
        self._tasks.add(running)  # the loop keeps no reference
        running.add_done_callback(self._tasks.discard)
        running.add_done_callback(done)

    async def handle(self, request: Request, started: float | None = None) -> Response:
        """Answer one request, as `Receiver.handle` does."""
        started = time.monotonic() if started is None else started
        event = None
        try:
            admitted, refreshes = self._admit(request), 0
            while isinstance(admitted, KeysNeeded):
                refreshes += 1
                _check_refresh(refreshes, started)
                import asyncio  # Imported here: a cold start without an event loop does not need it.

                self._report(await asyncio.to_thread(admitted.source.refresh))
                admitted = self._admit(request)
            if not isinstance(admitted, Event):
                return self._answer(request, admitted, started)
            event = admitted
            outcome = await self._store.put(event, started + DEADLINE) if self._is_wanted(event) else _DROPPED
            return self._acknowledge(request, event, outcome, started)
        except Exception as error:
            return self._fail(request, event, error, started)

    async def open(self) -> None:
        """Open the store before the first request.

        Raises:
            SettingsError: The store cannot be opened, and a retry would not help.
        """
        await self._store.open()

    async def close(self) -> None:
        """Finish open requests, and close the store."""
        await self._store.close()
