"""How much a client of our own HTTP server may send, and how long a connection may last."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from core.receiver import MAX_BODY
from server import connections, protocol
from server.asgi import Receive, Scope, Send
from server.connections import Connection, Connections
from server.protocol import MAX_HEAD, MAX_PIPELINED
from tests.server.served import PATIENCE, Client, Served, post, send_until_disconnected, served, wait_for
from tests.support.deliveries import body


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
        pytest.param(b"x" * 4000, id="large extension"),
    ],
)
def test_endless_chunked_body_is_refused_while_it_is_read(server: Served, client: Client, chunk: bytes) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    if chunk.startswith(b"x"):
        client.send(b"1;")
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


def are_unfinished(server: Served, count: int) -> bool:
    return len(server.app.connections._unfinished) == count


def test_too_many_unfinished_messages_evict_the_oldest(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_UNFINISHED", 2)
    unfinished = post()[:-1], b"POST / HTTP/1.1\r\n"
    clients = [server.connect() for _ in range(4)]
    for index, client in enumerate(clients):
        client.send(unfinished[index % 2])
        wait_for(partial(are_unfinished, server, min(index + 1, 2)))
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


def test_connections_that_come_at_once_each_evict_another(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(Connection):
        evicted = 0

        def evict(self) -> None:
            self.evicted += 1

        def expire(self) -> None:
            """Never."""

    async def run() -> None:
        monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
        several, them = Connections(), [Counting() for _ in range(4)]
        for each in them:  # none is closed before the next has come
            several.add(each)
        assert [each.evicted for each in them] == [1, 1, 0, 0]

    asyncio.run(run())


def test_stream_of_the_page_gives_way_to_a_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    class Streams:
        def is_for(self, scope: Scope) -> bool:
            return True

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await receive()

    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    with served() as server:
        server.app.page = Streams()
        stream = server.connect()
        assert stream.send(b"GET /frames HTTP/1.1\r\nHost: x\r\n\r\n").answer().status == 200
        client = server.connect()
        assert stream.rest() == b""
        assert client.send(post()).answer().status == 200
        for each in (stream, client):
            each.close()
