"""An HTTP server in place of a cloud's service, with scripted answers and recorded calls."""

import json
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl


@dataclass
class Call:
    """One received request.

    Attributes:
        operation: AWS's operation, such as ``PutItem``; empty otherwise.
        parameters: The parsed body, if it is JSON or a form.
        method: The HTTP method.
        path: Path and query.
        headers: The headers, by names in lower case.
        began: ``time.monotonic()`` at its arrival.
        body: The exact body.
    """

    operation: str
    parameters: Any
    method: str
    path: str
    headers: dict[str, str]
    began: float = field(default_factory=time.monotonic)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Reply:
    """One answer.

    Attributes:
        status: The status.
        content: The body.
        headers: Additional headers. Content-Length, a JSON Content-Type and, for AWS, a request id are defaults.
    """

    status: int
    content: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)


# The connection is closed without an answer; there is no answer while the server lives.
DROPPED = None
SILENT = Reply(0)

Answering = Callable[[Call], Reply | None]


def fault(code: str, status: int = 400, message: str = "") -> Reply:
    """Return an error as AWS's services with JSON protocols send it."""
    document = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}
    return Reply(status, json.dumps(document).encode())


def google_fault(status: int, code: str, message: str = "") -> Reply:
    """Return an error as Google's services send it."""
    return Reply(status, json.dumps({"error": {"code": status, "message": message, "status": code}}).encode())


def success(**document: Any) -> Reply:
    """Return the answer with a result."""
    return Reply(200, json.dumps(document).encode())


def in_turn(*replies: Reply | None) -> Answering:
    """Answer with each of these once, then always with the last."""
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


class Drops(bytes):
    """The body of an answer that arrives a byte at a time, every 0.07 s."""


class Loopback(ThreadingHTTPServer):
    """The server.

    Attributes:
        url: Its address.
        host: The same, without the scheme.
        calls: The calls so far.
        connections: How many connections were accepted so far.
    """

    daemon_threads = True
    # 20 threads may connect at once.
    request_queue_size = 128

    def __init__(self, answering: Answering, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answering = answering
        self.calls: list[Call] = []
        self.connections = 0
        self.host = f"127.0.0.1:{self.server_port}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        self.closing = threading.Event()
        self._sockets: list[socket.socket] = []
        if tls:
            # The handshake is done in the connection's thread, because this one accepts the next.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Count."""
        self.connections += 1
        self._sockets.append(request)
        super().process_request(request, client_address)

    def server_close(self) -> None:
        """Close the connections too."""
        super().server_close()
        for each in self._sockets:
            with suppress(OSError):  # closed already
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: in some tests the client disconnects."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Loopback

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        # http.server replaces two leading slashes by one.
        self.path = self.requestline.split()[1]
        operation = headers.get("x-amz-target", "").rpartition(".")[2]
        call = Call(operation, _parameters(headers, content), self.command, self.path, headers, body=content)
        self.server.calls.append(call)
        reply = self.server.answering(call)
        if reply is SILENT:
            self.server.closing.wait(30)
        if reply is None or reply is SILENT:
            self.close_connection = True
            return
        # With a Date of its own, unless the reply has one.
        (self.send_response_only if "Date" in reply.headers else self.send_response)(reply.status)
        basics = {"Content-Type": "application/json", "Content-Length": str(len(reply.content))}
        if operation:
            basics["x-amzn-RequestId"] = "T7QK"
        for name, value in {**basics, **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if isinstance(reply.content, Drops):
            for byte in reply.content:
                time.sleep(0.07)
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(reply.content)

    do_GET = do_PATCH = do_PUT = do_DELETE = do_POST

    def log_message(self, *_: Any) -> None:
        pass


def _parameters(headers: Mapping[str, str], content: bytes) -> Any:
    """Return the fields of a form, or the JSON value; None otherwise."""
    if headers.get("content-type") == "application/x-www-form-urlencoded":
        return dict(parse_qsl(content.decode()))
    try:
        return json.loads(content)
    except ValueError:
        return None


@contextmanager
def loopback(answering: Answering, tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """Yield a running server, and stop it afterwards."""
    server = Loopback(answering, tls)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()


def assert_no_leak(error: Exception, secret: str) -> None:
    """Assert that an error has nothing of the request or the answer, and no chained error with it."""
    assert (error.__cause__, error.__context__) == (None, None)
    assert secret not in "".join(traceback.format_exception(error))
    assert secret not in repr(vars(error))
