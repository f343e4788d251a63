"""Requests to a server: connections are kept, opened again and closed; what fails has a cause and no secret."""

import gzip
import http.client
import io
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.service.client import MAX_ANSWER, CallError, Client, fetch
from core.service.sockets import bounded
from tests.support.certificates import certificate, serving
from tests.support.loopback import Call, Drops, Loopback, Reply, in_turn, loopback, success
from tests.support.ports import free_port
from tests.support.proxy import Mode, Proxy

SECRET = "the-words-that-nobody-may-see"
schemes = pytest.mark.parametrize("scheme", ["http", "https"])


@contextmanager
def server(folder: Path, scheme: str, *replies: Reply | None) -> Iterator[tuple[Loopback, Client]]:
    """Give a server that answers so, and a client that trusts it."""
    path, tls = serving(folder)
    with loopback(in_turn(*replies), tls if scheme == "https" else None) as running:
        yield running, Client(running.url, str(path))


@contextmanager
def saying(*answers: bytes, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[socket.socket]]]:
    """Give the address of a server that answers so on each connection, which stays open, and its connections."""

    def run(connection: socket.socket) -> None:
        try:
            for answer in answers:
                received = b""
                while not received.endswith(SECRET.encode()):  # the body of `post`
                    data = connection.recv(65_536)
                    if not data:
                        return
                    received += data
                connection.sendall(answer)
        except OSError:
            pass  # the client has had enough

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
                connection = tls.wrap_socket(connection, server_side=True) if tls else connection
            except OSError:  # it is over
                return
            connections.append(connection)
            threads.append(threading.Thread(target=run, args=(connection,)))
            threads[-1].start()

    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}", connections
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for connection in connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # the client has closed it
                    pass
            for thread in threads:
                thread.join()
            for connection in connections:
                connection.close()


def post(client: Client) -> bytes:
    return client.send("POST", "/a?b=c", SECRET.encode(), {"Authorization": SECRET}).data


def cause_of(call: Callable[[], object]) -> str:
    with pytest.raises(CallError) as caught:
        call()
    assert SECRET not in repr(caught.value) + str(caught.value)
    return str(caught.value)


# A request and its answer.


def test_request_is_sent_as_given(tmp_path: Path) -> None:
    with server(tmp_path, "http", Reply(404, b"no", {"X-Name": "v"})) as (running, client):
        answer = client.send("POST", "/a?b=%20", b"body", {"X-One": "1"})
        assert (answer.status, answer.headers["x-name"], answer.data) == (404, "v", b"no")
        client.send("GET", "/", None, {})
        post, get = running.calls
    assert (post.method, post.path, post.body, post.headers["x-one"]) == ("POST", "/a?b=%20", b"body", "1")
    assert (post.headers["host"], post.headers["content-length"]) == (running.host, "4")
    assert (get.method, get.path, get.body) == ("GET", "/", b"")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_returned(status: int, tmp_path: Path) -> None:
    with server(tmp_path, "http", Reply(status, b"", {"Location": "/elsewhere"})) as (running, client):
        assert client.send("GET", "/", None, {}).status == status
        assert fetch("GET", running.url, None, {}, "").status == status
        assert len(running.calls) == 2


def test_environment_of_proxies_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with server(tmp_path, "http", success()) as (_, client):
        assert post(client) == b"{}"


@pytest.mark.parametrize("path", ["", "?b=c", "/", "//a?b=c"])
@schemes
def test_fetch_closes_its_connection(scheme: str, path: str, tmp_path: Path) -> None:
    with server(tmp_path, scheme, success()) as (running, _):
        for _ in range(2):
            assert fetch("POST", running.url + path, "b", {}, str(tmp_path / "certificate.pem")).data == b"{}"
        assert running.connections == 2
        assert {call.path for call in running.calls} == {path if path.startswith("/") else f"/{path}"}


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
COMPLETE = {
    "chunks": CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    "an early answer before": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
}


@pytest.mark.parametrize("answer", COMPLETE.values(), ids=COMPLETE.keys())
def test_complete_answer_is_read_and_its_connection_kept(answer: bytes) -> None:
    with saying(answer, answer) as (url, connections):
        client = Client(url, "")
        assert [post(client), post(client)] == [b"abcde"] * 2
        assert len(connections) == 1


@pytest.mark.parametrize("encoding", ["gzip", "x-GZIP"])
def test_compressed_answer_is_unpacked(encoding: str, tmp_path: Path) -> None:
    """Nobody asks for it, but some proxies do it."""
    headers = {"Content-Encoding": encoding}
    with server(tmp_path, "http", Reply(200, gzip.compress(b"{}"), headers), Reply(200, b"", headers)) as (_, client):
        assert [post(client), post(client)] == [b"{}", b""]


# Connections.


@schemes
def test_connection_is_reused(scheme: str, tmp_path: Path) -> None:
    with server(tmp_path, scheme, success(a="b")) as (running, client):
        for _ in range(3):
            with bounded(30):
                assert post(client) == b'{"a": "b"}'
        assert running.connections == 1


def test_concurrent_requests_have_connections_of_their_own(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def answering(_: Call) -> Reply:
        together.wait(30)
        return success()

    with loopback(answering) as running, ThreadPoolExecutor(8) as threads:
        client = Client(running.url, "")
        for _ in range(3):
            assert list(threads.map(post, [client] * 8)) == [b"{}"] * 8
        assert running.connections == 8


@schemes
def test_connection_that_the_server_closed_is_opened_again(scheme: str, tmp_path: Path) -> None:
    path, tls = serving(tmp_path)
    with loopback(in_turn(success()), tls if scheme == "https" else None) as running:
        proxy = Proxy(running.server_port)
        try:
            client = Client(f"{scheme}://127.0.0.1:{proxy.port}", str(path))
            for _ in range(3):
                assert post(client) == b"{}"
                proxy.set(Mode.REFUSE)
                proxy.set(Mode.PASS)
            assert len(running.calls) == 3
        finally:
            proxy.close()


def test_connection_that_was_reset_is_opened_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with saying(answer) as (url, connections):
        client = Client(url, "")
        assert post(client) == b"ok"
        connections[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connections[0].close()
        assert post(client) == b"ok"


def test_connection_with_more_than_an_answer_is_not_reused() -> None:
    """What follows would be taken for the answer to the next request."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with saying(answer) as (url, connections):
        client = Client(url, "")
        assert post(client) == b"ok"
        connections[0].sendall(answer.replace(b"ok", b"no"))
        assert post(client) == b"ok"
        assert len(connections) == 2


def test_connection_with_more_than_an_answer_in_one_tls_record_is_not_reused(tmp_path: Path) -> None:
    """What OpenSSL has decrypted is no longer in the socket."""
    path, tls = serving(tmp_path)
    head, end = b"HTTP/1.1 200 OK\r\nA: ", b"\r\nContent-Length: 2\r\n\r\nok"
    # The first answer fills the buffer of `http.client`, so that it reads no more.
    answer = head + b"a" * (io.DEFAULT_BUFFER_SIZE - len(head) - len(end)) + end
    with saying(answer + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", tls=tls) as (url, connections):
        client = Client(url, str(path))
        assert [post(client), post(client)] == [b"ok"] * 2
        assert len(connections) == 2


def test_failure_closes_the_idle_connections_too() -> None:
    """A router that forgot one connection forgot all, and each would take an attempt."""
    together = threading.Barrier(4)
    silent = threading.Event()

    def answering(_: Call) -> Reply | None:
        if silent.is_set():
            return None
        together.wait(30)
        return success()

    with loopback(answering) as running, ThreadPoolExecutor(4) as threads:
        client = Client(running.url, "")
        list(threads.map(post, [client] * 4))
        silent.set()
        assert cause_of(lambda: post(client)) == "ProtocolError"
        assert cause_of(lambda: post(client)) == "ProtocolError"
        assert running.connections == 5


def test_reused_connection_that_is_closed_without_an_answer_is_an_error(tmp_path: Path) -> None:
    """The server may have acted: whether to repeat the request is the caller's business."""
    with server(tmp_path, "http", success(), None, success()) as (running, client):
        assert post(client) == b"{}"
        assert cause_of(lambda: post(client)) == "ProtocolError"
        assert len(running.calls) == 2
        assert post(client) == b"{}"
        assert running.connections == 2


def test_connection_that_the_server_will_close_is_not_kept(tmp_path: Path) -> None:
    with server(tmp_path, "http", Reply(200, b"{}", {"Connection": "close"})) as (running, client):
        assert [post(client), post(client)] == [b"{}"] * 2
        assert running.connections == 2


def test_connections_are_closed_with_their_client() -> None:
    with saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as (url, connections):
        client = Client(url, "")
        assert post(client) == b"ok"
        del client
        connections[0].settimeout(30)
        assert connections[0].recv(1) == b""


# Failures.

CHUNK = CHUNKED + b"%x\r\n" % (MAX_ANSWER + 2) + b"x" * (MAX_ANSWER + 1)
UNREADABLE = {
    "after an informational answer": b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "no HTTP": b"220 ready\r\n",
    "a line too long": b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000,
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200,
    "invalid chunks": CHUNKED + b"x\r\nabc\r\n",
    "too long": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_ANSWER + 2) + b"x" * (MAX_ANSWER + 1),
    "too long in chunks": CHUNK,
}


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unreadable_answer_is_an_error(answer: bytes) -> None:
    """Each is refused as soon as that is clear, because no more comes."""
    with saying(answer) as (url, _), bounded(60):
        assert cause_of(lambda: post(Client(url, ""))) == "ProtocolError"


PACKED = gzip.compress(b"x" * (MAX_ANSWER + 1))
GZIP = {"Content-Encoding": "gzip"}
REPLIES = {
    "none": (None, "ProtocolError"),
    "cut off": (Reply(200, b"{}", {"Content-Length": "99", "Connection": "close"}), "ProtocolError"),
    "cut off at once": (Reply(200, b"", {"Content-Length": "99", "Connection": "close"}), "ProtocolError"),
    "not gzip": (Reply(200, b"{}", GZIP), "DecodeError"),
    "gzip that is cut off": (Reply(200, PACKED[:99], GZIP), "DecodeError"),
    "gzip of too much": (Reply(200, PACKED, GZIP), "DecodeError"),
}


@pytest.mark.parametrize(("reply", "cause"), REPLIES.values(), ids=REPLIES.keys())
def test_incomplete_answer_is_an_error(reply: Reply | None, cause: str, tmp_path: Path) -> None:
    with server(tmp_path, "http", reply) as (_, client):
        assert cause_of(lambda: post(client)) == cause


@schemes
def test_slow_answer_times_out_and_its_connection_is_closed(scheme: str, tmp_path: Path) -> None:
    with server(tmp_path, scheme, success(), Reply(200, Drops(b"x" * 600)), success()) as (running, client):
        assert post(client) == b"{}"
        started = time.monotonic()
        with bounded(0.3):
            assert cause_of(lambda: post(client)) == "ReadTimeoutError"
        assert 0.25 < time.monotonic() - started < 30
        with bounded(30):
            assert post(client) == b"{}"
        assert running.connections == 2


def test_untrusted_certificate_is_sent_nothing(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(certificate()[0])
    with server(tmp_path, "https", success()) as (running, _):
        assert cause_of(lambda: post(Client(running.url, str(other)))) == "SSLError"
        assert running.calls == []


def test_certificate_of_another_host_is_sent_nothing(tmp_path: Path) -> None:
    path, tls = serving(tmp_path, "127.0.0.2")
    with loopback(in_turn(success()), tls) as running:
        assert cause_of(lambda: post(Client(running.url, str(path)))) == "SSLError"
        assert running.calls == []


NOWHERE = {
    "http://127.0.0.1:9": "NewConnectionError",
    "http://a..b": "NameResolutionError",
    "http://127.0.0.1:port": "LocationParseError",
    "http://[": "LocationParseError",
}


@pytest.mark.parametrize(("url", "cause"), NOWHERE.items())
def test_server_that_is_not_there_is_an_error(url: str, cause: str) -> None:
    assert cause_of(lambda: post(Client(url, ""))) == cause


@schemes
def test_port_is_that_of_the_scheme(scheme: str) -> None:
    """With no time left, nothing is connected."""
    with bounded(0):
        assert cause_of(lambda: post(Client(f"{scheme}://127.0.0.1", ""))) == "ConnectTimeoutError"


INVALID: list[tuple[str, dict[str, str]]] = [
    ("/a b", {}),
    ("/\u00e5", {}),
    ("/", {"A": f"{SECRET}\r\nB: c"}),
    ("/", {"A": f"{SECRET}\u2028"}),
]


@pytest.mark.parametrize(("path", "headers"), INVALID)
def test_request_that_http_does_not_allow_is_not_sent(path: str, headers: dict[str, str], tmp_path: Path) -> None:
    with server(tmp_path, "http", success()) as (running, client):
        assert cause_of(lambda: client.send("GET", path, None, headers)) == "ProtocolError"
        assert running.calls == []


def test_interrupted_request_closes_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer would be taken for that of the next request."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with server(tmp_path, "http", success()) as (running, client):
        assert post(client) == b"{}"
        with monkeypatch.context() as patched:
            patched.setattr(http.client.HTTPResponse, "begin", interrupt)
            with pytest.raises(KeyboardInterrupt):
                post(client)
        assert post(client) == b"{}"
        assert running.connections == 2
