"""The function as Google Cloud runs it: functions-framework in a subprocess, by gunicorn with threads."""

import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.support.deliveries import SECRET, body, fresh_body, hs256, signed
from tests.support.google import Emulator, Firestore, PubSub
from tests.support.loopback import Call, Reply, loopback, success
from tests.support.processes import ROOT, Answer, Program, running

FORGED = "a forger's secret, as long as it should be"
STORED, DUPLICATE = (200, "stored"), (200, "duplicate")
# https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry#LogSeverity
SEVERITIES = {"DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"}


def function(folder: Path, **environ: str | None) -> AbstractContextManager[Program]:
    """Start the function with only these variables; None leaves a default out."""
    usual: dict[str, str | None] = {
        "FUNCTION_SOURCE": str(ROOT / "gcp_functions" / "main.py"),
        "FUNCTION_TARGET": "receive",
        "DT_SIGNATURE_SECRET": SECRET,
        # Without credentials, and without a look-up of the metadata server.
        "HOME": str(folder),
        "NO_GCE_CHECK": "true",
    }
    given = {name: value for name, value in (usual | environ).items() if value is not None}
    return running("functions_framework", given, folder)


def post(program: Program, content: bytes | None = None, secret: str = SECRET, **headers: str) -> Answer:
    content = fresh_body() if content is None else content
    head = {"Content-Type": "application/json", "X-Dt-Signature": hs256(content, secret)}
    return program.request(
        "POST", "/", head | {name.replace("_", "-"): value for name, value in headers.items()}, content
    )


def outcome(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.headers.get("event-outcome")


def problem(answer: Answer) -> tuple[int, str]:
    """Return the status and the type of a problem document, which Flask itself never sends."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, json.loads(answer.body)["type"].rsplit(":", 1)[1]


def at_once(programs: list[Callable[[], object]]) -> None:
    """Run each on its own thread, concurrently."""
    begin = threading.Barrier(len(programs))

    def run(program: Callable[[], object]) -> None:
        begin.wait()
        program()

    threads = [threading.Thread(target=run, args=(program,)) for program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Settings.

TOPIC, DATABASE = "projects/p/topics/t", "projects/p/databases/d"
WRONG: dict[str, tuple[dict[str, str | None], str]] = {
    "no topic": ({"DT_TOPIC": None}, "DT_TOPIC"),
    "empty topic": ({"DT_TOPIC": ""}, "DT_TOPIC"),
    "a topic's short name": ({"DT_TOPIC": "t"}, "DT_TOPIC"),
    "a topic with more": ({"DT_TOPIC": f"{TOPIC}/x"}, "DT_TOPIC"),
    "no database": ({"DT_FIRESTORE": None}, "DT_FIRESTORE"),
    "a database's short name": ({"DT_STORE": "firestore", "DT_FIRESTORE": "(default)"}, "DT_FIRESTORE"),
    "another store": ({"DT_STORE": "bigtable"}, "DT_STORE"),
    "another order": ({"DT_ORDERING": "project"}, "DT_ORDERING"),
    "other keys": ({"DT_SEEN_KEYS": "redis"}, "DT_SEEN_KEYS"),
    "days in words": ({"DT_KEEP_DAYS": "two"}, "DT_KEEP_DAYS"),
    "days without end": ({"DT_STORE": "firestore", "DT_KEEP_DAYS": "10000"}, "DT_KEEP_DAYS"),
    "no secret": ({"DT_SIGNATURE_SECRET": None}, "DT_SIGNATURE_SECRET"),
    "empty secret": ({"DT_SIGNATURE_SECRET": ""}, "DT_SIGNATURE_SECRET"),
    "nobody is logged in": ({"PUBSUB_EMULATOR_HOST": None}, "credentials"),
}


@pytest.mark.parametrize(("changes", "variable"), WRONG.values(), ids=WRONG.keys())
def test_invalid_settings_are_reported_at_each_delivery(
    changes: dict[str, str | None], variable: str, tmp_path: Path
) -> None:
    """An exception at the start would stop the container, and no answer would say why."""
    host = "127.0.0.1:9"
    environ: dict[str, str | None] = {
        "DT_TOPIC": TOPIC,
        "DT_FIRESTORE": DATABASE,
        "PUBSUB_EMULATOR_HOST": host,
        "FIRESTORE_EMULATOR_HOST": host,
    }
    with function(tmp_path, **environ | changes) as program:
        for count in (1, 2):
            answer = post(program)
            assert problem(answer) == (503, "unavailable")
            assert variable.encode() not in answer.body
            lines = program.wait_for_lines(count)
            assert len(lines) == count
            assert (lines[-1]["severity"], lines[-1]["outcome"]) == ("ERROR", "failed")
            assert re.search(rf"\b{variable}\b", lines[-1]["reason"])
            assert lines[-1]["message"].endswith(".")
        assert program.request("GET", "/healthz").status == 200
        assert program.request("GET", "/").status == 405
        assert SECRET not in program.output()


def test_firestore_is_not_needed_without_seen_keys(pubsub: Emulator, tmp_path: Path) -> None:
    """Neither its name, nor its emulator, nor credentials."""
    topic, content = PubSub(pubsub.host), fresh_body()
    environ = {"DT_TOPIC": topic.topic, "DT_SEEN_KEYS": "none", "PUBSUB_EMULATOR_HOST": pubsub.host}
    with function(tmp_path, **environ) as program:
        assert [outcome(post(program, content)) for _ in range(2)] == [STORED] * 2
    messages = topic.messages()
    assert [message["body"] for message in messages] == [content] * 2
    assert len({message["key"] for message in messages}) == 1
    assert "orderingKey" not in messages[0]


def test_ordering_setting_sets_the_ordering_key(pubsub: Emulator, tmp_path: Path) -> None:
    topic = PubSub(pubsub.host)
    environ = {"DT_TOPIC": topic.topic, "DT_SEEN_KEYS": "none", "PUBSUB_EMULATOR_HOST": pubsub.host}
    with function(tmp_path, **environ, DT_ORDERING="device") as program:
        assert outcome(post(program)) == STORED
    [message] = topic.messages()
    assert message["orderingKey"] == message["deviceId"]


@pytest.mark.parametrize("days", ["0", "3", ""])
def test_keep_days_sets_the_expiry_of_events_and_seen_keys(
    days: str, pubsub: Emulator, firestore: Emulator, tmp_path: Path
) -> None:
    database, topic = Firestore(firestore.host), PubSub(pubsub.host)
    environ = {"DT_FIRESTORE": database.database, "FIRESTORE_EMULATOR_HOST": firestore.host, "DT_KEEP_DAYS": days}
    with function(tmp_path, **environ, DT_STORE="firestore") as program:
        assert outcome(post(program)) == STORED
    with function(tmp_path, **environ, DT_TOPIC=topic.topic, PUBSUB_EMULATOR_HOST=pubsub.host) as program:
        assert outcome(post(program)) == STORED
    for collection in ("events", "seenKeys"):
        [found] = database.documents(collection)
        if days == "0":
            assert "expiresAt" not in found
        else:
            lives = datetime.fromisoformat(found["expiresAt"]) - datetime.now(UTC)
            assert abs(lives.total_seconds() - int(days or "365") * 86_400) < 60


# One server for those that can share it.


@pytest.fixture(scope="module")
def database(firestore: Emulator) -> Firestore:
    return Firestore(firestore.host)


@pytest.fixture(scope="module")
def ready(firestore: Emulator, database: Firestore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A function with valid settings."""
    environ = {"DT_FIRESTORE": database.database, "FIRESTORE_EMULATOR_HOST": firestore.host}
    with function(tmp_path_factory.mktemp("function"), **environ, DT_STORE="firestore") as program:
        yield program


def stored(database: Firestore) -> Counter[bytes]:
    return Counter(document["body"] for document in database.documents())


def line_after(program: Program, act: Callable[[], object]) -> dict[str, Any]:
    """Return the log line of the request that ``act`` makes."""
    count = len(program.lines())
    act()
    lines = program.wait_for_lines(count + 1)
    assert len(lines) == count + 1
    return lines[-1]


# Logs.

TRACE = "105445aa7843bc8bf206b12000100000"
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
    def slow(call: Call) -> Reply:
        time.sleep(0.1)
        return success(name="n")

    traces = {f"{number:032x}": fresh_body() for number in range(40)}
    with loopback(slow) as server:
        environ = {"DT_STORE": "firestore", "DT_FIRESTORE": DATABASE, "FIRESTORE_EMULATOR_HOST": server.host}
        with function(tmp_path, **environ) as program:
            started = time.monotonic()
            at_once(
                [
                    lambda trace=trace, content=content: post(program, content, X_Cloud_Trace_Context=f"{trace}/1")  # type: ignore[misc]
                    for trace, content in traces.items()
                ]
            )
            took = time.monotonic() - started
            lines = program.wait_for_lines(40)
    # Concurrent requests, or there would be nothing to mix.
    assert took < 40 * 0.1 * 0.8
    found = {line["key"].partition(".")[0]: line[FIELD].rpartition("/")[2] for line in lines}
    assert found == {json.loads(content)["event"]["eventId"]: trace for trace, content in traces.items()}


def test_severities_are_those_of_cloud_logging(ready: Program) -> None:
    post(ready)
    post(ready, secret=FORGED)
    ready.request("PUT", "/")
    ready.wait_for_lines(3)
    found = {json.loads(line)["severity"] for line in ready.output().splitlines()}
    assert {"INFO", "WARNING"} <= found <= SEVERITIES


# What crosses the wire.


def raw(program: Program, data: bytes, *more: bytes) -> bytes:
    """Send bytes, and each further part after an answer; return all answers."""
    with socket.create_connection(("127.0.0.1", program.port), timeout=10) as connection:
        connection.sendall(data)
        found = b""
        for part in more:
            found += connection.recv(65_536)
            connection.sendall(part)
        while piece := connection.recv(65_536):
            found += piece
    return found


def chunked(program: Program, content: bytes, size: int, token: str | None = None) -> Answer:
    """Post in chunks of this size."""
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=10)
    pieces = (content[at : at + size] for at in range(0, len(content), size))
    headers = {"X-Dt-Signature": token or hs256(content), "Transfer-Encoding": "chunked"}
    try:
        connection.request("POST", "/", pieces, headers, encode_chunked=True)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


CHUNKED = {
    "ordinary": lambda: fresh_body(),
    "not ASCII": lambda: body(eventId="æøå 温度 😀" + os.urandom(4).hex()),
    "every byte": lambda: bytes(range(256)) + os.urandom(8),
    "looks like a form": lambda: b"a=1&b=%20" + os.urandom(4).hex().encode(),
    "large": lambda: body(eventId=os.urandom(8).hex(), padding="x" * 250_000),
}


@pytest.mark.parametrize("size", [1, 7, 65_536])
@pytest.mark.parametrize("make", CHUNKED.values(), ids=CHUNKED.keys())
def test_chunked_body_is_stored(ready: Program, database: Firestore, make: Callable[[], bytes], size: int) -> None:
    content = make()
    size = max(size, len(content) // 1000)
    assert chunked(ready, content, size, hs256(content + b" ")).status == 401
    assert stored(database)[content] == 0
    assert outcome(chunked(ready, content, size)) == STORED
    assert outcome(post(ready, content)) == DUPLICATE
    assert stored(database)[content] == 1


def test_incomplete_chunked_body_is_not_stored(ready: Program, database: Firestore) -> None:
    content = fresh_body()
    head = f"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Dt-Signature: {hs256(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", ready.port), timeout=10) as connection:
        connection.sendall(f"{head}{len(content):x}\r\n".encode() + content)
        connection.shutdown(socket.SHUT_WR)
        assert not connection.recv(65_536).startswith(b"HTTP/1.1 2")
    assert stored(database)[content] == 0
    assert outcome(post(ready, content)) == STORED


def test_client_disconnect_before_the_body_is_logged_without_a_traceback(ready: Program, database: Firestore) -> None:
    content = fresh_body()
    before = len(ready.lines())
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\nX-Dt-Signature: {hs256(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", ready.port), timeout=10) as connection:
        connection.sendall(head.encode() + content[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 503 ")
    [line] = ready.wait_for_lines(before + 1)[before:]
    assert (line["outcome"], line["reason"]) == ("failed", "disconnected")
    assert "Traceback" not in ready.output()
    assert stored(database)[content] == 0


def test_expect_100_continue(ready: Program, database: Firestore) -> None:
    content = fresh_body()
    head = (
        f"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(content)}\r\n"
        f"Connection: close\r\nX-Dt-Signature: {hs256(content)}\r\n\r\n"
    )
    answer = raw(ready, head.encode(), content)
    first, _, second = answer.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 100 ")
    assert second.startswith(b"HTTP/1.1 200 ")
    assert stored(database)[content] == 1


@pytest.mark.parametrize("in_chunks", [False, True])
def test_body_of_a_megabyte_is_too_large(ready: Program, in_chunks: bool) -> None:
    content = b"x" * 1_048_576
    answer = chunked(ready, content, 65_536) if in_chunks else post(ready, content)
    assert problem(answer) == (413, "too-large")


METHODS = ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "BREW")
PATHS = ("/", "/x", "/a/b/", "/healthz", "/healthz/", "/%00", "/%ff", "/?a=b", "/..%2f", "/a//b")


def test_every_method_and_path_is_answered_by_the_receiver(ready: Program) -> None:
    """An answer of None would be a 500; without a body it would be a page of Flask's."""
    for path in PATHS:
        for method in METHODS:
            answer = ready.request(method, path)
            if method in ("GET", "HEAD") and path == "/healthz":
                assert (answer.status, answer.body) == (200, b"")
            else:
                assert answer.status == 405, (method, path)
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["allow"] == "POST"
        assert problem(ready.request("POST", path)) == (401, "unverified")


@pytest.mark.parametrize("path", ["/robots.txt", "/favicon.ico"])
def test_paths_reserved_by_the_framework_are_404(ready: Program, database: Firestore, path: str) -> None:
    """A delivery to them is not acknowledged."""
    content = fresh_body()
    assert ready.request("POST", path, signed(content), content).status == 404
    assert stored(database)[content] == 0


# All at once, again and again, and the end.


def test_forty_concurrent_deliveries_are_each_stored_once(ready: Program, database: Firestore) -> None:
    contents = [fresh_body() for _ in range(20)]
    answers: list[tuple[int, str | None]] = []
    at_once([lambda content=content: answers.append(outcome(post(ready, content))) for content in contents * 2])  # type: ignore[misc]
    assert Counter(answers) == {STORED: 20, DUPLICATE: 20}
    found = stored(database)
    assert [found[content] for content in contents] == [1] * 20


# Python runs a module of this name before the program, to inject a bug and change nothing else.
BUG = """
import gcp_functions.firestore

def fields(self, event):
    raise ZeroDivisionError(event.body)

gcp_functions.firestore.FirestoreStore._fields = fields
"""


def test_unexpected_exception_is_500_and_a_problem_document(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BUG)
    environ = {"DT_STORE": "firestore", "DT_FIRESTORE": DATABASE, "FIRESTORE_EMULATOR_HOST": "127.0.0.1:9"}
    with function(tmp_path, **environ, PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT)))) as program:
        answer = post(program)
        assert problem(answer) == (500, "internal-error")
        [line] = program.wait_for_lines(1)
        assert (line["severity"], line["reason"], line["traceback"][0]) == ("ERROR", "bug", "ZeroDivisionError")
        assert "samples" not in program.output()


def children(program: Program) -> list[int]:
    """Return the processes in which gunicorn runs the function."""
    pid = program.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def memory(pid: int) -> int:
    """Return what a process has in memory, in KiB."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc: memory is looked up where Linux shows it")
def test_no_memory_leak_in_a_thousand_deliveries(ready: Program) -> None:
    [worker] = children(ready)
    contents = [fresh_body() for _ in range(10)]
    for _ in range(20):
        at_once([lambda content=content: post(ready, content) for content in contents])  # type: ignore[misc]
    before = memory(worker)
    for count in range(1000):
        content = contents[count % 10]
        assert post(ready, content, SECRET if count % 2 else FORGED).status == (200 if count % 2 else 401)
    assert children(ready) == [worker]
    assert memory(worker) - before < 2048


# Prints the process's internal state on a signal.
INTROSPECTIVE = """
import gc, signal

def tell(*_):
    print("collector", gc.isenabled(), gc.get_freeze_count() > 10_000, flush=True)

signal.signal(signal.SIGRTMIN, tell)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="no /proc: the worker is looked up where Linux has it"
)
def test_garbage_collector_is_enabled_after_the_imports(tmp_path: Path) -> None:
    """It is disabled during the imports, and their objects are frozen afterwards."""
    (tmp_path / "sitecustomize.py").write_text(INTROSPECTIVE)
    environ = {"DT_SEEN_KEYS": "none", "DT_TOPIC": TOPIC, "PUBSUB_EMULATOR_HOST": "127.0.0.1:9"}
    with function(tmp_path, **environ, PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT)))) as program:
        [worker] = children(program)
        os.kill(worker, signal.SIGRTMIN)
        deadline = time.monotonic() + 5
        while "collector" not in program.output() and time.monotonic() < deadline:
            program.request("GET", "/healthz")
        assert "collector True True" in program.output().splitlines()


def test_shutdown_of_an_idle_server(firestore: Emulator, tmp_path: Path) -> None:
    environ = {"DT_FIRESTORE": Firestore(firestore.host).database, "FIRESTORE_EMULATOR_HOST": firestore.host}
    with function(tmp_path, **environ, DT_STORE="firestore") as program:
        assert outcome(post(program)) == STORED
        started = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - started < 3
        assert "Traceback" not in program.output()


def test_shutdown_finishes_requests_in_flight(tmp_path: Path) -> None:
    at_hand = threading.Event()

    def slow(call: Call) -> Reply:
        at_hand.set()
        time.sleep(1)
        events, _, query = call.path.partition("?")
        return success(name=f"{events.removeprefix('/v1/')}/{dict(parse_qsl(query))['documentId']}")

    with loopback(slow) as server:
        environ = {"DT_STORE": "firestore", "DT_FIRESTORE": DATABASE, "FIRESTORE_EMULATOR_HOST": server.host}
        with function(tmp_path, **environ) as program:
            answers: list[tuple[int, str | None]] = []
            threads = [threading.Thread(target=lambda: answers.append(outcome(post(program)))) for _ in range(4)]
            for thread in threads:
                thread.start()
            assert at_hand.wait(5)
            time.sleep(0.2)
            started = time.monotonic()
            assert program.stop() == 0
            assert time.monotonic() - started < 5
            for thread in threads:
                thread.join()
            assert answers == [STORED] * 4
            assert [line["outcome"] for line in program.lines()] == ["stored"] * 4
