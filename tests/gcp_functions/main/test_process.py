"""The process: concurrency, faults, memory and shutdown."""

import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from tests.gcp_functions.main.function import (
    DATABASE,
    DUPLICATE,
    FORGED,
    STORED,
    TOPIC,
    at_once,
    function,
    outcome,
    post,
    problem,
    stored,
)
from tests.support.deliveries import SECRET, fresh_body
from tests.support.google import Emulator, Firestore
from tests.support.loopback import Call, Reply, loopback, success
from tests.support.processes import ROOT, Program


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
@pytest.mark.long
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
        deadline = time.monotonic() + 30
        while "collector" not in program.output() and time.monotonic() < deadline:
            program.request("GET", "/healthz")
        assert "collector True True" in program.output().splitlines()


def test_shutdown_of_an_idle_server(firestore: Emulator, tmp_path: Path) -> None:
    environ = {"DT_FIRESTORE": Firestore(firestore.host).database, "FIRESTORE_EMULATOR_HOST": firestore.host}
    with function(tmp_path, **environ, DT_STORE="firestore") as program:
        assert outcome(post(program)) == STORED
        started = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - started < 8
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
            assert at_hand.wait(30)
            time.sleep(0.2)
            started = time.monotonic()
            assert program.stop() == 0
            assert time.monotonic() - started < 10
            for thread in threads:
                thread.join()
            assert answers == [STORED] * 4
            assert [line["outcome"] for line in program.lines()] == ["stored"] * 4
