"""The decision: guard, verify, parse, put, answer. The only code that chooses a status."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Generic, Self, TypeVar, cast

from core.drops import Drops
from core.event import Event, parse
from core.http import Request, Response
from core.log import Log, Severity
from core.settings import Settings, SettingsError
from core.signature import MAX_REFRESH, KeysNeeded, KeysUnavailable, SignatureError
from core.store import AsyncStore, Outcome, Store, StoreUnavailable

# DT gives an endpoint 10 s; 2 of them are for the way here and back.
DEADLINE = 8.0
# DT's events measure 400 to 4,000 bytes.
MAX_BODY = 262_144


def _problem(status: int, name: str, title: str, *headers: tuple[str, str]) -> Response:
    """Build an RFC 9457 answer. Every 401 is the same one: which check failed is for the log."""
    document = {"type": f"urn:problem-type:data-connector:{name}", "title": title, "status": status}
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(
        status, (("content-type", "application/problem+json"), ("content-length", str(len(body))), *headers), body
    )


def _done(outcome: str) -> Response:
    """Build the answer that DT takes for a receipt. It has no body, which would be a second packet per event."""
    return Response(200, (("content-length", "0"), ("event-outcome", outcome)), b"")


UNVERIFIED = _problem(
    401,
    "unverified",
    "The request is not signed by DT Cloud for this receiver.",
    ("www-authenticate", "X-Dt-Signature"),
)
TOO_LARGE = _problem(413, "too-large", f"The body is larger than {MAX_BODY} bytes.")
NOT_ALLOWED = _problem(
    405, "method-not-allowed", "This is the endpoint of a Data Connector: it takes POST.", ("allow", "POST")
)
_RETRY = ("retry-after", "8")
UNAVAILABLE = _problem(503, "unavailable", "The event is not stored. Send it again.", _RETRY)
# Without the rest of the body the connection is of no more use.
GIVEN_UP = _problem(503, "unavailable", "The body did not come. Send it again.", _RETRY, ("connection", "close"))
BUG = _problem(500, "internal-error", "The event is not stored. Send it again.")
HEALTHY = _done("none")
_ACKNOWLEDGED = {outcome: (outcome.value, _done(outcome.value)) for outcome in Outcome}
_DROPPED = ("dropped", _done("dropped"))


class _Answered(Exception):
    """The request needs no store: here is its answer, and what the log says of it."""

    def __init__(self, response: Response, severity: Severity, outcome: str, reason: str | None = None) -> None:
        super().__init__(outcome)
        self.response = response
        self.severity = severity
        self.outcome = outcome
        self.reason = reason


S = TypeVar("S")


class _Decisions(Generic[S]):
    """All that the two receivers share, which is everything but the waiting.

    Args:
        settings: What to let in; or the error that kept it from being read, and then every delivery is answered 503.
        store: Where events go; None will do where there are no settings.
        log: Where the one line per request goes; standard output by default.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        settings: Settings | SettingsError,
        store: S | None,
        log: Log | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._store = cast(S, store)
        self._log = log or Log()
        self._clock = clock
        self._drops = Drops(self._log)
        for warning in settings.warnings if isinstance(settings, Settings) else ():
            self._log.notice("WARNING", warning)

    @classmethod
    def build(cls, load: Callable[[], tuple[Settings, S]], log: Log) -> Self:
        """Build a receiver where an exception would end the process, without a word to DT of why.

        Args:
            load: Reads the environment. Its `SettingsError` is answered 503 and logged, at each request.
            log: Where the lines go.
        """
        try:
            return cls(*load(), log)
        except SettingsError as error:
            return cls(error, None, log)

    def defer_log(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Have the log flushed as `core.log.Log.defer` says."""
        self._log.defer(call_soon)

    def _admit(self, request: Request) -> Event:
        """Return a verified event that is to be stored.

        Raises:
            _Answered, SignatureError, KeysNeeded, KeysUnavailable: It is not, or not yet.
        """
        if request.method != "POST":
            if request.method in ("GET", "HEAD") and request.path == "/healthz":
                raise _Answered(HEALTHY, "INFO", "health")
            raise _Answered(NOT_ALLOWED, "INFO", "refused", "method")
        if len(request.body) > MAX_BODY:
            raise _Answered(TOO_LARGE, "WARNING", "refused", "too_large")
        settings = self._settings
        if isinstance(settings, SettingsError):
            raise _Answered(UNAVAILABLE, "ERROR", "failed", str(settings))
        now = self._clock()
        return parse(settings.verifier.verify(request, now), datetime.fromtimestamp(now, UTC))

    def _is_wanted(self, event: Event) -> bool:
        """Tell whether to store an event. Only what is known to be unwanted is dropped: None is not known."""
        settings = cast(Settings, self._settings)
        return (
            settings.event_types is None or event.event_type is None or event.event_type in settings.event_types
        ) and (settings.projects is None or event.project_id is None or event.project_id in settings.projects)

    def _acknowledge(self, request: Request, event: Event, outcome: Outcome | None, started: float) -> Response:
        name, response = _ACKNOWLEDGED[outcome] if outcome else _DROPPED
        if outcome is None:
            self._drops.add(event)
        severity: Severity = "WARNING" if event.note else "INFO"
        self._write(severity, name, request, response, started, event=event)
        return response

    def _refuse(self, request: Request, event: Event | None, error: Exception, started: float) -> Response:
        """Choose the answer of a request that is not acknowledged."""
        if isinstance(error, SignatureError):
            self._write("WARNING", "refused", request, UNVERIFIED, started, reason=error.reason)
            return UNVERIFIED
        if isinstance(error, StoreUnavailable):
            self._write("ERROR", "failed", request, UNAVAILABLE, started, reason=error.cause, event=event)
            return UNAVAILABLE
        if isinstance(error, _Answered):
            self._write(error.severity, error.outcome, request, error.response, started, reason=error.reason)
            return error.response
        if isinstance(error, KeysUnavailable):
            self._write("ERROR", "failed", request, UNAVAILABLE, started, reason=error.reason)
            return UNAVAILABLE
        self._write("ERROR", "failed", request, BUG, started, reason="bug", event=event, error=error)
        return BUG

    def give_up(self, request: Request, reason: str, started: float) -> Response:
        """Answer a request whose body did not come, or not in time: 503.

        Args:
            request: What there is of it.
            reason: ``body_timeout``, ``too_many_bodies`` or ``disconnected``.
            started: ``time.monotonic()`` at its arrival.
        """
        self._write("WARNING", "failed", request, GIVEN_UP, started, reason=reason)
        return GIVEN_UP

    def too_large(self, request: Request, started: float) -> Response:
        """Answer a request whose body is too large to be read: 413; arguments as above."""
        self._write("WARNING", "refused", request, TOO_LARGE, started, reason="too_large")
        return TOO_LARGE

    def misconfigured(self, request: Request, advice: str, started: float) -> Response:
        """Answer a request that the platform has spoiled, because of how it is set up: 503.

        Args:
            request: What there is of it.
            advice: What to set; a sentence of ours, for the log and, since no secret is in it, for the answer.
            started: As above.
        """
        response = _problem(503, "misconfigured", advice, _RETRY)
        self._write("ERROR", "failed", request, response, started, reason=advice)
        return response

    def wrong_address(self, request: Request, advice: str, started: float) -> Response:
        """Answer a request at an address that must never pass for the endpoint: 404.

        Args:
            request: What there is of it.
            advice: Where the endpoint is; a sentence of ours, for the log and for the answer.
            started: As above.
        """
        response = _problem(404, "wrong-address", advice)
        self._write("WARNING", "refused", request, response, started, reason=advice)
        return response

    def length_required(self, request: Request, advice: str, started: float) -> Response:
        """Answer a request whose body the platform withholds because its length was not given: 411.

        Args:
            request: What there is of it.
            advice: What to send; a sentence of ours, for the log and for the answer.
            started: As above.
        """
        response = _problem(411, "length-required", advice)
        self._write("WARNING", "refused", request, response, started, reason=advice)
        return response

    def crashed(self, error: BaseException) -> Response:
        """Answer a request that something has ended which is no `Exception`: 500."""
        self._log.notice("ERROR", f"{type(error).__name__} ended a request.")
        return BUG

    def _write(
        self,
        severity: Severity,
        outcome: str,
        request: Request,
        response: Response,
        started: float,
        reason: str | None = None,
        event: Event | None = None,
        error: Exception | None = None,
    ) -> None:
        self._log.request(
            severity,
            outcome,
            status=response.status,
            seconds=time.monotonic() - started,
            size=len(request.body),
            reason=reason,
            event=event,
            error=error,
        )


def _check_time(started: float) -> None:
    """See that there is time for `core.signature.Refreshable.refresh`."""
    if time.monotonic() > started + DEADLINE - MAX_REFRESH:
        raise KeysUnavailable("keys_unavailable: the request came too slowly for a fetch of keys.")


class Receiver(_Decisions[Store]):
    """Answers one request at a time on the caller's thread; safe to call from several threads."""

    def handle(self, request: Request, started: float | None = None) -> Response:
        """Answer one request, within `DEADLINE` seconds if the store keeps to it. Never raises an `Exception`.

        Args:
            request: The request.
            started: ``time.monotonic()`` at its arrival; now if its body took no time to come.
        """
        started = time.monotonic() if started is None else started
        event = None
        try:
            while event is None:
                try:
                    event = self._admit(request)
                except KeysNeeded as needed:  # at most once for each source
                    _check_time(started)
                    needed.source.refresh()
            outcome = self._store.put(event, started + DEADLINE) if self._is_wanted(event) else None
        except Exception as error:
            return self._refuse(request, event, error, started)
        return self._acknowledge(request, event, outcome, started)


class AsyncReceiver(_Decisions[AsyncStore]):
    """The same for an event loop, which it never blocks: keys are fetched on another thread."""

    async def handle(self, request: Request, started: float | None = None) -> Response:
        """Answer one request, as `Receiver.handle` does."""
        started = time.monotonic() if started is None else started
        event = None
        try:
            while event is None:
                try:
                    event = self._admit(request)
                except KeysNeeded as needed:
                    _check_time(started)
                    import asyncio  # here, because a cold start that has no event loop should not wait for it

                    await asyncio.to_thread(needed.source.refresh)
            outcome = await self._store.put(event, started + DEADLINE) if self._is_wanted(event) else None
        except Exception as error:
            return self._refuse(request, event, error, started)
        return self._acknowledge(request, event, outcome, started)
