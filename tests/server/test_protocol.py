"""Our own HTTP server over real sockets: what a connection may do, and for how long."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from core.event import Event
from core.receiver import DEADLINE, MAX_BODY
from core.stores.contract import Outcome
from server import connections, protocol
from server.protocol import MAX_HEAD, MAX_PIPELINED
from tests.server.served import PATIENCE, Client, Served, post, served
from tests.support.deliveries import body, fresh_body, signed
from tests.support.memory import AsyncMemory, Memory


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as server:
        yield server


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    client = server.connect()
    yield client
    client.close()


def wait_for(condition: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def send_until_disconnected(client: Client, data: bytes) -> None:
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while True:
            client.send(data)


def test_one_connection_takes_many_deliveries(server: Served, client: Client) -> None:
    contents = [fresh_body() for _ in range(3)]
    for content in contents:
        reply = client.send(post(content)).answer()
        assert (reply.status, reply.headers["event-outcome"], reply.is_last) == (200, "stored", False)
    assert client.send(post(contents[0])).answer().headers["event-outcome"] == "duplicate"
    assert server.bodies == contents


def test_a_request_may_arrive_byte_by_byte(server: Served, client: Client) -> None:
    for byte in post():
        client.send(bytes([byte]))
    assert client.answer().status == 200
    assert server.bodies == [body()]


def test_pipelined_requests_are_answered_in_order(server: Served, client: Client) -> None:
    contents = [fresh_body() for _ in range(4)]
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    client.send(post(contents[0]), get, post(contents[1]), b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n", post(contents[2]))
    client.send(post(contents[3])[:100])
    assert [client.answer().headers.get("event-outcome") for _ in range(5)] == [
        "stored",
        "none",
        "stored",
        None,
        "stored",
    ]
    assert client.send(post(contents[3])[100:]).answer().status == 200
    assert server.bodies == contents


def test_too_many_pipelined_requests_end_the_connection(client: Client) -> None:
    client.send(*(post(fresh_body()) for _ in range(MAX_PIPELINED + 3)))
    replies = [client.answer() for _ in range(MAX_PIPELINED + 2)]
    assert [reply.status for reply in replies] == [200] * (MAX_PIPELINED + 1) + [503]
    assert [reply.is_last for reply in replies] == [False] * (MAX_PIPELINED + 1) + [True]
    assert client.rest() == b""


def test_chunked_body_with_extensions_and_a_trailer(server: Served, client: Client) -> None:
    content = body()
    chunks = b"%x;a=b\r\n%b\r\n1\r\n%b\r\n0\r\nX-Dt-Signature: x\r\n\r\n"
    sends = chunks % (len(content) - 1, content[:-1], content[-1:])
    for _ in range(2):
        assert client.send(post(content, "Transfer-Encoding: chunked", sends=sends)).answer().status == 200
    assert server.bodies == [content]


@pytest.mark.parametrize("length", [MAX_BODY + 1, 10**17])
def test_too_large_content_length_is_refused_unread(server: Served, client: Client, length: int) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
    reply = client.answer()
    assert (reply.status, reply.is_last) == (413, True)
    assert client.rest() == b""
    assert server.reasons == ["too_large"]


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(b"10000\r\n" + b"x" * 65_536 + b"\r\n", id="large body"),
        pytest.param(b"1;" + b"x" * 4000 + b"\r\nx\r\n", id="large extensions"),
    ],
)
def test_endless_chunked_body_is_refused_while_it_is_read(server: Served, client: Client, chunk: bytes) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    send_until_disconnected(client, chunk)
    assert server.reasons == ["too_large"]


def test_content_length_with_many_zeros(server: Served, client: Client) -> None:
    content = body()
    head = post(content).partition(b"\r\n\r\n")[0].replace(b"Content-Length: ", b"Content-Length: " + b"0" * 5000)
    assert client.send(head, b"\r\n\r\n", content).answer().status == 200
    assert server.bodies == [content]


def test_answer_to_a_large_body_can_be_read_by_a_client_that_sends_it_all(client: Client) -> None:
    size = 4 * MAX_BODY
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size, b"x" * size)
    assert client.answer().status == 413
    assert client.rest() == b""


@pytest.mark.parametrize("head", [b"GET /", b"GET / HTTP/1.1\r\nA: ", b"GET / HTTP/1.1\r\nA: b\r\nB"])
def test_endless_head_is_refused(server: Served, client: Client, head: bytes) -> None:
    client.send(head)
    send_until_disconnected(client, b"x" * 1000)
    assert server.reasons == ["head_too_large"]


def test_large_head_in_one_packet_is_refused(server: Served, client: Client) -> None:
    lines = b"".join(b"A: %b\r\n" % (b"x" * 1000) for _ in range(MAX_HEAD // 1000 + 1))
    reply = client.send(b"POST / HTTP/1.1\r\nHost: x\r\n", lines, b"\r\n").answer()
    assert (reply.status, reply.is_last) == (431, True)
    assert server.reasons == ["head_too_large"]


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("GET /healthz", 200), ("HEAD /healthz", 200), ("PUT /", 405), ("GET http://x/healthz?y", 200)],
)
@pytest.mark.parametrize("has_body", [False, True])
def test_other_requests_are_answered_unread(client: Client, request_line: str, status: int, has_body: bool) -> None:
    length = "Content-Length: 9999\r\n" if has_body else ""
    reply = client.send(f"{request_line} HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode()).answer()
    assert (reply.status, reply.is_last) == (status, has_body)


def test_answer_to_head_has_no_body(client: Client) -> None:
    client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer(has_body=False).status == 405
    assert client.send(post()).answer().status == 200


def test_connect_is_refused(client: Client) -> None:
    reply = client.send(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\nnonsense").answer()
    assert (reply.status, reply.is_last) == (405, True)


@pytest.mark.parametrize("after", [b"anything after it", post(b"{}")])
@pytest.mark.parametrize(
    "request_line",
    ["POST / HTTP/1.0", "POST / HTTP/1.0\r\nConnection: keep-alive", "POST / HTTP/1.1\r\nConnection: close"],
)
def test_last_request_of_a_connection(server: Served, client: Client, request_line: str, after: bytes) -> None:
    reply = client.send(post().replace(b"POST / HTTP/1.1", request_line.encode()), after).answer()
    assert (reply.status, reply.is_last) == (200, True)
    assert client.rest() == b""
    assert server.reasons == [None]


def test_expect_continue(server: Served, client: Client) -> None:
    head, content = post(None, "Expect: 100-continue", sends=b""), body()
    assert client.send(head).answer().status == 100
    assert client.send(content).answer().status == 200
    # Behind another request, in order.
    client.send(post(), head)
    assert [client.answer().status for _ in range(2)] == [200, 100]
    assert client.send(content).answer().status == 200
    # Refused without the body.
    large = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1)
    assert client.send(large).answer().status == 413
    assert server.bodies == [content]


def test_expect_of_http_1_0_is_ignored(client: Client) -> None:
    head = post(None, "Expect: 100-continue", sends=b"").replace(b"HTTP/1.1", b"HTTP/1.0")
    client.send(head)
    assert client.send(body()).answer().status == 200


def test_upgrade_is_ignored_and_the_body_is_intact(server: Served, client: Client) -> None:
    contents = [fresh_body(), fresh_body()]
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAA")
    request = post(contents[0], *upgrade)
    client.send(request[:-20])
    client.send(request[-20:], post(contents[1]))
    assert [client.answer().status for _ in range(2)] == [200, 200]
    assert server.bodies == contents
    assert client.send(post(contents[0], *upgrade)).answer().status == 200
    client.send(post(contents[0], *upgrade), post(contents[1], *upgrade))
    assert [client.answer().status for _ in range(2)] == [200, 400]


def test_half_closed_client_is_answered(server: Served, client: Client) -> None:
    client.send(post())
    client.sock.shutdown(1)
    assert client.answer().status == 200
    assert client.rest() == b""


def test_incomplete_body_of_a_client_that_is_gone(server: Served, client: Client) -> None:
    client.send(post()[:-1])
    client.sock.shutdown(1)
    assert client.rest() == b""
    wait_for(lambda: server.reasons == ["disconnected"])
    assert server.bodies == []


def test_late_body_is_given_up(server: Served, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "DEADLINE", 0.1)
    reply = client.send(post()[:-1]).answer()
    assert (reply.status, reply.is_last) == (503, True)
    assert client.rest() == b""
    assert server.reasons == ["body_timeout"]


def test_late_head_is_refused(server: Served, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "DEADLINE", 0.1)
    assert client.send(b"POST / HTTP/1.1\r\n").answer().status == 408
    assert client.rest() == b""
    assert server.reasons == ["head_timeout"]


def test_silent_connection_is_closed(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SILENCE", 0.1)
    client = server.connect()
    assert client.rest() == b""
    client.close()
    assert server.reasons == []


def test_idle_connection_is_closed(server: Served, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "KEEP_ALIVE", 0.1)
    assert client.send(post()).answer().status == 200
    assert client.rest() == b""


def test_client_that_does_not_read_is_disconnected(
    server: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "BLOCKED", 0.1)
    send_until_disconnected(client, b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n" * MAX_PIPELINED)
    wait_for(lambda: not server.state.connections)


def test_last_answer_that_is_not_read_does_not_keep_the_connection(
    server: Served, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "BLOCKED", 0.1)
    client.send(post())
    wait_for(lambda: server.app.connections._idle)
    (connection,) = server.state.connections
    # As if the kernel took nothing: what is left is below the limit of the buffer.
    monkeypatch.setattr(connection.transport, "close", lambda: None)
    client.send(b"PUT / HTTP/1.0\r\n\r\n")
    wait_for(lambda: not server.state.connections)


def test_sweeping_goes_on_after_an_exception(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SILENCE", 0.1)
    first, second = server.connect(), server.connect()
    wait_for(lambda: len(server.app.connections._all) == 2)
    one = next(iter(server.app.connections._all))
    expire = one.expire

    def fail_once() -> None:
        monkeypatch.setattr(one, "expire", expire)
        raise OSError

    monkeypatch.setattr(one, "expire", fail_once)
    assert (first.rest(), second.rest()) == (b"", b"")
    for client in (first, second):
        client.close()


def test_client_that_reads_late_gets_all_answers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_PIPELINED", 10**6)
    monkeypatch.setattr(protocol, "BLOCKED", PATIENCE)
    count = 50_000

    def send() -> None:
        for _ in range(count // 20):
            client.send(b"PUT / HTTP/1.1\r\nHost: x\r\n\r\n" * 20)

    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(send)
        time.sleep(0.5)
        assert {client.answer().status for _ in range(count)} == {405}
        sending.result()


def test_too_many_unfinished_messages_evict_the_oldest(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_UNFINISHED", 2)
    unfinished = post()[:-1], b"POST / HTTP/1.1\r\n"
    clients = [server.connect() for _ in range(4)]
    for index, client in enumerate(clients):
        client.send(unfinished[index % 2])
        wait_for(lambda seen=index: len(server.app.connections._unfinished) == min(seen + 1, 2))
    for client in clients[:2]:
        assert client.answer().status == 503
    assert clients[2].send(post()[-1:]).answer().status == 200
    assert server.reasons == ["too_many_bodies", "too_many_bodies", None]
    for client in clients:
        client.close()


def test_too_many_connections_evict_the_idle_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    with served() as server:
        first, second = server.connect(), server.connect()
        assert first.send(post()).answer().status == 200
        third = server.connect()
        assert second.rest() == b""  # it was silent for longer than the first
        for client in (first, third):
            assert client.send(post()).answer().status == 200
        for client in (first, second, third):
            client.close()


class Slow(AsyncMemory):
    """A store that waits until it is told to go on."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.may_store = False

    async def put(self, event: Event, deadline: float) -> Outcome:
        while not self.may_store:
            await asyncio.sleep(0.01)
        return await super().put(event, deadline)


def test_shutdown_answers_what_has_begun_and_closes_the_rest() -> None:
    memory = Memory()
    store = Slow(memory)
    with served(store) as server:
        idle, busy, reading = (server.connect() for _ in range(3))
        contents = fresh_body(), fresh_body()
        busy.send(post(contents[0]))
        reading.send(post(contents[1])[:-1])
        wait_for(lambda: len(server.app.connections._unfinished) == 1)
        server._loop.call_soon_threadsafe(server._stopped.set)
        assert idle.rest() == b""
        store.may_store = True
        reading.send(post(contents[1])[-1:])
        for client in (busy, reading):
            reply = client.answer()
            assert (reply.status, reply.is_last) == (200, True)
        for client in (idle, busy, reading):
            client.close()
    assert {event.body for event in memory.events.values()} == set(contents)


def test_client_that_leaves_early_does_not_stop_the_write() -> None:
    memory = Memory()
    store = Slow(memory)
    with served(store) as server:
        client = server.connect()
        client.send(post())
        wait_for(lambda: server.app.connections._all and not server.app.connections._idle)
        # Closed without FIN: a reset.
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        wait_for(lambda: not server.state.connections)
        store.may_store = True
        wait_for(lambda: len(memory.events) == 1)


def test_time_spent_on_the_body_counts_against_the_deadline(server: Served, client: Client) -> None:
    client.send(post()[:-1])
    time.sleep(0.6)
    assert client.send(post()[-1:]).answer().status == 200
    assert server.memory.deadlines[0] < DEADLINE - 0.5


def test_unsigned_request_is_401_and_the_connection_goes_on(server: Served, client: Client) -> None:
    unsigned = post().replace(signed(body())["X-Dt-Signature"].encode(), b"x")
    assert client.send(unsigned).answer().status == 401
    assert client.send(post()).answer().status == 200
