"""Promise 7: no secret, token or body in a log line. A log failure never refuses an event."""

import io
import json
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.event import Event, parse
from core.log import Log
from core.verify.signature import Verified
from tests.support.deliveries import SECRET, body

ARRIVED = datetime(2024, 5, 29, 10, 34, 5, 220415, UTC)
EVENT_FIELDS = {
    "key": "cpbg96qngr7ai7ldarrg.temperature.emucdd6ef2eu277bo8f52vg",
    "eventType": "temperature",
    "deviceId": "emucdd6ef2eu277bo8f52vg",
    "projectId": "ccol8iuk9smqiha4e8l0",
    "signedBy": "hs256:0",
    "ageSeconds": 1.25,
}


def event(content: bytes = body(), signed_by: str = "hs256:0", expired_for: int = 0) -> Event:
    return parse(Verified(content, signed_by, expired_for), ARRIVED)


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def only_line(text: str) -> dict[str, Any]:
    assert text.isascii()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    line: dict[str, Any] = json.loads(text, object_pairs_hook=no_duplicates)
    return line


def written(severity: Any = "INFO", outcome: str = "stored", **fields: Any) -> dict[str, Any]:
    stream = io.StringIO()
    Log(stream).request(severity, outcome, **{"status": 200, "seconds": 0.0123456, "size": 518} | fields)
    return only_line(stream.getvalue())


def raised(
    error: BaseException, cause: BaseException | None = None, context: BaseException | None = None
) -> BaseException:
    """Return ``error`` raised through the functions below."""
    try:
        try:
            if context:
                raise context
        finally:
            raise error from cause
    except BaseException as caught:
        return caught


def test_line_of_a_request() -> None:
    assert written() == {
        "severity": "INFO",
        "message": "stored",
        "outcome": "stored",
        "status": 200,
        "totalMs": 12.346,
        "bytes": 518,
    }


def test_line_of_a_refused_request() -> None:
    assert written("WARNING", "refused", status=401, reason="checksum") == {
        "severity": "WARNING",
        "message": "refused: checksum",
        "outcome": "refused",
        "status": 401,
        "totalMs": 12.346,
        "bytes": 518,
        "reason": "checksum",
    }


BASE = written()


@pytest.mark.parametrize(
    ("told", "fields"),
    [
        (event(), EVENT_FIELDS),
        (event(signed_by="hs256:0+es256:k", expired_for=7), {"signedBy": "hs256:0+es256:k", "expiredForSeconds": 7}),
        (event(body(eventType="new")), {"eventType": "new", "unparsed": "unknown event type"}),
        (event(body(timestamp="2024-05-29T10:34:06.220415Z")), {"ageSeconds": -1}),
    ],
    ids=["plain", "grace", "unparsed", "from the future"],
)
def test_event_is_named_in_the_line(told: Event, fields: dict[str, Any]) -> None:
    assert written(event=told) == BASE | EVENT_FIELDS | {"key": told.key} | fields


def test_unparsed_event_has_null_fields() -> None:
    told = event(b"not JSON")
    nothing = {"eventType": None, "deviceId": None, "projectId": None}
    assert written(event=told) == BASE | nothing | {"key": told.key, "signedBy": "hs256:0", "unparsed": "not JSON"}


def test_log_line_with_all_fields() -> None:
    told = event(body(eventType="new"), expired_for=1)
    line = written(
        "ERROR", "failed", status=500, reason="bug", event=told, note="mark failed", error=raised(ValueError())
    )
    names = "severity message outcome status totalMs bytes reason key eventType deviceId projectId signedBy ageSeconds"
    assert list(line) == [*names.split(), "expiredForSeconds", "unparsed", "note", "traceback"]


def test_log_line_has_only_ids_of_the_body() -> None:
    line = json.dumps(written(event=event(), error=raised(ValueError(SECRET))))
    for private in ("Møterom", "lab", "targetName", "samples", "productNumber", SECRET):
        assert private not in line


def test_traceback_has_no_exception_text() -> None:
    error = raised(KeyError("private one"), ValueError("private two"))
    places = written(error=error)["traceback"]
    assert places[0] == "KeyError"
    assert re.fullmatch(re.escape(__file__) + r":\d+ raised", places[1])
    assert places[2:] == ["ValueError"]
    assert "private" not in json.dumps(places)


def test_traceback_has_the_cause_of_an_exception() -> None:
    places = written(error=raised(KeyError(), context=OSError("private")))["traceback"]
    assert [place for place in places if ":" not in place] == ["KeyError", "OSError"]
    places = written(error=raised(KeyError(), cause=TypeError(), context=OSError()))["traceback"]
    assert [place for place in places if ":" not in place] == ["KeyError", "TypeError"]


class Circular(Exception):
    """What ``raise error from error`` makes of an error: its own cause."""

    visits = 0

    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        self.visits += 1
        assert self.visits < 100, "the causes are followed without end"
        return self


def test_traceback_of_a_cause_cycle_ends() -> None:
    assert written(error=Circular())["traceback"].count("Circular") == 1


def test_notice() -> None:
    stream = io.StringIO()
    Log(stream).notice("WARNING", 'A "sentence"\nof øurs.')
    assert only_line(stream.getvalue()) == {"severity": "WARNING", "message": 'A "sentence"\nof øurs.'}


STRANGE = ['"', "\\", "\n", "\r", "\x00", "\x1b[31m", "\u2028", "é", "🌡", "\ud800", '","severity":"ERROR']


ODD_ERROR = type('Fël"\n🌡', (Exception,), {})


@pytest.mark.parametrize("text", STRANGE, ids=ascii)
def test_control_characters_are_escaped(text: str) -> None:
    told = event()
    told.event_type = told.device_id = told.project_id = told.fault = told.signed_by = text
    line = written(reason=text, event=told, note=text, error=raised(ODD_ERROR()))
    for name in ("reason", "note", "eventType", "deviceId", "projectId", "unparsed", "signedBy"):
        assert line[name] == text
    assert line["message"] == f"stored: {text}"
    assert line["severity"] == "INFO"
    assert line["traceback"][0] == ODD_ERROR.__name__


@given(st.text(st.characters()), st.binary())
def test_each_line_is_one_line_of_json(reason: str, content: bytes) -> None:
    line = written(reason=reason, event=event(content))
    assert line.get("reason", "") == reason


# The stream


def tell(log: Log) -> None:
    log.notice("INFO", "here")


def test_deferred_lines_are_written_once_together() -> None:
    stream, soon = io.StringIO(), list[Callable[[], None]]()
    log = Log(stream)
    log.defer(soon.append)
    for written_before in (0, 3):
        for _ in range(3):
            tell(log)
        assert (len(soon), stream.getvalue().count("\n")) == (1, written_before)
        soon.pop()()
    assert stream.getvalue().count("\n") == 6


def test_standard_output_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Log())
    assert only_line(capsys.readouterr().out)["message"] == "here"


def test_lost_lines_are_counted() -> None:
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        log = Log(stream)
        for _ in range(600):
            log.notice("INFO", "x" * 2000)
        data = b""
        while b"missing" not in data or not data.endswith(b"\n"):
            data += os.read(reader, 65_536)
    os.close(reader)
    last = json.loads(data.splitlines()[-1])
    assert (last["severity"], last["message"].split()[1:4]) == ("WARNING", ["lines", "of", "the"])


def test_missing_standard_output_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python makes it None where the descriptor is closed, as after ``>&-``."""
    monkeypatch.setattr(sys, "stdout", None)
    tell(Log())


def test_platform_adds_fields() -> None:
    stream = io.StringIO()
    log = Log(stream, lambda outcome: f',"metric":"{outcome}"')
    log.request("WARNING", "refused", status=401, seconds=0.001, size=3, reason="checksum")
    line = only_line(stream.getvalue())
    assert (line["metric"], line["outcome"], line["reason"]) == ("refused", "refused", "checksum")


def test_platform_writer_gets_request_lines_and_notices_go_to_the_stream() -> None:
    stream, lines = io.StringIO(), []
    log = Log(stream, write=lambda severity, line: lines.append((severity, line)))
    log.request("ERROR", "failed", status=500, seconds=0, size=0)
    log.notice("WARNING", "A notice.")
    [(severity, line)] = lines
    assert (severity, json.loads(line)["outcome"]) == ("ERROR", "failed")
    assert only_line(stream.getvalue())["message"] == "A notice."
