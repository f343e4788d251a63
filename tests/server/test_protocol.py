"""Our own HTTP server over real sockets: what a client may send, and what it is answered."""

import asyncio
import socket
import struct
import time

import pytest

from core.event import Event
from core.receiver import DEADLINE, MAX_BODY
from core.stores.contract import Outcome
from server.protocol import MAX_PIPELINED
from tests.server.served import Client, Served, post, served, wait_for
from tests.support.deliveries import body, fresh_body, signed
from tests.support.memory import AsyncMemory, Memory


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
