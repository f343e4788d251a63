"""Calls to a queue and a table of Azure Storage: login, secrets, malformed answers. Faults are in faults.py."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from azure_functions.identity import Token, managed_identity
from azure_functions.service import connect
from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT, READ_TIMEOUT
from core.stores.contract import StoreUnavailableError
from tests.azure_functions.faults import FAULTS, KEY, ROW, SIGNATURE, account, error, odata, writer
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


def test_account_name_uses_the_managed_identity(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = managed_identity("11111111-2222-3333-4444-555555555555")
    monkeypatch.setitem(identity._tokens, "https://storage.azure.com/.default", Token("t", 2**40, 2**40))
    connected = connect("account", service, "11111111-2222-3333-4444-555555555555")
    assert connected._client._url == f"https://account.{service}.core.windows.net"
    headers: dict[str, str] = {}
    connected._authorize("POST", "/events", headers, 1)
    assert headers == {"Authorization": "Bearer t"}


def test_emulator_needs_no_other_words(service: str) -> None:
    port = {"queue": 10001, "table": 10002}[service]
    assert connect("UseDevelopmentStorage=true", service, None)._client._url == (
        f"http://127.0.0.1:{port}/devstoreaccount1"
    )


@pytest.mark.parametrize("suffix", ["", ";EndpointSuffix=core.chinacloudapi.cn"])
def test_address_of_a_connection_string(service: str, suffix: str) -> None:
    connected = connect(f"AccountName=account;AccountKey={KEY}{suffix}", service, None)
    assert connected._client._url == f"https://account.{service}.{suffix.partition('=')[2] or 'core.windows.net'}"


def test_shared_access_signature_is_in_the_query(service: str) -> None:
    with loopback(in_turn(CLOUDS[service].stored)) as server:
        writer(service, account(server.url, f"SharedAccessSignature=?{SIGNATURE}"))(time.monotonic() + DEADLINE)
        [call] = server.calls
    assert call.path.endswith(f"{'&' if service == 'queue' else '?'}{SIGNATURE}")
    assert "authorization" not in call.headers


@pytest.mark.parametrize(
    "storage",
    ["a=b", "AccountName=account", "AccountKey=;", "DefaultEndpointsProtocol=https;=", "AccountName=a;AccountKey=?"],
)
def test_invalid_connection_string_is_refused_at_the_start(service: str, storage: str) -> None:
    with pytest.raises(ValueError, match=r"onnection string|base64"):
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
    assert cause == "ConnectTimeoutError"
    assert 0.9 < time.monotonic() - started < READ_TIMEOUT


# Causes.

NO_TEXT = error(403, "", b"\xff\xfe\0")
NO_ERROR = [error(status, "", b'{"odata.error": null}') for status in (403, 500)]
DEEP = error(403, "", b"[" * 100_000)


@pytest.mark.parametrize("reply", [NO_TEXT, *NO_ERROR, DEEP])
def test_unparsable_answer_has_a_cause(service: str, reply: Reply) -> None:
    with loopback(in_turn(reply)) as server:
        caught = fails(service, server.server_port)
    assert caught.reason == f"HTTP {reply.status}"
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
    """What comes before the fault is of no matter, success or not."""
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
