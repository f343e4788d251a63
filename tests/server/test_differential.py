"""Our server beside two parsers: what it takes for a request, llhttp and h11 take for the same request.

Requests that two programs read differently are how requests are smuggled:
https://portswigger.net/web-security/request-smuggling
"""

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import h11
import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.http import Request
from core.receiver import HEALTHY
from server.connections import Connections
from server.protocol import Protocol


class Verdict(NamedTuple):
    """What a connection brought.

    Attributes:
        bodies: Of each POST, in order.
        has_ended: Whether nothing more is taken from it.
    """

    bodies: list[bytes]
    has_ended: bool


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.is_closed = False
        self.written = b""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def ours(sent: bytes, cuts: list[int]) -> Verdict:
    bodies: list[bytes] = []
    transport = Transport()

    class Receiver:
        def begin(self, request: Request, _started: float, answer: Any) -> None:
            if request.method == "POST":
                bodies.append(request.body)
            answer(HEALTHY)

        def refuse(self, _request: Request, response: Any, _reason: str, _started: float) -> Any:
            return response

        def give_up(self, *_: Any) -> None:
            return None

    async def run() -> None:
        app = SimpleNamespace(receiver=Receiver(), page=None, connections=Connections())
        protocol = Protocol(
            cast("Any", SimpleNamespace(loaded_app=app)), cast("Any", SimpleNamespace(connections=set()))
        )
        protocol.connection_made(cast("Any", transport))
        edges = sorted({0, len(sent), *(cut % (len(sent) + 1) for cut in cuts)})
        for begin, end in itertools.pairwise(edges):
            protocol.data_received(sent[begin:end])
        protocol.connection_lost(None)

    asyncio.run(run())
    return Verdict(bodies, b"connection: close" in transport.written)


def llhttp(sent: bytes) -> Verdict:
    bodies: list[bytes] = []

    class Reads:
        body = b""

        def on_body(self, data: bytes) -> None:
            self.body += data

        def on_message_complete(self) -> None:
            if parser.get_method() == b"POST":
                bodies.append(self.body)
            self.body = b""

    parser = httptools.HttpRequestParser(Reads())
    try:
        parser.feed_data(sent)
    except httptools.HttpParserError:
        return Verdict(bodies, True)
    return Verdict(bodies, False)


def h11_(sent: bytes) -> Verdict:
    bodies: list[bytes] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=10**6)
    connection.receive_data(sent)
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, body = event.method, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                if method == b"POST":
                    bodies.append(body)
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
            elif event is h11.PAUSED and connection.our_state is h11.DONE:
                connection.start_next_cycle()
            else:
                return Verdict(bodies, event is not h11.NEED_DATA)
    except h11.RemoteProtocolError as error:
        if str(error) != "no request line received":
            return Verdict(bodies, True)
        # An empty line before a request, which is to be ignored: https://www.rfc-editor.org/rfc/rfc9112.html#section-2.2
        left = connection.trailing_data[0]
        rest = h11_(left) if left else Verdict([], False)
        return Verdict([*bodies, *rest.bodies], rest.has_ended)


# fmt: off
NAMES = st.sampled_from([
    "Content-Length", "content-length", "Content-Length ", " Content-Length", "Content_Length", "Transfer-Encoding",
    "TRANSFER-ENCODING", "Transfer-Encoding\t", "Connection", "Expect", "X", "\0",
])
VALUES = st.integers(0, 12).map(str) | st.sampled_from([
    "chunked", "Chunked", "identity", "gzip, chunked", "chunked, chunked", "chunked, identity", "xchunked",
    "\x0bchunked", "+3", "-1", "0x3", "3 ", "3,3", "3, 4", "03", "", "keep-alive", "close", "1\r\n 2", "3\0",
    "99999999999999999999",
])
ENDS = st.sampled_from(["\r\n"] * 12 + ["\n", "\r", "\r\r\n"])
CHUNKS = st.sampled_from([
    "3\r\nabc\r\n", "0\r\n\r\n", "0\r\nX: y\r\n\r\n", "3;e=1\r\nabc\r\n", "03\r\nabc\r\n", "0x3\r\nabc\r\n",
    "3 \r\nabc\r\n", "3\nabc\n", "-3\r\nabc\r\n", "3\r\nabcd\r\n", "3\r\nab\r\n", "ffffffffffffffffff\r\n", "\r\n",
])
# fmt: on


@st.composite
def requests(draw: st.DrawFn) -> str:
    method = draw(st.sampled_from(["POST", "POST", "GET", "PUT", "post"]))
    version = draw(st.sampled_from(["HTTP/1.1"] * 6 + ["HTTP/1.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 "]))
    headers = draw(st.lists(st.tuples(NAMES, VALUES, ENDS), max_size=3))
    lines = "".join(f"{name}: {value}{end}" for name, value, end in headers)
    body = draw(st.text("abc", max_size=12) | st.lists(CHUNKS, max_size=4).map("".join))
    return f"{method} / {version}{draw(ENDS)}Host: x\r\n{lines}{draw(ENDS)}{body}"


SMUGGLED = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("parser", [llhttp, h11_])
@given(st.lists(requests(), min_size=1, max_size=3), st.lists(st.integers(0, 500), max_size=6))
@example(
    [f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"], []
)
@example([f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}"], [])
@example([f"POST / HTTP/1.1\r\nHost: x\r\nX: y\r\n Content-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}"], [])
@example([f"POST / HTTP/1.1\r\nHost: x\r\nX: y\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}"], [])
@example([f"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}"], [])
def test_a_request_is_the_same_for_another_parser(parser: Any, sent: list[str], cuts: list[int]) -> None:
    data = "".join(sent).encode("latin-1")
    our, their = ours(data, cuts), parser(data)
    assert our.bodies == their.bodies[: len(our.bodies)]
    assert our.bodies == their.bodies or our.has_ended
    assert our.has_ended or not their.has_ended
