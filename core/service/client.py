"""HTTP requests by the standard library's `http.client`, with connections that are kept, on bounded sockets.

For cloud services whose API is HTTP with small JSON documents. No retries, no redirects, no proxies, no log.
Why not urllib3: docs/decisions/0017-rest.md.
"""

import http.client
import socket
import ssl
import weakref
import zlib
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import NamedTuple
from urllib.parse import urlsplit

from core.service.attempts import CONNECT_TIMEOUT, READ_TIMEOUT
from core.service.sockets import BoundedTlsSocket, create_connection

# Bytes of an answer, before and after decompression: above the largest document of Cloudant, which is 1 MiB.
MAX_ANSWER = 4_194_304
# Without it, the kernel would hold back a request's body until its head is acknowledged.
_NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
# The cause of an error, by the first of its classes.
_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "ReadTimeoutError"),
    (ssl.SSLError, "SSLError"),
    (zlib.error, "DecodeError"),
    (OSError, "ProtocolError"),
    (http.client.HTTPException, "ProtocolError"),
    (ValueError, "ProtocolError"),
)


class CallError(Exception):
    """There is no answer. ``str()`` is the cause, by the name that the same failure has in urllib3."""


class Answer(NamedTuple):
    """A complete answer.

    Attributes:
        status: The HTTP status, redirects included.
        headers: The headers, by names in any case.
        data: The body.
    """

    status: int
    headers: http.client.HTTPMessage
    data: bytes


class Client:
    """One server; safe to use from several threads. There are as many connections as requests at once.

    Its time-outs are for each operation; `core.service.sockets.bounded` limits a whole request.

    Args:
        url: Scheme, host and port.
        ca_certs: The file of trusted certificates.
    """

    def __init__(self, url: str, ca_certs: str) -> None:
        self._url = url
        self._ca_certs = ca_certs
        # The last one used is the first one reused, so the others can be closed by the server.
        self._idle: deque[_Connection] = deque()
        weakref.finalize(self, _close, self._idle)

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send a request and return the answer, whatever its status.

        Args:
            method: The HTTP method.
            path: Path and query, percent-encoded.
            body: The body, if any.
            headers: All headers except Host, Content-Length and Accept-Encoding.

        Raises:
            CallError: There is no answer.
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = _connection(self._url, self._ca_certs)
        try:
            answer = connection.exchange(method, path, body, headers)
        except CallError:
            # What broke this one, such as a router that has forgotten it, may have broken them all: the next attempt
            # gets a new one.
            _close(self._idle)
            raise
        if connection.sock:  # it is None after "Connection: close"
            self._idle.append(connection)
        return answer


def fetch(method: str, url: str, body: bytes | str | None, headers: Mapping[str, str], ca_certs: str) -> Answer:
    """Send one request, on a connection of its own.

    Args:
        method: The HTTP method.
        url: The whole URL.
        body: The body, if any.
        headers: As for `Client.send`.
        ca_certs: The file of trusted certificates.

    Raises:
        CallError: There is no answer.
    """
    connection = _connection(url, ca_certs)
    parts = urlsplit(url)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    try:
        return connection.exchange(method, path, body, headers)
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """A connection for ``http``, opened by its first request, and again if the server has closed it."""

    def exchange(self, method: str, path: str, body: bytes | str | None, headers: Mapping[str, str]) -> Answer:
        """Send a request and return the answer. On an error, which is `CallError`, the connection is closed."""
        try:
            if self.sock:
                self._reuse()
            self.request(method, path, body, headers)
            with self.getresponse() as response:
                return Answer(response.status, response.headers, _content(response))
        except BaseException as error:
            self.close()
            cause = next((cause for kind, cause in _CAUSES if isinstance(error, kind)), None)
            if cause is None:
                raise
            # Without the error, which may quote the request.
            raise CallError(cause) from None

    def connect(self) -> None:
        """Connect; `http.client` calls this if there is no connection when it sends."""
        try:
            self.sock = create_connection((self.host, self.port), CONNECT_TIMEOUT, options=(_NO_DELAY,))
        except socket.gaierror:
            raise CallError("NameResolutionError") from None
        except TimeoutError:
            raise CallError("ConnectTimeoutError") from None
        except OSError:
            raise CallError("NewConnectionError") from None
        self.sock.settimeout(READ_TIMEOUT)

    def _reuse(self) -> None:
        """Close the connection if the server has closed it, or has sent what nobody asked for."""
        self.sock.settimeout(0)
        try:
            # Below TLS, whose sockets cannot peek; what is decrypted already is no longer there.
            socket.socket.recv(self.sock, 1, socket.MSG_PEEK)
        except BlockingIOError:
            if not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
                self.sock.settimeout(READ_TIMEOUT)
                return
        except OSError:
            pass  # it was reset
        self.close()


class _TlsConnection(_Connection):
    """A connection for ``https``."""

    default_port = http.client.HTTPS_PORT

    def __init__(self, host: str, ca_certs: str) -> None:
        super().__init__(host)
        self._ca_certs = ca_certs

    def connect(self) -> None:
        """Connect, and check the certificate."""
        super().connect()
        self.sock = _tls(self._ca_certs).wrap_socket(self.sock, server_hostname=self.host)


def _connection(url: str, ca_certs: str) -> _Connection:
    try:
        parts = urlsplit(url)
        return _TlsConnection(parts.netloc, ca_certs) if parts.scheme == "https" else _Connection(parts.netloc)
    except (ValueError, http.client.InvalidURL):
        raise CallError("LocationParseError") from None


@cache
def _tls(ca_certs: str) -> ssl.SSLContext:
    """Return one context for all connections, because reading the certificates takes longer than a handshake."""
    context = ssl.create_default_context(cafile=ca_certs)
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = BoundedTlsSocket
    return context


def _content(response: http.client.HTTPResponse) -> bytes:
    # After an informational answer, which `http.client` skips only if it is 100, another one follows.
    if response.status < 200:
        raise CallError("ProtocolError")
    data = response.read(MAX_ANSWER + 1)
    # `http.client` reports a body that is cut off only if it reads without a limit.
    if response.length or len(data) > MAX_ANSWER:
        raise CallError("ProtocolError")
    encoding = response.headers.get("Content-Encoding", "").lower()
    if data and encoding in ("gzip", "x-gzip"):  # unasked, as some proxies do
        unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        data = unpacking.decompress(data, MAX_ANSWER)
        if not unpacking.eof:
            raise CallError("DecodeError")
    return data


def _close(connections: deque[_Connection]) -> None:
    """Close all, while other threads may take and return some."""
    with suppress(IndexError):
        while True:
            connections.pop().close()
