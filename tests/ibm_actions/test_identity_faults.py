"""IAM outages, timeouts and invalid answers, and tokens that Cloudant refuses."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from ibm_cloud_sdk_core.token_managers.iam_token_manager import IAMTokenManager

from core.service.attempts import ATTEMPT, ATTEMPTS
from core.stores.contract import Outcome, StoreUnavailableError
from ibm_actions.identity import iam_login
from ibm_actions.service import FixedLogin, Service
from tests.ibm_actions.cloudant_calls import delivered, listed, on, page, put, said, written
from tests.ibm_actions.iam import (
    API_KEY,
    HOUR,
    TOKEN,
    Clock,
    fault,
    login,
    number,
    refused,
    token,
    tokens,
)
from tests.support.deliveries import fresh_body
from tests.support.events import event, soon
from tests.support.loopback import (
    DROPPED,
    SILENT,
    Call,
    Reply,
    in_turn,
    loopback,
    success,
)
from tests.support.ports import free_port

# Failures.

FAILURES: dict[str, tuple[Reply | None, str, int]] = {
    "500": (fault(500), "HTTP 500", ATTEMPTS),
    "503": (page(503), "HTTP 503", ATTEMPTS),
    "429": (fault(429), "HTTP 429", ATTEMPTS),
    "closed": (DROPPED, "ProtocolError", ATTEMPTS),
    "400": (fault(400), "HTTP 400", 1),
    "401": (fault(401), "HTTP 401", 1),
    "404": (page(404), "HTTP 404", 1),
    "a page": (page(200), "JSONDecodeError", ATTEMPTS),
    "nothing": (Reply(200, b""), "JSONDecodeError", ATTEMPTS),
    "not UTF-8": (Reply(200, b'{"access_token":"\xff","expires_in":3600}'), "UnicodeDecodeError", ATTEMPTS),
    "lists in lists": (Reply(200, b"[" * 200_000), "RecursionError", ATTEMPTS),
    "a list": (Reply(200, json.dumps([TOKEN]).encode()), "TypeError", ATTEMPTS),
    "null": (Reply(200, b"null"), "TypeError", ATTEMPTS),
    "no token": (success(expires_in=3600), "KeyError", ATTEMPTS),
    "no life": (success(access_token=TOKEN), "KeyError", ATTEMPTS),
    "a life in words": (token(1, "long"), "ValueError", ATTEMPTS),
    "a life without end": (Reply(200, token(1).content.replace(b"3600.0", b"1e999")), "OverflowError", ATTEMPTS),
    "a life of nothing": (token(1, None), "TypeError", ATTEMPTS),
    "an empty token": (success(access_token="", expires_in=3600), "TypeError", ATTEMPTS),
    "an invalid token": (success(access_token=[TOKEN], expires_in=3600), "TypeError", ATTEMPTS),
    "a token of two lines": (success(access_token=f"{TOKEN}\r\nX-A: b", expires_in=3600), "TypeError", ATTEMPTS),
    "a token that no header takes": (success(access_token=f"{TOKEN}ø", expires_in=3600), "TypeError", ATTEMPTS),
    "a token that is over": (token(1, -1), "deadline", 1),
    "half a token": (
        Reply(200, token(1).content, {"Content-Length": "5000", "Connection": "close"}),
        "ProtocolError",
        ATTEMPTS,
    ),
}


@pytest.mark.parametrize(("reply", "cause", "calls"), FAILURES.values(), ids=FAILURES.keys())
def test_failed_token_request_is_reported_and_retried_by_the_next_event(
    reply: Reply | None, cause: str, calls: int
) -> None:
    is_well = threading.Event()
    with login(lambda _: token(1) if is_well.is_set() else reply) as (iam, one):
        assert refused(one) == f"IAM: {cause}"
        assert len(iam.calls) == calls
        is_well.set()
        # IBM's SDK would sleep for up to 60 s in the next call.
        started = time.monotonic()
        assert number(one) == 1
        assert time.monotonic() - started < 5


def test_ibm_sdk_would_retry_iam_past_the_deadline() -> None:
    with login(in_turn(fault(400), fault(400), token(1))) as (iam, one):
        manager = IAMTokenManager(API_KEY, url=iam.url)
        with pytest.raises(Exception, match="400"):
            manager.get_token()
        waiting = threading.Thread(target=manager.get_token, daemon=True)
        waiting.start()
        waiting.join(1)
        assert waiting.is_alive()
        assert len(iam.calls) == 1
        assert refused(one) == "IAM: HTTP 400"
        assert number(one) == 1
        # Let it find what it waits for.
        manager.expire_time = int(time.time()) + 3600
        manager.refresh_time = manager.expire_time
        waiting.join(30)


# Twenty at once.


def test_concurrent_events_share_one_token_request() -> None:
    def slow(_: Call) -> Reply:
        time.sleep(0.3)
        return token(len(iam.calls))

    with login(slow) as (iam, one), ThreadPoolExecutor(20) as threads:
        assert list(threads.map(lambda _: number(one), range(20))) == [1] * 20
        assert len(iam.calls) == 1


def test_iam_timeout_refuses_concurrent_events_in_time_and_recovers() -> None:
    is_well = threading.Event()
    with login(lambda _: token(1) if is_well.is_set() else SILENT) as (iam, one), ThreadPoolExecutor(20) as threads:
        assert set(threads.map(lambda _: refused(one), range(20))) == {"IAM: ReadTimeoutError"}
        assert len(iam.calls) <= 2
        is_well.set()
        assert number(one) == 1


def test_iam_connection_refused() -> None:
    one = iam_login(None, API_KEY, f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    assert refused(one) == "IAM: NewConnectionError"
    assert time.monotonic() - started < ATTEMPT


@pytest.mark.parametrize("seconds", [2 * ATTEMPT - 0.05, 0, -1])
def test_no_token_request_without_time_before_the_deadline(seconds: float) -> None:
    with login(tokens()) as (iam, one):
        assert refused(one, seconds) == "IAM: deadline"
        assert iam.calls == []


def test_cause_is_that_of_the_current_event() -> None:
    with login(in_turn(fault(400))) as (_, one):
        assert [refused(one), refused(one, ATTEMPT)] == ["IAM: HTTP 400", "IAM: deadline"]


def test_wait_for_a_shared_token_leaves_time_for_the_call() -> None:
    """`core.service.attempts` allows time for the call only; the token must be there before it."""
    asked = threading.Event()

    def slow(_: Call) -> Reply:
        asked.set()
        time.sleep(1.8)
        return token(1)

    with login(slow) as (_, one), ThreadPoolExecutor(1) as threads:
        renewing = threads.submit(number, one)
        assert asked.wait(30)
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            one.header(started + ATTEMPT + 0.5)
        assert time.monotonic() - started < 1.8
        assert renewing.result() == 1


# A token that Cloudant does not accept.


@pytest.mark.alone
def test_refused_token_is_replaced_once_under_concurrency() -> None:
    begin = threading.Barrier(20)

    def cloudant(call: Call) -> Reply:
        time.sleep(0.05)
        return said(401, "unauthorized") if call.headers["authorization"].endswith("-1") else written()

    def run(_: int) -> Outcome:
        begin.wait()
        return put(store, event())

    with (
        login(tokens()) as (iam, one),
        loopback(listed(cloudant, "events-2024")) as server,
        ThreadPoolExecutor(20) as threads,
    ):
        store = on(Service(server.url, one))
        assert list(threads.map(run, range(20))) == [Outcome.STORED] * 20
        assert len(iam.calls) == 2
        assert put(store, event()) == Outcome.STORED
        assert len(iam.calls) == 2


def test_refused_new_token_is_not_retried() -> None:
    with login(tokens()) as (iam, one), loopback(in_turn(said(401, "unauthorized"))) as server:
        status, line = delivered(on(Service(server.url, one)), fresh_body())
        assert (status, line["reason"]) == (503, "401 unauthorized")
        assert [call.headers["authorization"][-1] for call in server.calls] == ["1", "2"]
        assert len(iam.calls) == 2


def test_refused_token_is_discarded_if_renewal_fails() -> None:
    with login(in_turn(token(1), fault(400))) as (_, one), loopback(in_turn(said(401, "unauthorized"))) as server:
        store = on(Service(server.url, one))
        for calls in (1, 1):
            status, line = delivered(store, fresh_body())
            assert (status, line["reason"]) == (503, "IAM: HTTP 400")
            assert len(server.calls) == calls


def test_only_the_refused_token_is_discarded() -> None:
    with login(tokens()) as (iam, one):
        assert number(one) == 1
        one.forget("Bearer another")
        assert number(one) == 1
        one.forget(f"Bearer {TOKEN}-1")
        assert number(one) == 2
        one.forget(f"Bearer {TOKEN}-1")
        assert number(one) == 2
        assert len(iam.calls) == 2


def test_password_login_cannot_be_renewed() -> None:
    one = FixedLogin("Basic x")
    one.forget("Basic x")
    assert one.header(soon()) == "Basic x"


def test_refused_token_does_not_wait_for_a_renewal_under_way() -> None:
    """Otherwise the IAM timeout would be added to Cloudant's."""
    clock, asked = Clock(), threading.Event()

    def answer(_: Call) -> Reply:
        if len(iam.calls) == 1:
            return token(1)
        asked.set()
        return SILENT

    def late(_: Call) -> Reply:
        time.sleep(0.8)
        return said(401, "unauthorized")

    with login(answer, clock) as (iam, one), loopback(late) as server:
        assert number(one) == 1
        clock.ahead = HOUR * 0.9
        with ThreadPoolExecutor(1) as threads:
            renewing = threads.submit(one.header, soon())
            assert asked.wait(30)
            started = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                Service(server.url, one).call("GET", "/x", started + ATTEMPT + 0.7)
            assert time.monotonic() - started < 2.5
            assert not renewing.done()
