"""Calls to Azure Storage: retries, timeouts, the deadline, and causes without secrets.

Both of the SDK's clients call a server of the tests.
"""

import json
import re
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from azure_functions.identity import managed_identity
from azure_functions.service import call, connect
from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from tests.support.certificates import certificate
from tests.support.loopback import DROPPED, SILENT, Answering, Call, Reply, assert_no_leak, in_turn, loopback
from tests.support.ports import free_port

KEY = b64encode(b"a storage key of the tests").decode()
SIGNATURE = "sv=2024-01-01&sig=a-shared-access-signature-of-the-tests"
ROW = '{"PartitionKey":"emucdd6ef2eu277bo8f52vg","body":"eyJldmVudCI6"}'
ENTITY = {"PartitionKey": "p", "RowKey": "r"}
MESSAGE = (
    b"<?xml version='1.0'?><QueueMessagesList><QueueMessage><MessageId>m</MessageId>"
    b"<InsertionTime>Sat, 21 Nov 2026 09:00:00 GMT</InsertionTime>"
    b"<ExpirationTime>Fri, 31 Dec 9999 23:59:59 GMT</ExpirationTime><PopReceipt>p</PopReceipt>"
    b"<TimeNextVisible>Sat, 21 Nov 2026 09:00:00 GMT</TimeNextVisible></QueueMessage></QueueMessagesList>"
)
STORED = {
    "queue": Reply(201, MESSAGE, {"Content-Type": "application/xml"}),
    "table": Reply(204, b"", {"ETag": "W/\"datetime'2026-11-21T09%3A00%3A00Z'\""}),
}


def address(port: int, secret: str = f"AccountKey={KEY}") -> str:
    urls = ";".join(f"{name}Endpoint=http://127.0.0.1:{port}/account" for name in ("Queue", "Table"))
    return f"DefaultEndpointsProtocol=http;AccountName=account;{secret};{urls}"


def operation(service: str, storage: str, **options: Any) -> Callable[[float], Any]:
    """Return a write that takes a deadline."""
    if service == "queue":
        send = connect(QueueClient, storage, "queue", None, queue_name="events").send_message
        return lambda deadline: call(send, deadline, "{}", **options)
    create = connect(TableClient, storage, "table", None, table_name="events").create_entity
    return lambda deadline: call(create, deadline, ENTITY, response_preference="return-no-content", **options)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses are core's; here they would only take time."""
    monkeypatch.setattr("core.service.attempts.random.uniform", lambda low, high: low)


@pytest.fixture(params=STORED)
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def soon() -> float:
    return time.monotonic() + DEADLINE


def fails(
    service: str, port: int, secret: str = f"AccountKey={KEY}", seconds: float = DEADLINE
) -> StoreUnavailableError:
    """Assert that the call fails in time; return the error."""
    write = operation(service, address(port, secret))
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        write(started + seconds)
    assert time.monotonic() - started < DEADLINE
    return caught.value


def refused(service: str, answering: Answering, seconds: float = DEADLINE) -> tuple[str, int]:
    """Return the cause, and the number of requests."""
    with loopback(answering) as server:
        return fails(service, server.server_port, seconds=seconds).reason, len(server.calls)


def error(status: int, code: str = "", content: bytes = b"") -> Reply:
    return Reply(status, content, {"x-ms-error-code": code} if code else {})


# Whom is called.


@pytest.mark.parametrize(("client", "names"), [(QueueClient, "queue_name"), (TableClient, "table_name")])
def test_account_name_uses_the_managed_identity(client: Any, names: str) -> None:
    service = names.partition("_")[0]
    for identity in ("11111111-2222-3333-4444-555555555555", None):
        connected = connect(client, "account", service, identity, **{names: "events"})
        assert connected.url.rstrip("/").removesuffix("/events") == f"https://account.{service}.core.windows.net"
        assert getattr(connected, names) == "events"
        assert connected.credential is managed_identity(identity)


@pytest.mark.parametrize("storage", ["a=b", "AccountName=account", "AccountKey=;", "DefaultEndpointsProtocol=https;="])
def test_invalid_connection_string_is_refused_at_the_start(service: str, storage: str) -> None:
    with pytest.raises(ValueError, match=r"onnection string|account shared key"):
        operation(service, storage)


def test_success_is_not_retried(service: str) -> None:
    with loopback(in_turn(STORED[service])) as server:
        assert operation(service, address(server.server_port))(soon())
        assert len(server.calls) == 1


# How often.


@pytest.mark.parametrize("status", [429, 500, 501, 502, 503, 504])
def test_transient_failure_is_retried_three_times(service: str, status: int) -> None:
    assert refused(service, in_turn(error(status, "ServerBusy"))) == ("ServerBusy", 3)
    with loopback(in_turn(error(status), error(status), STORED[service])) as server:
        assert operation(service, address(server.server_port))(soon())
        assert len(server.calls) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 411, 412, 413])
def test_permanent_failure_is_not_retried(service: str, status: int) -> None:
    """The SDK would retry 408, but Azure Storage never sends it."""
    assert refused(service, in_turn(error(status, "No"), STORED[service])) == ("No", 1)


def test_dropped_connection_is_retried(service: str) -> None:
    with loopback(in_turn(DROPPED, DROPPED, STORED[service])) as server:
        assert operation(service, address(server.server_port))(soon())
    cause, count = refused(service, in_turn(DROPPED))
    assert cause in ("ServiceRequestError", "ServiceResponseError")
    assert count == 3


def test_connection_refused(service: str) -> None:
    started = time.monotonic()
    assert fails(service, free_port()).reason == "ServiceRequestError"
    assert time.monotonic() - started < 1


def test_read_timeout_is_two_seconds(service: str) -> None:
    started = time.monotonic()
    cause, count = refused(service, in_turn(SILENT), seconds=3.05)
    assert (cause, count) == ("ServiceResponseTimeoutError", 1)
    assert 1.9 < time.monotonic() - started < 2.8


def test_read_timeout_is_retried_three_times() -> None:
    assert refused("table", in_turn(SILENT)) == ("ServiceResponseTimeoutError", 3)


def test_connect_timeout_is_one_second(service: str) -> None:
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        started = time.monotonic()
        # The backlog is full, so nothing accepts the next connection.
        with socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(full.getsockname())
            cause = fails(service, full.getsockname()[1], seconds=3.05).reason
    assert cause == "ServiceRequestTimeoutError"
    assert 0.9 < time.monotonic() - started < 1.8


def test_no_attempt_starts_without_time_before_the_deadline(service: str) -> None:
    assert refused(service, in_turn(STORED[service]), seconds=2.9) == ("deadline", 0)


def test_late_refusal_is_not_retried_after_the_deadline(service: str) -> None:
    """The cause is that of the answer, not ``deadline``."""

    def answering(_: Call) -> Reply:
        time.sleep(0.1)
        return error(503, "ServerBusy")

    assert refused(service, answering, seconds=3.05) == ("ServerBusy", 1)


# Causes and errors.


def odata(code: object) -> bytes:
    return json.dumps({"odata.error": {"code": code, "message": {"lang": "en-US", "value": f"no: {ROW}"}}}).encode()


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (error(403, "AuthorizationPermissionMismatch"), "AuthorizationPermissionMismatch"),
        (error(403, "AuthorizationFailure", odata("Another")), "AuthorizationFailure"),
        (error(403, "", odata("AuthorizationFailure")), "AuthorizationFailure"),
        (error(404, "", b"<Error><Code>QueueNotFound</Code></Error>"), "HTTP 404"),
        (error(403), "HTTP 403"),
        (error(403, "", ROW.encode()), "HTTP 403"),
        (error(403, ROW), "HTTP 403"),
        (error(403, "A code"), "HTTP 403"),
        (error(403, "A" * 61), "HTTP 403"),
        (error(403, "A" * 60), "A" * 60),
        (error(403, "", odata(ROW)), "HTTP 403"),
        (error(403, "", odata(17)), "HTTP 403"),
        (error(403, "", odata(None)), "HTTP 403"),
        (error(403, "", odata(["InvalidInput"])), "HTTP 403"),
        (error(403, "", b"[]"), "HTTP 403"),
        (error(403, "", b"null"), "HTTP 403"),
        (error(403, "", b'{"odata.error": []}'), "HTTP 403"),
        (error(403, "", b"<html>" + ROW.encode()), "HTTP 403"),
        (Reply(403, ROW.encode(), {"Content-Type": "application/xml"}), "HTTP 403"),
        (Reply(403, b"<Error><Code>" + ROW.encode(), {"Content-Type": "application/xml"}), "HTTP 403"),
    ],
)
def test_cause_is_the_error_code_or_the_status(service: str, reply: Reply, cause: str) -> None:
    assert refused(service, in_turn(reply)) == (cause, 1)


NO_TEXT = error(403, "", b"\xff\xfe\0")
NO_ERROR = [error(status, "", b'{"odata.error": null}') for status in (403, 500)]
# The table client ignores the body of a success.
NO_XML = [Reply(201, content, {"Content-Type": "application/xml"}) for content in (b"<QueueMessagesList", ROW.encode())]


@pytest.mark.parametrize(
    ("service", "reply"),
    [("queue", reply) for reply in (NO_TEXT, *NO_XML)] + [("table", reply) for reply in (NO_TEXT, *NO_ERROR)],
)
def test_unparsable_answer_has_a_cause(service: str, reply: Reply) -> None:
    """The SDK does not always raise one of its own errors."""
    with loopback(in_turn(reply)) as server:
        caught = fails(service, server.server_port)
    assert re.fullmatch("[A-Z][A-Za-z]+Error|HTTP [0-9]{3}", caught.reason)
    assert_no_leak(caught, "emucdd")


@pytest.mark.parametrize("secret", [f"AccountKey={KEY}", f"SharedAccessSignature={SIGNATURE}"])
def test_error_has_no_secret_and_no_body(service: str, secret: str) -> None:
    """Nothing of the answer, the request or the key."""
    replies = [
        error(403, "", ROW.encode() + SIGNATURE.encode()),
        error(500, ROW, odata(ROW)),
        Reply(302, ROW.encode(), {"Location": f"http://127.0.0.1:9/?{SIGNATURE}"}),
        DROPPED,
    ]
    for reply in replies:
        with loopback(in_turn(reply)) as server:
            caught = fails(service, server.server_port, secret, seconds=3.05)
        for word in (KEY, SIGNATURE, "sig=", "emucdd", "eyJldm", "127.0.0.1"):
            assert_no_leak(caught, word)


def test_repr_of_a_client_has_no_key(service: str) -> None:
    for secret in (f"AccountKey={KEY}", f"SharedAccessSignature={SIGNATURE}"):
        write = operation(service, address(9, secret))
        assert write.__closure__
        client = next(cell.cell_contents for cell in write.__closure__ if hasattr(cell.cell_contents, "__self__"))
        shown = repr(client) + str(client.__self__) + repr(client.__self__)
        assert KEY not in shown
        assert "sig=" not in shown


# Invalid answers.


@contextmanager
def raw(answer: bytes) -> Iterator[tuple[int, list[int]]]:
    """Send this answer on each connection and close it; give the port, and the length of each request."""
    requests: list[int] = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # it is over
                    return
                with connection:
                    requests.append(len(connection.recv(65_536)))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1], requests
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


HALF = b"\r\nContent-Type: application/xml\r\nContent-Length: 500\r\n\r\n<QueueMess"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 20",
        b"\0\xff" * 50,
        b"HTTP/1.1 503 No\r\nContent-Le",
        b"HTTP/1.1 201 Created" + HALF,
        b"HTTP/1.1 403 No" + HALF,
        b"HTTP/1.1 409 Conflict" + HALF,
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
def test_truncated_answer_is_retried_three_times(service: str, answer: bytes) -> None:
    """For some of them the SDK raises an error that is not one of its own."""
    with raw(answer) as (port, requests):
        cause = fails(service, port).reason
    assert re.fullmatch("[A-Z][A-Za-z]+Error|HTTP 503", cause)
    assert len(requests) == 3


# On the way.


def test_proxy_variables_are_ignored(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(in_turn(error(403, "Proxy"))) as proxy, loopback(in_turn(STORED[service])) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert operation(service, address(server.server_port))(soon())
        assert (len(proxy.calls), len(server.calls)) == (0, 1)


def test_connection_pool_keeps_a_connection_for_each_thread(service: str, tmp_path: Path) -> None:
    """As many as the worker has."""
    files = [tmp_path / name for name in ("certificate.pem", "key.pem")]
    for file, content in zip(files, certificate(), strict=True):
        file.write_bytes(content)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files[0], files[1])
    together = threading.Barrier(16)

    def answering(_: Call) -> Reply:
        together.wait(5)  # all of them are on their way at once
        return STORED[service]

    with loopback(answering, tls) as server, ThreadPoolExecutor(16) as threads:
        storage = address(server.server_port).replace("http:", "https:").replace("Protocol=http;", "Protocol=https;")
        write = operation(service, storage, connection_verify=str(files[0]))
        for _ in range(5):
            assert all(threads.map(write, [soon()] * 16))
        assert (len(server.calls), server.connections) == (80, 16)
