"""Log lines: traces, severities, hostile headers."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gcp_functions.main.function import DATABASE, FORGED, TRACE, at_once, function, post, raw
from tests.support.deliveries import fresh_body, hs256
from tests.support.google import Firestore
from tests.support.loopback import Call, Reply, loopback, success
from tests.support.processes import Program

# https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#LogSeverity
SEVERITIES = {"DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"}


def line_after(program: Program, act: Callable[[], object]) -> dict[str, Any]:
    """Return the log line of the request that ``act`` makes."""
    count = len(program.lines())
    act()
    lines = program.wait_for_lines(count + 1)
    assert len(lines) == count + 1
    return lines[-1]


FIELD = "logging.googleapis.com/trace"


@pytest.mark.parametrize("rest", ["", "/1", "/1;o=1", "/18446744073709551615;o=0"])
def test_log_line_has_the_trace_of_its_request(ready: Program, database: Firestore, rest: str) -> None:
    project = database.database.split("/")[1]
    line = line_after(ready, lambda: post(ready, X_Cloud_Trace_Context=TRACE + rest))
    assert line[FIELD] == f"projects/{project}/traces/{TRACE}"
    line = line_after(ready, lambda: post(ready, secret=FORGED, X_Cloud_Trace_Context=TRACE + rest))
    assert line[FIELD] == f"projects/{project}/traces/{TRACE}"
    # The next request, on the same thread or another, has no trace.
    assert FIELD not in line_after(ready, lambda: post(ready))


HOSTILE = {
    "empty": "",
    "too short": TRACE[:-1],
    "too long": TRACE + "0",
    "upper case": TRACE.upper(),
    "a quote": TRACE + '"',
    "a quote within": TRACE[:-1] + '"/1',
    "a member": TRACE[:-1] + '0","severity":"EMERGENCY',
    "a backslash": TRACE[:-1] + "\\/1",
    "a tab": TRACE + "\t/1",
    "other digits": TRACE[:-1] + "²/1",
    "another separator": TRACE + ";o=1",
    "two of them": f"{TRACE}, {TRACE}",
    "8 kB": TRACE * 250,
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_invalid_trace_header_is_not_logged(ready: Program, value: str) -> None:
    line = line_after(ready, lambda: post(ready, X_Cloud_Trace_Context=value))
    assert FIELD not in line
    assert (line["severity"], line["outcome"]) == ("INFO", "stored")


@pytest.mark.parametrize("value", [f"{TRACE}\r\n 1", f"{TRACE}\n1", f"{TRACE}\r1", TRACE * 313, f"{TRACE}\0"])
def test_invalid_header_is_refused_and_not_logged(ready: Program, value: str) -> None:
    """gunicorn refuses folded headers, and more than 8,190 bytes."""
    count = len(ready.lines())
    content = fresh_body()
    head = f"POST / HTTP/1.1\r\nHost: x\r\nX-Cloud-Trace-Context: {value}\r\nX-Dt-Signature: {hs256(content)}\r\n"
    answer = raw(ready, f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert len(ready.lines()) == count


def test_traces_of_concurrent_requests_do_not_mix(tmp_path: Path) -> None:
    under_way: list[Call] = []
    most = 0

    def slow(call: Call) -> Reply:
        nonlocal most
        under_way.append(call)
        most = max(most, len(under_way))
        time.sleep(0.1)
        under_way.remove(call)
        return success(name="n")

    traces = {f"{number:032x}": fresh_body() for number in range(40)}
    with loopback(slow) as server:
        environ = {"DT_STORE": "firestore", "DT_FIRESTORE": DATABASE, "FIRESTORE_EMULATOR_HOST": server.host}
        with function(tmp_path, **environ) as program:
            at_once(
                [
                    lambda trace=trace, content=content: post(program, content, X_Cloud_Trace_Context=f"{trace}/1")  # type: ignore[misc]
                    for trace, content in traces.items()
                ]
            )
            lines = program.wait_for_lines(40)
    # Concurrent requests, or there would be nothing to mix.
    assert most > 1
    found = {line["key"].partition(".")[0]: line[FIELD].rpartition("/")[2] for line in lines}
    assert found == {json.loads(content)["event"]["eventId"]: trace for trace, content in traces.items()}


def test_severities_are_those_of_cloud_logging(ready: Program) -> None:
    post(ready)
    post(ready, secret=FORGED)
    ready.request("PUT", "/")
    ready.wait_for_lines(3)
    found = {json.loads(line)["severity"] for line in ready.output().splitlines()}
    assert {"INFO", "WARNING"} <= found <= SEVERITIES
