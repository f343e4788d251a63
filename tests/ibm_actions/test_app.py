"""The application as Code Engine runs it: ``python -m ibm_actions.app``, with PouchDB's server in Cloudant's place."""

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ibm_actions.wiring import THREADS
from tests.support.couchdb import Events
from tests.support.deliveries import SECRET, fresh_body, hs256, signed
from tests.support.ports import free_port
from tests.support.processes import ROOT, Answer, Program, run_alone, running
from tests.support.proxy import Mode, Proxy

APP = "ibm_actions.app"
PASSWORD = "a-password-of-CouchDB"


def post(program: Program, content: bytes) -> Answer:
    return program.request("POST", "/", signed(content), content)


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


@pytest.fixture
def program(environ: dict[str, str], tmp_path: Path) -> Iterator[Program]:
    """An application with valid settings."""
    with running(APP, environ, tmp_path) as started:
        yield started


# Settings.

GOOD = {"DT_SIGNATURE_SECRET": SECRET, "DT_CLOUDANT": f"http://user:{PASSWORD}@127.0.0.1:9"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"DT_CLOUDANT": ""}, "DT_CLOUDANT is not set: the address of the Cloudant instance."),
        ({"DT_CLOUDANT": f"http://user:{PASSWORD}@"}, "DT_CLOUDANT must be an address such as https://INSTANCE."),
        ({"DT_CLOUDANT": "https://example.com"}, "Set one of DT_TRUSTED_PROFILE, DT_CLOUDANT_API_KEY, and a user"),
        ({"DT_CLOUDANT_API_KEY": PASSWORD}, "Found: DT_CLOUDANT_API_KEY and a user in DT_CLOUDANT."),
        ({"DT_DATABASE_PREFIX": "Events"}, "DT_DATABASE_PREFIX must have only a to z, 0 to 9, _ and -,"),
        ({"DT_SIGNATURE_SECRET": ""}, "DT_SIGNATURE_SECRET"),
        ({"DT_SIGNATURE_POLICY": "none"}, "DT_SIGNATURE_POLICY"),
    ],
    ids=lambda value: value if type(value) is str else "",
)
def test_invalid_settings_exit_with_a_message(changes: dict[str, str], sentence: str, tmp_path: Path) -> None:
    """Code Engine then keeps the revision before this one."""
    port = free_port()
    environ = {"PATH": "", "PYTHONPATH": str(ROOT), "HOST": "127.0.0.1", "PORT": str(port), **GOOD, **changes}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", APP],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not any(hidden in done.stderr for hidden in (SECRET, PASSWORD))


LISTENING = """
import uvicorn

import ibm_actions.app

uvicorn.run = lambda app, **options: print(options["host"], options["port"])
ibm_actions.app.main()
"""


def test_default_host_and_port(tmp_path: Path) -> None:
    """Code Engine reaches a container from outside, at PORT."""
    assert run_alone(LISTENING, tmp_path, **GOOD) == "0.0.0.0 8080\n"
    assert run_alone(LISTENING, tmp_path, **GOOD, HOST="127.0.0.1", PORT="9000") == "127.0.0.1 9000\n"


def test_host_setting(tmp_path: Path) -> None:
    program = Program(APP, GOOD, tmp_path)
    try:
        program.wait_until_ready()
        # Each address of 127.0.0.0/8 is this machine, and only the one that was named is listened to.
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", program.port), timeout=5)
    finally:
        assert program.stop() == 0
        program.close()


# Health.


def test_health_check_during_a_cloudant_outage(program: Program, proxy: Proxy, events: Events) -> None:
    """A failing health check would only cause restarts. A health check writes nothing."""
    proxy.set(Mode.REFUSE)
    for method in ("GET", "HEAD"):
        answer = program.request(method, "/healthz")
        assert (answer.status, answer.body, answer.headers["event-outcome"]) == (200, b"", "none")
    assert program.request("POST", "/healthz").status == 401
    assert program.request("GET", "/").status == 405
    assert events.databases() == []


# The end.


def test_shutdown_answers_requests_in_flight(program: Program, proxy: Proxy, events: Events) -> None:
    """Cloudant's first answers are too late; the retry finds the stored events."""
    contents = [fresh_body() for _ in range(5)]
    answers: list[Answer] = []
    assert post(program, fresh_body()).status == 200  # and so the database is there
    proxy.set(Mode.SLOW)
    threads = [
        threading.Thread(target=lambda content=content: answers.append(post(program, content))) for content in contents
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    program.process.terminate()
    time.sleep(0.5)
    assert program.process.poll() is None
    assert answers == []
    # New connections go to another instance.
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", program.port), timeout=5)
    proxy.set(Mode.PASS)
    assert program.process.wait(20) == 0
    for thread in threads:
        thread.join()
    assert [answer.status for answer in answers] == [200] * 5
    assert set(contents) < {document["body"] for document in events.documents()}
    assert [line["outcome"] for line in program.lines()[1:]] == [answer.headers["event-outcome"] for answer in answers]
    assert "Traceback" not in program.output()


def test_shutdown_of_an_idle_server_is_quick(program: Program) -> None:
    assert post(program, fresh_body()).status == 200
    started = time.monotonic()
    assert program.stop() == 0
    assert time.monotonic() - started < 8
    assert "Traceback" not in program.output()


# All at once.


def test_200_concurrent_deliveries_over_60_connections_are_each_stored_once(program: Program, events: Events) -> None:
    """Twice as many connections as there are threads, each of them kept, and each event twice."""
    contents = [fresh_body() for _ in range(100)]
    sent = contents * 2
    answers: list[tuple[int, str]] = []

    def send(some: list[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=15)
        try:
            for content in some:
                connection.request("POST", "/", content, signed(content))
                answer = connection.getresponse()
                answers.append((answer.status, answer.headers["event-outcome"]))
                assert answer.read() == b""
                assert not answer.will_close
        finally:
            connection.close()

    at_once([lambda some=sent[at::60]: send(some) for at in range(60)])  # type: ignore[misc]
    assert Counter(answers) == {(200, "stored"): 100, (200, "duplicate"): 100}
    assert sorted(document["body"] for document in events.documents()) == sorted(contents)
    assert len(events.databases()) == 1


@pytest.mark.long
def test_exhausted_thread_pool_is_503_in_time(program: Program, proxy: Proxy, events: Events) -> None:
    """All threads wait for a silent Cloudant; DT waits for 10 s at most."""
    count = 3 * THREADS
    contents = [fresh_body() for _ in range(count)]
    answers: list[tuple[int, float]] = []

    def send(content: bytes) -> None:
        started = time.monotonic()
        status = post(program, content).status
        answers.append((status, time.monotonic() - started))

    # The list of databases is cached, or one thread would fetch it for all.
    first = fresh_body()
    assert post(program, first).status == 200
    proxy.set(Mode.SILENT)
    at_once([lambda content=content: send(content) for content in contents])  # type: ignore[misc]
    assert [status for status, _ in answers] == [503] * count
    assert max(seconds for _, seconds in answers) < 10
    reasons = Counter(line["reason"] for line in program.wait_for_lines(1 + count)[1:])
    # One for each thread was attempted; the others were refused without an attempt.
    assert reasons == {"ReadTimeoutError": THREADS, "deadline": count - THREADS}
    # And then it is over.
    proxy.set(Mode.REFUSE)
    proxy.set(Mode.PASS)
    assert [post(program, content).status for content in contents[:3]] == [200] * 3
    assert sorted(document["body"] for document in events.documents()) == sorted([first, *contents[:3]])


@pytest.mark.long
def test_unverified_request_is_refused_with_an_exhausted_thread_pool(program: Program, proxy: Proxy) -> None:
    """A forged delivery and a health check need no store, and so no thread."""
    proxy.set(Mode.SILENT)
    contents = [fresh_body() for _ in range(THREADS + 8)]
    threads = [threading.Thread(target=post, args=(program, content)) for content in contents]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    started = time.monotonic()
    content = fresh_body()
    forged = {"X-Dt-Signature": hs256(content, "a forger's secret, as long as it should be")}
    answer = program.request("POST", "/", forged, content)
    assert (answer.status, json.loads(answer.body)["status"]) == (401, 401)
    assert program.request("GET", "/healthz").status == 200
    assert time.monotonic() - started < 4
    proxy.set(Mode.REFUSE)
    for thread in threads:
        thread.join()
