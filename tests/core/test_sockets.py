"""One timeout for a whole call, whatever the peer does: over real sockets, with and without TLS."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.service.sockets import BoundedTlsSocket, bounded, create_connection
from tests.support.certificates import serving

BOUND = 0.3
# For a busy machine; without a bound these would take much longer.
SLACK = 2.0

Serve = Callable[[socket.socket], object]


@contextmanager
def server(serve: Serve) -> Iterator[tuple[str, int]]:
    """Give the address of a server that serves each connection on a new thread."""

    def run(connection: socket.socket) -> None:
        with connection:
            try:
                serve(connection)
            except OSError:
                pass  # the client has had enough

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:  # it is over
                return
            threads.append(threading.Thread(target=run, args=(connection,)))
            threads[-1].start()

    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield listening.getsockname()
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def drip(connection: socket.socket, content: bytes = b"x" * 200) -> None:
    """Send a byte every 20 ms."""
    for byte in content:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


def ends_in_time(call: Callable[[], object]) -> None:
    """Assert that a call ends at the bound, neither before nor much later."""
    started = time.monotonic()
    with pytest.raises(TimeoutError), bounded(BOUND):
        call()
    assert BOUND * 0.9 < time.monotonic() - started < BOUND + SLACK


def read_all(sock: socket.socket) -> bytes:
    """Read as http.client does."""
    with sock.makefile("rb") as file:
        return file.read()


# A socket.


def test_fast_peer_is_unaffected() -> None:
    no_delay = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with (
        server(lambda connection: connection.sendall(connection.recv(9))) as address,
        bounded(5),
        create_connection(address, 5, ("127.0.0.2", 0), [no_delay]) as sock,
    ):
        assert sock.getsockname()[0] == "127.0.0.2"
        assert sock.getsockopt(*no_delay[:2])
        sock.sendall(b"as ever")
        assert read_all(sock) == b"as ever"


def test_slow_sender_times_out() -> None:
    with server(drip) as address, create_connection(address, 5) as sock:
        ends_in_time(lambda: read_all(sock))
        # With no time left, nothing starts.
        with bounded(0), pytest.raises(TimeoutError):
            sock.sendall(b"a")


def test_slow_reader_times_out() -> None:
    def sip(connection: socket.socket) -> None:
        while connection.recv(1 << 16):
            time.sleep(0.02)

    with server(sip) as address, create_connection(address, 5) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ends_in_time(lambda: sock.sendall(bytes(1 << 24)))


def test_shorter_timeout_of_the_socket_holds() -> None:
    with server(lambda connection: connection.recv(1)) as address, create_connection(address, 0.1) as sock:
        started = time.monotonic()
        with pytest.raises(TimeoutError), bounded(5):
            sock.recv_into(bytearray(1))
        assert time.monotonic() - started < 3


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_socket_without_a_bound_keeps_its_timeout(timeout: float | None) -> None:
    with server(lambda connection: drip(connection, b"abc")) as address, create_connection(address, timeout) as sock:
        assert read_all(sock) == b"abc"
        assert sock.gettimeout() == timeout


def test_earlier_of_two_bounds_holds() -> None:
    with server(drip) as address, create_connection(address, 5) as sock, bounded(5):
        started = time.monotonic()
        with pytest.raises(TimeoutError), bounded(BOUND), bounded(5):
            read_all(sock)
        assert time.monotonic() - started < BOUND + SLACK
        # And when the inner one is over, it is over.
        sock.settimeout(5)
        assert sock.recv_into(bytearray(1)) == 1


def test_bound_is_local_to_its_thread() -> None:
    with (
        server(lambda connection: drip(connection, b"abc")) as address,
        create_connection(address, 5) as sock,
        bounded(0),
        ThreadPoolExecutor(1) as threads,
    ):
        assert threads.submit(read_all, sock).result() == b"abc"


# Connecting.


def test_unaccepted_connection_times_out() -> None:
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        with socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(full.getsockname())
            ends_in_time(lambda: create_connection(full.getsockname(), 5))


def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(lambda connection: connection.sendall(b"b")) as (host, port):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (each, port)) for each in ("127.0.0.3", host)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with create_connection(("two.example", port), 5) as sock:
            assert read_all(sock) == b"b"
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found[:1])
        with pytest.raises(ConnectionRefusedError):
            create_connection(("one.example", port), 5)


# Looking up.


def resolver(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> list[str]:
    """Replace the lookup of names, not of addresses; return the names that are looked up."""
    asked: list[str] = []
    real: Any = socket.getaddrinfo

    def look_up(host: str, *arguments: Any, flags: int = 0, **options: Any) -> Any:
        if flags & socket.AI_NUMERICHOST:
            return real(host, *arguments, flags=flags, **options)
        asked.append(host)
        return answer()

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_hanging_dns_lookup_times_out_and_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(lambda connection: connection.sendall(b"b")) as (host, port), ThreadPoolExecutor(20) as threads:
        resolved = threading.Event()
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))]
        asked = resolver(monkeypatch, lambda: (resolved.wait(10), found)[1])
        before = threading.active_count()
        list(threads.map(lambda _: ends_in_time(lambda: create_connection(("slow.example", port), 5)), range(20)))
        assert asked == ["slow.example"]
        # One thread waits on for it, beside the twenty; threads of other tests may have ended meanwhile.
        assert threading.active_count() <= before + 21
        resolved.set()
        with create_connection(("slow.example", port), 5) as sock:
            assert read_all(sock) == b"b"


def fail(error: Exception) -> Callable[[], Any]:
    def raising() -> None:
        raise error

    return raising


def test_unknown_name_fails_for_every_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver(monkeypatch, fail(socket.gaierror(socket.EAI_NONAME, "none")))
    for _ in range(2):
        with pytest.raises(socket.gaierror) as caught:
            create_connection(("none.example", 80), 5)
        assert caught.value.args == (socket.EAI_NONAME, "none")
    for strange in ("a" * 64, "a..b"):
        with pytest.raises(socket.gaierror):
            create_connection((strange, 80), 5)


# TLS.


class Tls:
    """A server's context, and a client's that trusts it."""

    def __init__(self, folder: Path) -> None:
        path, self.server = serving(folder)
        self.client = ssl.create_default_context(cafile=path)
        self.client.sslsocket_class = BoundedTlsSocket

    def serving(self, serve: Serve) -> Serve:
        def run(connection: socket.socket) -> None:
            with self.server.wrap_socket(connection, server_side=True) as secure:
                serve(secure)

        return run

    def connect(self, address: tuple[str, int]) -> ssl.SSLSocket:
        return self.client.wrap_socket(create_connection(address, 5), server_hostname="127.0.0.1")


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


@contextmanager
def dripping(address: tuple[str, int], begun: threading.Event) -> Iterator[tuple[str, int]]:
    """Give the address of a proxy that can be set to drip, which splits TLS records."""

    def pump(source: socket.socket, sink: socket.socket, send: Callable[[bytes], None]) -> None:
        try:
            while data := source.recv(65_536):
                send(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def serve(client: socket.socket) -> None:
        with socket.create_connection(address) as there:

            def answer(data: bytes) -> None:
                if begun.is_set():
                    drip(client, data)
                else:
                    client.sendall(data)

            asking = threading.Thread(target=pump, args=(client, there, there.sendall))
            asking.start()
            pump(there, client, answer)
            asking.join()

    with server(serve) as proxy:
        yield proxy


def test_fast_tls_peer_is_unaffected(tls: Tls) -> None:
    with (
        server(tls.serving(lambda connection: connection.sendall(connection.recv(9)))) as address,
        bounded(5),
        tls.connect(address) as sock,
    ):
        sock.sendall(b"as ever")
        assert read_all(sock) == b"as ever"


def test_slow_tls_handshake_times_out(tls: Tls) -> None:
    begun = threading.Event()
    begun.set()
    with server(tls.serving(drip)) as address, dripping(address, begun) as proxy:
        ends_in_time(lambda: tls.connect(proxy))


def test_slow_tls_record_times_out(tls: Tls) -> None:
    begun = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(bytes(500))

    with server(tls.serving(serve)) as address, dripping(address, begun) as proxy, tls.connect(proxy) as sock:
        begun.set()
        sock.sendall(b"a")
        ends_in_time(lambda: read_all(sock))


def test_slow_series_of_tls_records_times_out(tls: Tls) -> None:
    with server(tls.serving(drip)) as address, tls.connect(address) as sock:
        ends_in_time(lambda: read_all(sock))


def test_slow_tls_reader_times_out(tls: Tls) -> None:
    def sip(connection: socket.socket) -> None:
        while connection.recv(1 << 16):
            time.sleep(0.02)

    with server(tls.serving(sip)) as address, tls.connect(address) as sock:
        ends_in_time(lambda: sock.sendall(bytes(1 << 24)))
