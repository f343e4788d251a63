"""Bodies, methods and paths behind functions-framework."""

import http.client
import os
import socket
from collections.abc import Callable

import pytest

from tests.gcp_functions.main.function import (
    DUPLICATE,
    STORED,
    outcome,
    post,
    problem,
    raw,
    stored,
)
from tests.support.deliveries import body, fresh_body, hs256, signed
from tests.support.google import Firestore
from tests.support.processes import Answer, Program


def chunked(program: Program, content: bytes, size: int, token: str | None = None) -> Answer:
    """Post in chunks of this size."""
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=10)
    pieces = (content[at : at + size] for at in range(0, len(content), size))
    headers = {"X-Dt-Signature": token or hs256(content), "Transfer-Encoding": "chunked"}
    try:
        connection.request("POST", "/", pieces, headers, encode_chunked=True)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


CHUNKED = {
    "ordinary": lambda: fresh_body(),
    "not ASCII": lambda: body(eventId="æøå 温度 😀" + os.urandom(4).hex()),
    "every byte": lambda: bytes(range(256)) + os.urandom(8),
    "looks like a form": lambda: b"a=1&b=%20" + os.urandom(4).hex().encode(),
    "large": lambda: body(eventId=os.urandom(8).hex(), padding="x" * 250_000),
}


@pytest.mark.parametrize("size", [1, 7, 65_536])
@pytest.mark.parametrize("make", CHUNKED.values(), ids=CHUNKED.keys())
def test_chunked_body_is_stored(ready: Program, database: Firestore, make: Callable[[], bytes], size: int) -> None:
    content = make()
    size = max(size, len(content) // 1000)
    assert chunked(ready, content, size, hs256(content + b" ")).status == 401
    assert stored(database)[content] == 0
    assert outcome(chunked(ready, content, size)) == STORED
    assert outcome(post(ready, content)) == DUPLICATE
    assert stored(database)[content] == 1


def test_incomplete_chunked_body_is_not_stored(ready: Program, database: Firestore) -> None:
    content = fresh_body()
    head = f"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Dt-Signature: {hs256(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", ready.port), timeout=10) as connection:
        connection.sendall(f"{head}{len(content):x}\r\n".encode() + content)
        connection.shutdown(socket.SHUT_WR)
        assert not connection.recv(65_536).startswith(b"HTTP/1.1 2")
    assert stored(database)[content] == 0
    assert outcome(post(ready, content)) == STORED


def test_client_disconnect_before_the_body_is_logged_without_a_traceback(ready: Program, database: Firestore) -> None:
    content = fresh_body()
    before = len(ready.lines())
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\nX-Dt-Signature: {hs256(content)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", ready.port), timeout=10) as connection:
        connection.sendall(head.encode() + content[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 503 ")
    [line] = ready.wait_for_lines(before + 1)[before:]
    assert (line["outcome"], line["reason"]) == ("failed", "disconnected")
    assert "Traceback" not in ready.output()
    assert stored(database)[content] == 0


def test_expect_100_continue(ready: Program, database: Firestore) -> None:
    content = fresh_body()
    head = (
        f"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(content)}\r\n"
        f"Connection: close\r\nX-Dt-Signature: {hs256(content)}\r\n\r\n"
    )
    answer = raw(ready, head.encode(), content)
    first, _, second = answer.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 100 ")
    assert second.startswith(b"HTTP/1.1 200 ")
    assert stored(database)[content] == 1


@pytest.mark.parametrize("in_chunks", [False, True])
def test_body_of_a_megabyte_is_too_large(ready: Program, in_chunks: bool) -> None:
    content = b"x" * 1_048_576
    answer = chunked(ready, content, 65_536) if in_chunks else post(ready, content)
    assert problem(answer) == (413, "too-large")


METHODS = ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "BREW")
PATHS = ("/", "/x", "/a/b/", "/healthz", "/healthz/", "/%00", "/%ff", "/?a=b", "/..%2f", "/a//b")


def test_every_method_and_path_is_answered_by_the_receiver(ready: Program) -> None:
    """An answer of None would be a 500; without a body it would be a page of Flask's."""
    for path in PATHS:
        for method in METHODS:
            answer = ready.request(method, path)
            if method in ("GET", "HEAD") and path == "/healthz":
                assert (answer.status, answer.body) == (200, b"")
            else:
                assert answer.status == 405, (method, path)
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["allow"] == "POST"
        assert problem(ready.request("POST", path)) == (401, "unverified")


@pytest.mark.parametrize("path", ["/robots.txt", "/favicon.ico"])
def test_paths_reserved_by_the_framework_are_404(ready: Program, database: Firestore, path: str) -> None:
    """A delivery to them is not acknowledged."""
    content = fresh_body()
    assert ready.request("POST", path, signed(content), content).status == 404
    assert stored(database)[content] == 0
