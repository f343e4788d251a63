"""One JSON line per request, to standard output, where every cloud picks it up.

Redacted by construction: a line is made of the fields below and nothing else. There is no way to hand it a body, a
header, a token, a label or the text of an exception.
"""

import json
import sys
import traceback
from typing import Literal, TextIO

from core.event import Event

Severity = Literal["INFO", "WARNING", "ERROR"]

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Log:
    """Writes lines.

    Args:
        stream: Where to; standard output by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def notice(self, severity: Severity, message: str) -> None:
        """Write a line that belongs to no request. ``message`` is a sentence of ours."""
        self._write(_encode({"severity": severity, "message": message}))

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
        error: BaseException | None = None,
    ) -> None:
        """Write the line of one request.

        Args:
            severity: INFO for what is meant to happen, WARNING for what is refused, ERROR for trouble of our own.
            outcome: ``stored``, ``duplicate``, ``dropped``, ``refused``, ``failed`` or ``health``.
            status: The status of the answer.
            seconds: How long it took.
            size: The length of the body, in bytes.
            reason: Why the event was not stored: one of `core.signature.REASONS`, a store's cause, and so on.
            event: The event, once the request was verified.
            error: The bug, if it met one: its class and the places it passed are written, never its text, which may
                quote data.
        """
        fields: dict[str, object] = {
            "severity": severity,
            "message": f"{outcome}: {reason}" if reason else outcome,
            "outcome": outcome,
            "status": status,
            "totalMs": round(seconds * 1000, 3),
            "bytes": size,
        }
        if reason:
            fields["reason"] = reason
        if event:
            fields["key"] = event.key
            fields["eventType"] = event.event_type
            fields["deviceId"] = event.device_id
            fields["projectId"] = event.project_id
            fields["signedBy"] = event.signed_by
            if event.timestamp:
                fields["ageSeconds"] = (event.received_at - event.timestamp).total_seconds()
            if event.expired_for:
                fields["expiredForSeconds"] = event.expired_for
            if event.fault:
                fields["unparsed"] = event.fault
            if event.note:
                fields["note"] = event.note
        if error:
            fields["traceback"] = _places(error)
        self._write(_encode(fields))

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # a full disk or a closed pipe under the log must not refuse an event that is stored


def _places(error: BaseException | None) -> list[str]:
    places = []
    while error:
        frames = traceback.extract_tb(error.__traceback__)
        places += [type(error).__name__, *(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)]
        error = error.__cause__ or error.__context__
    return places
