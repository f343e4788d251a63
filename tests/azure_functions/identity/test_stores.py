"""Stores that are logged in to by the managed identity."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.azure_functions.identity.logging_in import HEADER, REFUSED, SECRET, SERVICE_BUS, STORAGE, TOKEN, asked, token
from tests.support.certificates import certificate
from tests.support.deliveries import fresh_body, signed
from tests.support.loopback import SILENT, Call, Loopback, Reply, in_turn, loopback
from tests.support.processes import Answer, Program
from tests.support.service_bus import ServiceBus, service_bus

Function = Callable[..., AbstractContextManager[Program]]


NAMES = ("tests.servicebus.windows.net", "tests.queue.core.windows.net", "tests.table.core.windows.net")
HERE = """
import os, socket

import certifi

certifi.where = lambda: os.environ["CERTIFICATE"]
getaddrinfo = socket.getaddrinfo

def here(host, port, *args, **options):
    if str(host).endswith(".windows.net"):
        assert port == (5671 if ".servicebus." in host else 443)
        host, port = "127.0.0.1", int(os.environ["REDIRECT"])
    return getaddrinfo(host, port, *args, **options)

socket.getaddrinfo = here
"""


def _certify(folder: Path) -> Path:
    """Write a certificate of `NAMES`, and its key beside it."""
    path = folder / "certificate.pem"
    for file, content in zip((path, path.with_suffix(".key")), certificate(*NAMES), strict=True):
        file.write_bytes(content)
    return path


def _post(program: Program, content: bytes) -> Answer:
    return program.request("POST", "/events", signed(content), content)


def _environment(endpoint: Loopback, port: int, certificate: Path) -> dict[str, str]:
    return {
        "IDENTITY_ENDPOINT": f"{endpoint.url}/msi/token",
        "IDENTITY_HEADER": HEADER,
        "AZURE_CLIENT_ID": "5e29463d",
        "REDIRECT": str(port),
        "CERTIFICATE": str(certificate),
        "SSL_CERT_FILE": str(certificate),
    }


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[ServiceBus]:
    """A Service Bus with the namespace's certificate."""
    with service_bus(tmp_path, "events", tls=True) as bus:
        bus.kill()
        _certify(tmp_path)
        bus.start()
        yield bus


def test_managed_identity_stores_in_service_bus(function: Function, bus: ServiceBus) -> None:
    with loopback(in_turn(token(1), token(2))) as endpoint:
        environ = _environment(endpoint, bus.port, bus.certificate)
        with function(HERE, DT_SERVICE_BUS=NAMES[0], **environ) as program:
            contents = [fresh_body(), fresh_body()]
            assert [_post(program, content).status for content in contents] == [200, 200]
            output = program.output()
        assert [message["body"] for message in bus.messages()] == contents
        [put] = bus.tokens()
        assert put == {"type": "jwt", "audience": f"sb://{NAMES[0]}/events", "token": f"{TOKEN}1"}
        [call] = endpoint.calls
        # The SDK's own way to write it.
        assert asked(call) == {"api-version": "2019-08-01", "resource": f"{SERVICE_BUS}/", "client_id": "5e29463d"}
    assert not any(hidden in output for hidden in (HEADER, TOKEN))


@pytest.mark.parametrize("reply", [Reply(500, REFUSED, {"Retry-After": "60"}), SILENT])
def test_service_bus_recovers_once_there_is_a_token(reply: Reply, function: Function, bus: ServiceBus) -> None:
    is_well = threading.Event()
    with loopback(lambda _: token(1) if is_well.is_set() else reply) as endpoint:
        environ = _environment(endpoint, bus.port, bus.certificate)
        with function(HERE, DT_SERVICE_BUS=NAMES[0], **environ) as program:
            content = fresh_body()
            started = time.monotonic()
            answer = _post(program, content)
            assert time.monotonic() - started < 8
            assert answer.status == 503
            [line] = program.wait_for_lines(1)
            assert (line["severity"], line["outcome"], line["reason"]) == ("ERROR", "failed", "ManagedIdentityError")
            assert bus.messages() == []
            is_well.set()
            started = time.monotonic()
            assert _post(program, content).status == 200
            assert time.monotonic() - started < 4
            assert [message["body"] for message in bus.messages()] == [content]
            assert not any(hidden in program.output() for hidden in (SECRET, HEADER, TOKEN, "Traceback"))


def test_untrusted_certificate_is_sent_no_token(function: Function, bus: ServiceBus, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with loopback(in_turn(token(1))) as endpoint:
        environ = {**_environment(endpoint, bus.port, _certify(other)), "PYTHONWARNINGS": "ignore"}
        with function(HERE, DT_SERVICE_BUS=NAMES[0], **environ) as program:
            assert _post(program, fresh_body()).status == 503
    assert bus.messages() == []
    assert not bus.tokens()


QUEUED = b"""<?xml version="1.0" encoding="utf-8"?><QueueMessagesList><QueueMessage><MessageId>1</MessageId>
<InsertionTime>Fri, 09 Oct 2026 21:04:30 GMT</InsertionTime>
<ExpirationTime>Fri, 16 Oct 2026 21:04:30 GMT</ExpirationTime>
<PopReceipt>p</PopReceipt><TimeNextVisible>Fri, 09 Oct 2026 23:29:20 GMT</TimeNextVisible>
</QueueMessage></QueueMessagesList>"""


def _storage(call: Call) -> Reply:
    """Answer as Azure Storage does to both stores while they are empty."""
    if call.headers["host"].startswith("tests.queue."):
        return Reply(201, QUEUED, {"Content-Type": "application/xml"})
    if call.method == "GET":
        return Reply(404, b'{"odata.error":{"code":"ResourceNotFound"}}')
    return Reply(204, b"", {"ETag": 'W/"1"'})


STORES = {
    "table": [("POST", "/events")],
    "storage_queue": [("GET", "/seenKeys("), ("POST", "/events/messages"), ("POST", "/seenKeys")],
}


@pytest.mark.parametrize("store", STORES)
def test_managed_identity_stores_in_azure_storage(store: str, function: Function, tmp_path: Path) -> None:
    certificate = _certify(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
    is_well = threading.Event()

    def answer(_: Call) -> Reply:
        return token(1) if is_well.is_set() else Reply(500, REFUSED, {"Retry-After": "60"})

    with loopback(answer) as endpoint, loopback(_storage, tls) as server:
        environ = _environment(endpoint, server.server_port, certificate)
        with function(HERE, DT_STORE=store, DT_STORAGE="tests", **environ) as program:
            content = fresh_body()
            assert _post(program, content).status == 503
            [line] = program.wait_for_lines(1)
            assert (line["outcome"], line["reason"]) == ("failed", "ManagedIdentityError")
            assert server.calls == []
            is_well.set()
            answers = [_post(program, content) for _ in range(2)]
            assert [each.status for each in answers] == [200, 200]
            assert not any(hidden in program.output() for hidden in (SECRET, HEADER, TOKEN, "Traceback"))
        found = [(call.method, call.path.partition("?")[0]) for call in server.calls]
        assert len(found) == 2 * len(STORES[store])
        for (method, path), (wanted, begin) in zip(found, STORES[store] * 2, strict=True):
            assert method == wanted
            assert path.startswith(begin)
        assert {call.headers["authorization"] for call in server.calls} == {f"Bearer {TOKEN}1"}
        # Three failed attempts, then one token for both services.
        assert len(endpoint.calls) == {"table": 3, "storage_queue": 6}[store] + 1
        expected = {"api-version": "2019-08-01", "resource": STORAGE, "client_id": "5e29463d"}
        assert [asked(call) for call in endpoint.calls] == [expected] * len(endpoint.calls)
