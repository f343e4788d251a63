"""Calls to AWS: retries, timeouts, the deadline, and causes without secrets.

botocore's real client calls an HTTP server of the tests.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from aws_lambda.service import call, client
from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT, ATTEMPTS
from core.stores.contract import StoreUnavailableError
from tests.support.aws import environment
from tests.support.loopback import (
    DROPPED,
    SILENT,
    Answering,
    Loopback,
    Reply,
    assert_no_leak,
    fault,
    in_turn,
    loopback,
    success,
)
from tests.support.ports import free_port
from tests.support.processes import ROOT

SECRET = "what nobody but DT may know"
ITEM = {"device": {"S": "-"}, "timestampKey": {"S": "-#key"}, "body": {"B": SECRET.encode()}}


def client_of(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in environment(url).items():
        monkeypatch.setenv(name, value)
    return client("dynamodb")


@contextmanager
def service(answering: Answering, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Loopback, Any]]:
    """Start a server that answers so, and a client for it."""
    with loopback(answering) as server:
        dynamodb = client_of(server.url, monkeypatch)
        yield server, dynamodb
        dynamodb.close()


def put(dynamodb: Any, seconds: float = DEADLINE) -> dict[str, Any]:
    return call(dynamodb.put_item, time.monotonic() + seconds, TableName="t", Item=ITEM)


def cause_of(dynamodb: Any, seconds: float = DEADLINE) -> str:
    """Return the cause of a call that fails; assert that the error has nothing that was sent or answered."""
    with pytest.raises(StoreUnavailableError) as caught:
        put(dynamodb, seconds)
    assert_no_leak(caught.value, SECRET)
    return caught.value.reason


AGAIN = {
    "500": (fault("InternalServerError", 500, SECRET), "InternalServerError"),
    "503": (fault("ServiceUnavailable", 503, SECRET), "ServiceUnavailable"),
    "500 without a body": (Reply(500, b""), "500"),
    "502 of a proxy": (Reply(502, SECRET.encode(), {"Content-Type": "text/html"}), "502"),
    **{
        code: (fault(code, 400, SECRET), code)
        for code in (
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "RequestThrottled",
            "Throttling",
            "ThrottlingException",
        )
    },
    "closed without an answer": (DROPPED, "ConnectionClosedError"),
}


@pytest.mark.parametrize(("reply", "cause"), AGAIN.values(), ids=AGAIN.keys())
def test_transient_failure_is_retried_three_times(
    reply: Reply | None, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(in_turn(reply), monkeypatch) as (server, dynamodb):
        assert cause_of(dynamodb) == cause
        assert len(server.calls) == ATTEMPTS == 3
        assert all(each.parameters == server.calls[0].parameters for each in server.calls)


@pytest.mark.parametrize("reply", [reply for reply, _ in AGAIN.values()], ids=AGAIN.keys())
def test_success_at_the_last_retry(reply: Reply | None, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [*[reply] * (ATTEMPTS - 1), success(Attributes={"a": {"S": "b"}})]
    with service(in_turn(*replies), monkeypatch) as (server, dynamodb):
        assert put(dynamodb)["Attributes"] == {"a": {"S": "b"}}
        assert len(server.calls) == ATTEMPTS


NEVER_AGAIN = {
    code: (fault(code, 400, SECRET), code)
    for code in (
        "AccessDeniedException",
        "ResourceNotFoundException",
        "ValidationException",
        "UnrecognizedClientException",
        "ExpiredTokenException",
        "ItemCollectionSizeLimitExceededException",
    )
} | {
    "403 without a body": (Reply(403, b""), "403"),
    "400 that is not JSON": (Reply(400, SECRET.encode()), "400"),
}


@pytest.mark.parametrize(("reply", "cause"), NEVER_AGAIN.values(), ids=NEVER_AGAIN.keys())
def test_permanent_failure_is_not_retried(reply: Reply, cause: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with service(in_turn(reply, success()), monkeypatch) as (server, dynamodb):
        assert cause_of(dynamodb) == cause
        assert len(server.calls) == 1


@pytest.mark.parametrize("failures", [0, 2])
def test_failed_condition_returns_an_empty_answer(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [*[fault("InternalServerError", 500)] * failures, fault("ConditionalCheckFailedException")]
    with service(in_turn(*replies), monkeypatch) as (server, dynamodb):
        assert put(dynamodb) == {}
        assert len(server.calls) == failures + 1


def test_connection_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    dynamodb = client_of(f"http://127.0.0.1:{free_port()}", monkeypatch)
    started = time.monotonic()
    assert cause_of(dynamodb) == "EndpointConnectionError"
    # Three attempts and the waits between them, of at most 0.2 s and 0.4 s.
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("seconds", [ATTEMPT - 0.05, 0, -1])
def test_no_attempt_starts_without_time_before_the_deadline(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with service(in_turn(success()), monkeypatch) as (server, dynamodb):
        started = time.monotonic()
        assert cause_of(dynamodb, seconds) == "deadline"
        assert time.monotonic() - started < 0.5
        assert server.calls == []


def test_read_timeout_ends_before_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the 8 s of a delivery and for less, in parallel, because each waits."""
    took: dict[float, float] = {}
    begun: dict[float, list[float]] = {}
    causes: dict[float, str] = {}

    def run(seconds: float, server: Loopback, dynamodb: Any) -> None:
        started = time.monotonic()
        causes[seconds] = cause_of(dynamodb, seconds)
        took[seconds] = time.monotonic() - started
        begun[seconds] = [each.began - started for each in server.calls]

    budgets = (DEADLINE, DEADLINE / 2, DEADLINE * 3 / 4)
    with (
        service(in_turn(SILENT), monkeypatch) as one,
        service(in_turn(SILENT), monkeypatch) as two,
        service(in_turn(SILENT), monkeypatch) as three,
    ):
        threads = [
            threading.Thread(target=run, args=(seconds, *each))
            for seconds, each in zip(budgets, (one, two, three), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(causes.values()) == {"ReadTimeoutError"}
    assert (len(begun[4]), len(begun[6])) == (1, 2)
    assert len(begun[8]) in (2, 3)  # on a busy machine there may be no time for the third
    for seconds in budgets:
        assert took[seconds] < seconds
        # Time for the request to arrive.
        assert all(at < seconds - ATTEMPT + 0.3 for at in begun[seconds])


def test_missing_credentials_are_reported_and_nothing_is_sent(tmp_path: Path) -> None:
    """In a subprocess, because the session caches credentials."""
    program = (
        "import time\n"
        "from aws_lambda.service import call, client\n"
        "from core.stores.contract import StoreUnavailableError\n"
        "try:\n"
        "    call(client('dynamodb').put_item, time.monotonic() + 8, TableName='t', Item={})\n"
        "except StoreUnavailableError as error:\n"
        "    print(error.reason)\n"
    )
    with loopback(in_turn(success())) as server:
        environ = environment(server.url)
        del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
        environ |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        environ["HOME"] = str(tmp_path)
        found = subprocess.run(
            [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=30, check=False
        )
        assert (found.stdout, found.stderr) == ("NoCredentialsError\n", "")
        assert server.calls == []


def test_clients_have_short_timeouts_and_no_retry_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    for name in ("dynamodb", "sqs", "secretsmanager"):
        config = client(name).meta.config
        assert (config.connect_timeout, config.read_timeout) == (1, 2)
        assert config.retries == {"mode": "standard", "total_max_attempts": 1}
        assert config.tcp_keepalive is True
    assert ATTEMPT == 3
