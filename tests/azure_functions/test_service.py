"""Calls to Azure Storage by both of the SDK's clients: login, secrets, malformed answers. Faults are in faults.py."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from azure_functions.identity import managed_identity
from azure_functions.service import connect
from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT, READ_TIMEOUT
from core.stores.contract import StoreUnavailableError
from tests.azure_functions.faults import FAULTS, KEY, ROW, SIGNATURE, XML, account, error, odata, writer
from tests.contract.fault import SECRET
from tests.support.loopback import DROPPED, Reply, assert_no_leak, in_turn, loopback

pytestmark = pytest.mark.usefixtures("no_pauses")
CLOUDS = {"queue": FAULTS["Azure Queue"], "table": FAULTS["Azure Table"]}


@pytest.fixture(params=CLOUDS)
def service(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def fails(
    service: str, port: int, secret: str = f"AccountKey={KEY}", seconds: float = DEADLINE
) -> StoreUnavailableError:
    """Assert that the call fails in time; return the error."""
    write = writer(service, account(f"http://127.0.0.1:{port}", secret))
    started = time.monotonic()
    with pytest.raises(StoreUnavailableError) as caught:
        write(started + seconds)
    assert time.monotonic() - started < DEADLINE
    return caught.value


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
        writer(service, storage)


def test_connect_timeout_is_one_second(service: str) -> None:
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        started = time.monotonic()
        # Nothing listens to the knocking any more.
        with socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(full.getsockname())
            cause = fails(service, full.getsockname()[1], seconds=ATTEMPT + 0.9).reason
    assert cause == "ServiceRequestTimeoutError"
    assert 0.9 < time.monotonic() - started < READ_TIMEOUT


# Causes.

NO_TEXT = error(403, "", b"\xff\xfe\0")
NO_ERROR = [error(status, "", b'{"odata.error": null}') for status in (403, 500)]
# A table does not look at what comes with success.
NO_XML = [Reply(201, content, XML) for content in (b"<QueueMessagesList", ROW.encode())]


@pytest.mark.parametrize(
    ("service", "reply"),
    [("queue", reply) for reply in (NO_TEXT, *NO_XML)] + [("table", reply) for reply in (NO_TEXT, *NO_ERROR)],
)
def test_unparsable_answer_has_a_cause(service: str, reply: Reply) -> None:
    """The SDK does not always raise one of its own errors."""
    with loopback(in_turn(reply)) as server:
        caught = fails(service, server.server_port)
    assert re.fullmatch("[A-Z][A-Za-z]+Error|HTTP [0-9]{3}", caught.reason)
    assert_no_leak(caught, SECRET)


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
            caught = fails(service, server.server_port, secret)
        for word in (KEY, SIGNATURE, "sig=", SECRET, "eyJldm", "127.0.0.1"):
            assert_no_leak(caught, word)


def test_repr_of_a_client_has_no_key(service: str) -> None:
    for secret in (f"AccountKey={KEY}", f"SharedAccessSignature={SIGNATURE}"):
        write = writer(service, account("http://127.0.0.1:9", secret))
        assert write.__closure__
        client = next(cell.cell_contents for cell in write.__closure__ if hasattr(cell.cell_contents, "__self__"))
        shown = repr(client) + str(client.__self__) + repr(client.__self__)
        assert KEY not in shown
        assert "sig=" not in shown


# Answers that are none.


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
    with loopback(in_turn(error(403, "Proxy"))) as proxy, loopback(in_turn(CLOUDS[service].stored)) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert writer(service, account(server.url))(time.monotonic() + DEADLINE)
        assert (len(proxy.calls), len(server.calls)) == (0, 1)
