"""The managed identity: the real azure-identity against a stand-in for App Service's identity endpoint.

The stand-in follows Microsoft's page, https://learn.microsoft.com/azure/app-service/overview-managed-identity (REST
endpoint reference). The services behind are stand-ins too, under the names that Azure has for them: the function's
process is told that those are on this machine, and to trust their certificate.
"""

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.exceptions import AzureError

from azure_functions.identity import AsyncCredential, managed_identity
from tests.support.certificates import certificate
from tests.support.deliveries import fresh_body, signed
from tests.support.loopback import DROPPED, SILENT, Answering, Call, Loopback, Reply, in_turn, loopback
from tests.support.ports import free_port
from tests.support.processes import Answer, Program
from tests.support.service_bus import ServiceBus, service_bus

Function = Callable[..., AbstractContextManager[Program]]

SERVICE_BUS = "https://servicebus.azure.net"
STORAGE = "https://storage.azure.com"
HEADER = "the-header-that-nobody-may-see"
TOKEN = "eyJ.the-token-that-nobody-may-see."
SECRET = "the-words-of-azure-that-nobody-may-see"
DAY = 86_400


def token(number: int, lives: float = DAY) -> Reply:
    """Return an answer of App Service's."""
    document = {
        "access_token": f"{TOKEN}{number}",
        "client_id": "5E29463D-71DA-4FE0-8E69-999B57DB23B0",
        "expires_on": str(int(time.time() + lives)),
        "resource": SERVICE_BUS,
        "token_type": "Bearer",
    }
    return Reply(200, json.dumps(document).encode())


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AbstractContextManager[Loopback]]]:
    """Put an endpoint into this process's environment."""

    @contextmanager
    def identity(answering: Answering) -> Iterator[Loopback]:
        managed_identity.cache_clear()
        with loopback(answering) as server:
            monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
            monkeypatch.setenv("IDENTITY_HEADER", HEADER)
            yield server

    yield identity
    managed_identity.cache_clear()


Identity = Callable[[Answering], AbstractContextManager[Loopback]]


def get(resource: str = SERVICE_BUS) -> int:
    """Return the number of the token."""
    found = managed_identity(None).get_token(f"{resource}/.default")
    assert found.token.startswith(TOKEN)
    return int(found.token.removeprefix(TOKEN))


def asked(call: Call) -> dict[str, str]:
    return {name: value for name, [value] in parse_qs(urlsplit(call.path).query).items()}


# The request.


@pytest.mark.parametrize("resource", [SERVICE_BUS, STORAGE])
@pytest.mark.parametrize("client_id", [None, "", "5e29463d"])
def test_identity_endpoint_request(identity: Identity, client_id: str | None, resource: str) -> None:
    with identity(in_turn(token(1))) as server:
        found = managed_identity(client_id).get_token(f"{resource}/.default")
        [call] = server.calls
    assert found.token == f"{TOKEN}1"
    assert abs(found.expires_on - time.time() - DAY) < 5
    assert (call.method, urlsplit(call.path).path) == ("GET", "/msi/token")
    assert call.headers["x-identity-header"] == HEADER
    whose = {"client_id": client_id} if client_id else {}
    assert asked(call) == {"api-version": "2019-08-01", "resource": resource, **whose}


def test_token_is_cached_for_each_identity(identity: Identity) -> None:
    with identity(in_turn(token(1), token(2), token(3))) as server:
        assert managed_identity("one") is managed_identity("one")
        assert [get(), get(), get(STORAGE), get(), get(STORAGE)] == [1, 1, 2, 1, 2]
        assert managed_identity("one").get_token(f"{STORAGE}/.default").token == f"{TOKEN}3"
        assert len(server.calls) == 3


def test_token_about_to_expire_is_renewed(identity: Identity) -> None:
    with identity(in_turn(token(1, 240), token(2, 360), token(3))) as server:
        assert [get(), get(), get()] == [1, 2, 2]
        assert len(server.calls) == 2


def test_failed_early_renewal_keeps_the_valid_token(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """From half of its lifetime on, so that a failure of the endpoint costs no event."""
    now = time.time
    with identity(in_turn(token(1), Reply(500, b"{}"), DROPPED, token(2, DAY * 2), token(3))) as server:
        assert get() == 1
        monkeypatch.setattr(time, "time", lambda: now() + DAY * 0.6)
        # MSAL caches a 500 for 5 s.
        assert get() == 1
        monkeypatch.setattr(time, "time", lambda: now() + DAY * 0.6 + 10)
        assert [get(), get(), get()] == [1, 2, 2]
        assert len(server.calls) == 4
        info = managed_identity(None).get_token_info(f"{SERVICE_BUS}/.default")  # type: ignore[attr-defined]
        assert (info.token, info.token_type) == (f"{TOKEN}2", "Bearer")
        assert time.time() < info.refresh_on < info.expires_on


# Failures.

REFUSED = json.dumps({"statusCode": 500, "message": SECRET}).encode()
FAILURES: dict[str, Reply | None] = {
    "500": Reply(500, REFUSED),
    "500 without a body": Reply(500, b""),
    "500 and to come again in an hour": Reply(500, REFUSED, {"Retry-After": "3600"}),
    "503": Reply(503, REFUSED),
    "429": Reply(429, REFUSED),
    "429 and to come again in an hour": Reply(429, REFUSED, {"Retry-After": "3600"}),
    "400": Reply(400, REFUSED),
    "400 and to come again in an hour": Reply(400, REFUSED, {"Retry-After": "3600"}),
    "404": Reply(404, REFUSED),
    "a page": Reply(200, f"<p>{SECRET}".encode(), {"Content-Type": "text/html"}),
    "a page that says it is JSON": Reply(200, f"<p>{SECRET}".encode()),
    "nothing": Reply(200, b""),
    "not UTF-8": Reply(200, b'"\xff"'),
    "a list": Reply(200, json.dumps([SECRET]).encode()),
    "null": Reply(200, b"null"),
    "no token": Reply(200, json.dumps({"expires_on": "1", "other": SECRET}).encode()),
    "a time in words": Reply(200, json.dumps({"access_token": SECRET, "expires_on": "tomorrow"}).encode()),
    "half a token": Reply(
        200, b'{"access_token":"' + SECRET.encode(), {"Content-Length": "500", "Connection": "close"}
    ),
    "closed without an answer": DROPPED,
}


@pytest.mark.parametrize("reply", FAILURES.values(), ids=FAILURES.keys())
def test_failed_identity_endpoint_is_retried_by_the_next_call(identity: Identity, reply: Reply | None) -> None:
    with identity(in_turn(*[reply] * 2, token(1))) as server:
        for calls in (1, 2):
            started = time.monotonic()
            with pytest.raises(AzureError) as caught:
                get()
            assert time.monotonic() - started < 1
            assert len(server.calls) == calls
            # An error of a request to the service itself would have a response.
            assert not hasattr(caught.value, "response")
            assert SECRET not in str(caught.value)
        assert get() == 1
        assert len(server.calls) == 3


def test_identity_endpoint_read_timeout(identity: Identity) -> None:
    with identity(in_turn(SILENT, token(1))):
        started = time.monotonic()
        with pytest.raises(AzureError):
            get()
        assert time.monotonic() - started < 3
        started = time.monotonic()
        assert get() == 1
        assert time.monotonic() - started < 1


def test_identity_endpoint_connection_refused(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    with identity(in_turn(token(1))) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{free_port()}/msi/token")
        started = time.monotonic()
        with pytest.raises(AzureError):
            get()
        assert time.monotonic() - started < 1
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
        assert get() == 1


def test_identity_endpoint_connect_timeout(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    with identity(in_turn(token(1))) as server, socket.socket() as full, ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{full.getsockname()[1]}/msi/token")
        started = time.monotonic()
        with pytest.raises(AzureError):
            get()
        assert time.monotonic() - started < 2
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
        assert get() == 1


def test_concurrent_renewal_failure_keeps_the_new_token(identity: Identity) -> None:
    """A renewal that began earlier and failed later must not replace the new token."""
    begun, go_on = threading.Event(), threading.Event()
    replies = iter(range(100))

    def answer(call: Call) -> Reply | None:
        number = next(replies)
        if number == 0:
            begun.set()
            go_on.wait(5)
        return token(number) if number >= 2 else Reply(500, b"{}")

    failures: list[Exception] = []

    def fail() -> None:
        try:
            get()
        except AzureError as error:
            failures.append(error)

    with identity(answer) as server:
        late = threading.Thread(target=fail)
        late.start()
        assert begun.wait(5)
        fail()
        assert get() == 2
        go_on.set()
        late.join()
        assert len(failures) == 2
        assert get() == 2
        assert len(server.calls) == 3


def test_managed_identity_is_thread_safe(identity: Identity) -> None:
    found: list[int] = []
    with identity(lambda _: token(1)):
        threads = [threading.Thread(target=lambda: found.append(get())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [1] * 8


# The event loop.


def test_slow_identity_endpoint_does_not_block_the_event_loop(identity: Identity) -> None:
    def slow(call: Call) -> Reply:
        time.sleep(0.5)
        return token(1)

    async def main() -> tuple[str, float]:
        longest, last = 0.0, time.monotonic()
        async with AsyncCredential(managed_identity(None)) as credential:
            asking = asyncio.ensure_future(credential.get_token(f"{SERVICE_BUS}/.default"))
            while not asking.done():
                await asyncio.sleep(0.01)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            await credential.close()
        # The token outlives its connection.
        found = await credential.get_token(f"{SERVICE_BUS}/.default")
        assert found.token == asking.result().token
        return found.token, longest

    with identity(slow):
        found, longest = asyncio.run(main())
    assert found == f"{TOKEN}1"
    assert longest < 0.3


def test_timeout_of_a_caller_is_not_delayed_by_the_identity_endpoint(identity: Identity) -> None:
    async def main() -> None:
        async with asyncio.timeout(0.2):
            await AsyncCredential(managed_identity(None)).get_token(f"{SERVICE_BUS}/.default")

    with identity(in_turn(SILENT)) as server:
        started = time.monotonic()
        loop = asyncio.new_event_loop()
        with pytest.raises(TimeoutError):
            loop.run_until_complete(main())
        assert time.monotonic() - started < 1
        server.closing.set()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


# End to end, from a delivery to the service.

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
        # The garbage collector closes the sockets of failed connections, with a ResourceWarning.
        environ = {**_environment(endpoint, bus.port, bus.certificate), "PYTHONWARNINGS": "ignore"}
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
            assert time.monotonic() - started < 1
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
