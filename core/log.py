"""One JSON line per request, to standard output, where every cloud picks it up.

Redacted by construction: a line has only the fields below. No parameter takes a body, a header, a token, a label or the
text of an exception.
"""

import json
import sys
import traceback
from collections.abc import Callable
from typing import Literal, TextIO

from core.event import Event
from core.lines import Lines

Severity = Literal["INFO", "WARNING", "ERROR"]

# Heroku cuts a line at 10,000 bytes.
_MAX_PLACES = 40

# The string encoder of json.dumps.
_quote = json.encoder.encode_basestring_ascii


class Log:
    """Writes lines.

    Args:
        stream: The target; standard output by default.
        extra_fields: Called with the outcome of a request; returns more fields of its line, as JSON with a leading
            comma, such as a platform's metrics.
        write: Called instead of writing to ``stream``, with the severity and the line.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        extra_fields: Callable[[str], str] | None = None,
        write: Callable[[Severity, str], None] | None = None,
    ) -> None:
        self._lines = Lines(stream or sys.stdout, _dropped)
        self._extra_fields = extra_fields
        self._write_request = write or self._write
        self._defer: Callable[[Callable[[], None]], object] | None = None
        self._deferred: list[str] = []

    def defer(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Write in ``call_soon`` instead of at each line, so that many lines of one loop iteration share one write."""
        self._defer = call_soon

    def notice(self, severity: Severity, message: str) -> None:
        """Write a line that belongs to no request. ``message`` is a constant sentence."""
        self._write(severity, _notice(severity, message))

    def request(
        self,
        severity: Severity,
        outcome: str,
        *,
        status: int,
        seconds: float,
        size: int,
        reason: str | None = None,
        event: Event | None = None,
        note: str | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Write the line of one request.

        Args:
            severity: INFO for normal operation, WARNING for refused requests, ERROR for our own faults.
            outcome: ``stored``, ``duplicate``, ``dropped``, ``refused``, ``failed`` or ``health``.
            status: The status of the answer.
            seconds: How long it took.
            size: The length of the body, in bytes.
            reason: Why the event was not stored: one of `core.verify.signature.REASONS`, a store's reason, and so on.
            event: The event, once the request was verified.
            note: A remark by the store.
            error: An unexpected exception: its class and source lines are written, never its text, which may quote
                data.
        """
        # Concatenated: json.dumps takes five times as long.
        message = _quote(f"{outcome}: {reason}") if reason else f'"{outcome}"'
        line = (
            f'{{"severity":"{severity}","message":{message},"outcome":"{outcome}","status":{status}'
            f',"totalMs":{seconds * 1000:.3f},"bytes":{size}'
        )
        if reason:
            line += f',"reason":{_quote(reason)}'
        if event:
            line += (
                f',"key":"{event.key}","eventType":{_quoted(event.event_type)},"deviceId":{_quoted(event.device_id)}'
                f',"projectId":{_quoted(event.project_id)},"signedBy":{_quote(event.signed_by)}'
            )
            if event.timestamp:
                line += f',"ageSeconds":{(event.received_at - event.timestamp).total_seconds():.3f}'
            if event.expired_for:
                line += f',"expiredForSeconds":{event.expired_for}'
            if event.fault:
                line += f',"unparsed":{_quote(event.fault)}'
        if note:
            line += f',"note":{_quote(note)}'
        if error:
            line += f',"traceback":{json.dumps(_places(error))}'
        if self._extra_fields:
            line += self._extra_fields(outcome)
        self._write_request(severity, line + "}")

    def _write(self, _severity: Severity, line: str) -> None:
        if self._defer is None:
            self._lines.write(line + "\n")
            return
        self._deferred.append(line)
        if len(self._deferred) == 1:
            self._defer(self._write_deferred)

    def _write_deferred(self) -> None:
        lines, self._deferred = self._deferred, []
        self._lines.write("\n".join(lines) + "\n")


def _notice(severity: Severity, message: str) -> str:
    return f'{{"severity":"{severity}","message":{_quote(message)}}}'


def _dropped(lines: int) -> str:
    return _notice("WARNING", f"{lines} lines of the log are missing here: nobody read it.") + "\n"


def _quoted(text: str | None) -> str:
    return _quote(text) if text else "null"


def _places(error: BaseException | None) -> list[str]:
    places: list[str] = []
    seen: set[int] = set()  # an error may be its own cause
    while error and id(error) not in seen:
        seen.add(id(error))
        frames = traceback.extract_tb(error.__traceback__)
        places += [type(error).__name__, *(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)]
        error = error.__cause__ or error.__context__
    return places[:_MAX_PLACES]
