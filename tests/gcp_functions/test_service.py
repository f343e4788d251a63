"""Calls to Google: retries, timeouts, the deadline, and causes without secrets.

The real google-auth and urllib3 call an HTTP server of the tests.
"""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
import pytest
from google.auth.credentials import AnonymousCredentials

from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT, ATTEMPTS
from gcp_functions.service import Service, connect
from tests.gcp_functions.google_calls import DOCUMENT, PATH, SECRET, cause_of, html, publish
from tests.support.certificates import serving
from tests.support.loopback import (
    DROPPED,
    SILENT,
    Call,
    Loopback,
    Reply,
    google_fault,
    in_turn,
    loopback,
    success,
)
from tests.support.ports import free_port
from tests.support.proxy import Mode, Proxy

AGAIN = {
    "500": (google_fault(500, "INTERNAL", SECRET), "INTERNAL"),
    "502 of a proxy": (html(502), "HTTP 502"),
    "503": (google_fault(503, "UNAVAILABLE", SECRET), "UNAVAILABLE"),
    "504": (google_fault(504, "DEADLINE_EXCEEDED", SECRET), "DEADLINE_EXCEEDED"),
    "429": (google_fault(429, "RESOURCE_EXHAUSTED", SECRET), "RESOURCE_EXHAUSTED"),
    "409 that is no duplicate": (google_fault(409, "ABORTED", SECRET), "ABORTED"),
    "500 without a body": (Reply(500, b""), "HTTP 500"),
    "429 without a body": (Reply(429, b""), "HTTP 429"),
    "503 without a code": (Reply(503, b"{}"), "HTTP 503"),
    "closed without an answer": (DROPPED, "ProtocolError"),
    "cut off": (
        Reply(200, b'{"messageIds":["1"]}', {"Content-Length": "1000", "Connection": "close"}),
        "ProtocolError",
    ),
}


@pytest.mark.parametrize(("reply", "cause"), AGAIN.values(), ids=AGAIN.keys())
def test_transient_failure_is_retried_three_times(reply: Reply | None, cause: str) -> None:
    with loopback(in_turn(reply)) as server:
        assert cause_of(connect("", server.host)) == cause
        assert len(server.calls) == ATTEMPTS == 3
        assert {(each.method, each.path) for each in server.calls} == {("POST", PATH)}
        assert [each.parameters for each in server.calls] == [DOCUMENT] * 3


@pytest.mark.parametrize("reply", [reply for reply, _ in AGAIN.values()], ids=AGAIN.keys())
def test_success_at_the_last_retry(reply: Reply | None) -> None:
    with loopback(in_turn(*[reply] * (ATTEMPTS - 1), success(messageIds=["1"]))) as server:
        assert publish(connect("", server.host)) == {"messageIds": ["1"]}
        assert len(server.calls) == ATTEMPTS


NEVER_AGAIN = {
    **{
        code: (google_fault(status, code, SECRET), code)
        for status, code in (
            (400, "INVALID_ARGUMENT"),
            (400, "FAILED_PRECONDITION"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (409, "ALREADY_EXISTS"),
        )
    },
    "403 without a body": (Reply(403, b""), "HTTP 403"),
    "404 that is no JSON": (html(404), "HTTP 404"),
    "400 without a code": (Reply(400, b"{}"), "HTTP 400"),
    "400 in OAuth's form": (Reply(400, json.dumps({"error": "x", "error_description": SECRET}).encode()), "HTTP 400"),
    "400 with a message alone": (Reply(400, json.dumps({"error": {"message": SECRET}}).encode()), "HTTP 400"),
    "code without a status": (Reply(403, b'{"error":{"code":403}}'), "HTTP 403"),
    "a status that is a text of its own": (Reply(403, b'{"error":{"status":"for your eyes only"}}'), "HTTP 403"),
    "another place": (Reply(302, b"", {"Location": "/elsewhere"}), "HTTP 302"),
    "200 that is no JSON": (html(200), "HTTP 200"),
    "200 and nothing": (Reply(200, b""), "HTTP 200"),
    "200 and null": (Reply(200, b"null"), "HTTP 200"),
    "200 and not UTF-8": (Reply(200, b'{"a":"\xff"}'), "HTTP 200"),
    "200 and half a document": (Reply(200, b'{"messageIds":["1"'), "HTTP 200"),
    "200 and a list": (Reply(200, b"[]"), "HTTP 200"),
    "200 and lists in lists": (Reply(200, b"[" * 200_000), "HTTP 200"),
    "200 and a text": (Reply(200, b'"messageIds"'), "HTTP 200"),
    "202": (Reply(202, b'{"messageIds":["1"]}'), "HTTP 202"),
    "204": (Reply(204, b""), "HTTP 204"),
}


@pytest.mark.parametrize(("reply", "cause"), NEVER_AGAIN.values(), ids=NEVER_AGAIN.keys())
def test_permanent_failure_is_not_retried(reply: Reply, cause: str) -> None:
    with loopback(in_turn(reply, success(messageIds=["1"]))) as server:
        assert cause_of(connect("", server.host)) == cause
        assert len(server.calls) == 1


def test_cause_is_that_of_the_last_attempt() -> None:
    with loopback(in_turn(google_fault(409, "ABORTED"), Reply(403, b"{}"))) as server:
        assert cause_of(connect("", server.host)) == "HTTP 403"
        assert len(server.calls) == 2


def test_request_without_a_document_has_no_body() -> None:
    with loopback(in_turn(success(name="n"))) as server:
        assert connect("", server.host).call("GET", "/v1/x", time.monotonic() + 8) == {"name": "n"}
        [call] = server.calls
    assert (call.method, call.path, call.parameters) == ("GET", "/v1/x", None)
    assert "authorization" not in call.headers


def test_connection_refused() -> None:
    started = time.monotonic()
    assert cause_of(connect("", f"127.0.0.1:{free_port()}")) == "NewConnectionError"
    # Three attempts and the waits between them, of at most 0.2 s and 0.4 s.
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("seconds", [ATTEMPT - 0.05, 0, -1])
def test_no_attempt_starts_without_time_before_the_deadline(seconds: float) -> None:
    with loopback(in_turn(success())) as server:
        started = time.monotonic()
        assert cause_of(connect("", server.host), seconds) == "deadline"
        assert time.monotonic() - started < 0.5
        assert server.calls == []


def test_read_timeout_ends_before_the_deadline() -> None:
    """For the 8 s of a delivery and for less, in parallel, because each waits."""
    took: dict[float, float] = {}
    begun: dict[float, list[float]] = {}
    causes: dict[float, str] = {}

    def run(seconds: float) -> None:
        with loopback(in_turn(SILENT)) as server:
            service = connect("", server.host)
            started = time.monotonic()
            causes[seconds] = cause_of(service, seconds)
            took[seconds] = time.monotonic() - started
            begun[seconds] = [each.began - started for each in server.calls]

    budgets = (DEADLINE, DEADLINE / 2, DEADLINE * 3 / 4)
    _at_once([lambda seconds=seconds: run(seconds) for seconds in budgets])  # type: ignore[misc]
    assert set(causes.values()) == {"ReadTimeoutError"}
    assert (len(begun[4]), len(begun[6])) == (1, 2)
    assert len(begun[8]) in (2, 3)  # on a busy machine there may be no time for the third
    for seconds in budgets:
        assert took[seconds] < seconds
        # Time for the request to arrive.
        assert all(at < seconds - ATTEMPT + 0.3 for at in begun[seconds])


def _at_once(programs: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=program) for program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_connection_pool_is_shared_by_twenty_threads() -> None:
    begin = threading.Barrier(20)
    answers: list[Any] = []

    def answering(call: Call) -> Reply:
        time.sleep(0.01)
        return success(path=call.path)

    with loopback(answering) as server:
        service = connect("", server.host)

        def run(number: int) -> None:
            begin.wait()
            for _ in range(10):
                path = f"/v1/{number}"
                answers.append(service.call("POST", path, time.monotonic() + 8, {}) == {"path": path})

        for _ in range(2):
            _at_once([lambda number=number: run(number) for number in range(20)])  # type: ignore[misc]
        assert server.connections <= 20
    assert answers == [True] * 400


def test_reconnect_after_an_idle_close_costs_no_attempt() -> None:
    """As after some idle minutes."""
    with loopback(in_turn(success(name="n"))) as server:
        proxy = Proxy(server.server_port)
        try:
            service = connect("", f"127.0.0.1:{proxy.port}")
            for _ in range(3):
                assert publish(service, ATTEMPT + 0.1) == {"name": "n"}
                proxy.set(Mode.REFUSE)
                proxy.set(Mode.PASS)
            assert len(server.calls) == 3
        finally:
            proxy.close()


# TLS.


def _anonymous(server: Loopback) -> Service:
    return Service(server.url, lambda _: AnonymousCredentials())


def test_untrusted_certificate_is_sent_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, tls = serving(tmp_path, "127.0.0.1")
    with loopback(in_turn(success(name="n")), tls) as server:
        assert cause_of(_anonymous(server)) == "SSLError"
        assert server.calls == []
        assert server.connections == ATTEMPTS
        # With its certificate trusted, the same call succeeds.
        monkeypatch.setattr(certifi, "where", lambda: str(path))
        assert publish(_anonymous(server)) == {"name": "n"}


def test_certificate_of_another_host_is_sent_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, tls = serving(tmp_path, "127.0.0.2")
    monkeypatch.setattr(certifi, "where", lambda: str(path))
    with loopback(in_turn(success(name="n")), tls) as server:
        assert cause_of(_anonymous(server)) == "SSLError"
        assert server.calls == []
