"""Tokens of the managed identity."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest

from azure_functions.identity import ManagedIdentityError, managed_identity
from azure_functions.namespace import namespace
from core.service.attempts import READ_TIMEOUT
from tests.azure_functions.identity.logging_in import (
    DAY,
    HEADER,
    REFUSED,
    SECRET,
    SERVICE_BUS,
    STORAGE,
    TOKEN,
    asked,
    token,
)
from tests.support.loopback import DROPPED, SILENT, Answering, Call, Loopback, Reply, in_turn, loopback
from tests.support.ports import free_port


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
        assert [get(), get()] == [1, 1]
        # The next attempts are after 5 s each.
        monkeypatch.setattr(time, "time", lambda: now() + DAY * 0.6 + 10)
        assert [get(), get()] == [1, 1]
        monkeypatch.setattr(time, "time", lambda: now() + DAY * 0.6 + 20)
        assert [get(), get()] == [2, 2]
        assert len(server.calls) == 4
        info = managed_identity(None).get_token_info(f"{SERVICE_BUS}/.default")
        assert (info.token, info.token_type) == (f"{TOKEN}2", "Bearer")
        assert time.time() < info.refresh_on < info.expires_on


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
            with pytest.raises(ManagedIdentityError) as caught:
                get()
            assert time.monotonic() - started < 4
            assert len(server.calls) == calls
            # An error of a request to the service itself would have a response.
            assert not hasattr(caught.value, "response")
            assert SECRET not in str(caught.value)
        assert get() == 1
        assert len(server.calls) == 3


def test_identity_endpoint_read_timeout(identity: Identity) -> None:
    with identity(in_turn(SILENT, token(1))):
        started = time.monotonic()
        with pytest.raises(ManagedIdentityError):
            get()
        assert time.monotonic() - started < 5
        started = time.monotonic()
        assert get() == 1
        assert time.monotonic() - started < 4


def test_identity_endpoint_connection_refused(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    with identity(in_turn(token(1))) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{free_port()}/msi/token")
        started = time.monotonic()
        with pytest.raises(ManagedIdentityError):
            get()
        assert time.monotonic() - started < 4
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
        with pytest.raises(ManagedIdentityError):
            get()
        assert time.monotonic() - started < 4
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
            go_on.wait(30)
        return token(number) if number >= 2 else Reply(500, b"{}")

    failures: list[Exception] = []

    def fail() -> None:
        try:
            get()
        except ManagedIdentityError as error:
            failures.append(error)

    with identity(answer) as server:
        late = threading.Thread(target=fail)
        late.start()
        assert begun.wait(30)
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


def test_slow_identity_endpoint_does_not_block_the_event_loop(identity: Identity) -> None:
    def slow(call: Call) -> Reply:
        time.sleep(1.5)
        return token(1)

    async def main() -> tuple[str, float]:
        longest, last = 0.0, time.monotonic()
        there = namespace("tests.servicebus.windows.net", "events", None)
        asking = asyncio.ensure_future(there.token("any"))
        while not asking.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        # The token outlives its connection.
        found = await there.token("any")
        assert found == asking.result()
        return found[0], longest

    with identity(slow):
        found, longest = asyncio.run(main())
    assert found == f"{TOKEN}1"
    assert longest < 1


def test_timeout_of_a_caller_is_not_delayed_by_the_identity_endpoint(identity: Identity) -> None:
    async def main() -> None:
        async with asyncio.timeout(0.2):
            await namespace("tests.servicebus.windows.net", "events", None).token("any")

    with identity(in_turn(SILENT)) as server:
        started = time.monotonic()
        loop = asyncio.new_event_loop()
        with pytest.raises(TimeoutError):
            loop.run_until_complete(main())
        assert time.monotonic() - started < READ_TIMEOUT
        server.closing.set()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
