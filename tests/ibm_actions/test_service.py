"""Calls to Cloudant: login, redirects, timeouts, the connection pool, and causes without secrets."""

import json
import time

import pytest

from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT
from core.stores.contract import StoreUnavailableError
from ibm_actions.service import Answer, FixedLogin, Login, Service
from tests.ibm_actions.cloudant_calls import BASIC, HIDDEN, page, said, service
from tests.support.events import soon
from tests.support.loopback import DROPPED, Call, Loopback, Reply, assert_no_leak, in_turn, loopback, success
from tests.support.ports import free_port
from tests.support.proxy import Mode, Proxy

PATH = "/events-2026-11/d:1?a=b"
DOCUMENT = {"body": HIDDEN, "å": "温 \U0001f321 \u2028"}


def call(there: Service, seconds: float = DEADLINE) -> Answer:
    return there.call("PUT", PATH, soon(seconds), DOCUMENT)


def cause_of(there: Service, seconds: float = DEADLINE) -> str:
    """Assert that a call fails in time, and that the error has only its cause; return the cause."""
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        call(there, seconds)
    assert time.monotonic() - started < max(seconds, 2)
    assert_no_leak(caught.value, HIDDEN)
    return caught.value.reason


# What is asked.


def test_request_body_is_utf8_json_or_empty() -> None:
    lengths = []

    def answer(call: Call) -> Reply:
        lengths.append(call.headers.get("content-length"))
        return success(n=1)

    with loopback(answer) as server:
        there = service(server)
        assert there.call("PUT", PATH, soon(), DOCUMENT) == (200, {"n": 1})
        assert there.call("GET", PATH, soon()) == (200, {"n": 1})
        put, get = server.calls
    assert (put.method, put.path, put.parameters) == ("PUT", PATH, DOCUMENT)
    assert (get.method, get.path, get.parameters) == ("GET", PATH, None)
    assert lengths == [str(len(json.dumps(DOCUMENT, ensure_ascii=False).encode())), None]
    for each in (put, get):
        assert each.headers["authorization"] == BASIC
        assert each.headers["content-type"] == "application/json"


ANSWERS: dict[str, tuple[Reply, Answer]] = {
    "an object": (Reply(201, b'{"ok":true}'), (201, {"ok": True})),
    "an object of another status": (said(404, "not_found"), (404, {"error": "not_found", "reason": HIDDEN})),
    "a page": (page(200), (200, {})),
    "nothing": (Reply(200, b""), (200, {})),
    "a list": (Reply(200, b'["a"]'), (200, {"rows": ["a"]})),
    "a text": (Reply(200, b'"x"'), (200, {})),
    "null": (Reply(200, b"null"), (200, {})),
    "not UTF-8": (Reply(200, b'{"a":"\xff"}'), (200, {})),
    "half an object": (Reply(200, b'{"a":'), (200, {})),
    "a number without end": (Reply(200, b'{"a":' + b"1" * 5000 + b"}"), (200, {})),
    "lists in lists": (Reply(200, b"[" * 200_000), (200, {})),
    "objects in objects": (Reply(200, b'{"a":' * 200_000 + b"1" + b"}" * 200_000), (200, {})),
    "200": (Reply(200), (200, {})),
    "499": (Reply(499), (499, {})),
}


@pytest.mark.parametrize(("reply", "answer"), ANSWERS.values(), ids=ANSWERS.keys())
def test_answer_has_status_and_object(reply: Reply, answer: Answer) -> None:
    with loopback(in_turn(reply)) as server:
        assert call(service(server)) == answer
        assert len(server.calls) == 1


# Nobody else.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(status: int) -> None:
    with loopback(in_turn(success())) as other:
        for location in (f"{other.url}/x", "/elsewhere"):
            with loopback(in_turn(page(status, Location=location))) as server:
                assert call(service(server)) == (status, {})
                assert len(server.calls) == 1
        assert other.calls == []
        assert other.connections == 0


# Who calls.


class Counting:
    """A login whose header is another each time that one was not accepted."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def header(self, deadline: float) -> str:
        return f"Bearer {len(self.forgotten)}"

    def forget(self, header: str) -> None:
        self.forgotten.append(header)


def sent(server: Loopback) -> list[str]:
    return [call.headers["authorization"] for call in server.calls]


def test_refused_login_is_renewed_and_retried_once() -> None:
    login: Login = Counting()
    with loopback(in_turn(said(401, "unauthorized"), success(n=1))) as server:
        assert call(Service(server.url, login)) == (200, {"n": 1})
        assert sent(server) == ["Bearer 0", "Bearer 1"]
        assert call(Service(server.url, login)) == (200, {"n": 1})
        assert sent(server)[2:] == ["Bearer 1"]


def test_second_401_is_not_retried() -> None:
    login = Counting()
    with loopback(in_turn(said(401, "unauthorized"))) as server:
        assert call(Service(server.url, login))[0] == 401
        assert sent(server) == ["Bearer 0", "Bearer 1"]
    assert login.forgotten == ["Bearer 0"]


def test_late_401_is_not_retried_after_the_deadline() -> None:
    def late(_: Call) -> Reply:
        time.sleep(1.1)
        return said(401, "unauthorized")

    with loopback(late) as server:
        assert cause_of(Service(server.url, Counting()), ATTEMPT + 1) == "401 unauthorized"
        assert len(server.calls) == 1


def test_refused_password_is_not_retried() -> None:
    with loopback(in_turn(said(401, "unauthorized"))) as server:
        assert call(service(server))[0] == 401
        assert sent(server) == [BASIC] * 2


# Time.


def test_each_attempt_uses_the_current_token() -> None:
    """A token may expire in between."""
    headers = iter(("one", "two", "three"))

    class Changing(Counting):
        def header(self, deadline: float) -> str:
            return next(headers)

    with loopback(in_turn(said(503, "busy"), DROPPED, success(n=1))) as server:
        assert call(Service(server.url, Changing())) == (200, {"n": 1})
        assert sent(server) == ["one", "two", "three"]


def test_non_http_answer_is_refused() -> None:
    with loopback(in_turn(success())) as server:
        proxy = Proxy(server.server_port)
        try:
            there = Service(f"http://127.0.0.1:{proxy.port}", FixedLogin(BASIC))
            for canned in (b"\x00\r\n", b"HTTP/1.1 201\r\n" + b"a: " + b"b" * 100_000, b"220 ready\r\n"):
                proxy.canned = canned
                proxy.set(Mode.CANNED)
                assert cause_of(there) in ("ProtocolError", "ReadTimeoutError")
                proxy.set(Mode.REFUSE)
                proxy.set(Mode.PASS)
                assert call(there) == (200, {})
        finally:
            proxy.close()


# Silence about it.


def test_request_and_answer_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with loopback(in_turn(DROPPED, said(500, "x"), said(403, "forbidden"))) as server:
        there = service(server)
        call(there)
        assert cause_of(Service(f"http://127.0.0.1:{free_port()}", FixedLogin(BASIC))) == "NewConnectionError"
    assert caplog.records == []
    assert HIDDEN not in repr(there) + repr(vars(there))
