"""``python -m bench.stub``: a server that accepts all calls of the functions to their clouds.

It prints its port. It does as little as possible, so that the client is what is measured.
"""

import hashlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench import ROOT
from tests.support.deliveries import SECRET

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE).search


def _http(status: int, content: bytes, *headers: str) -> bytes:
    lines = (f"HTTP/1.1 {status} OK", *headers, f"Content-Length: {len(content)}", "", "")
    return "\r\n".join(lines).encode() + content


def _answer(document: object, status: int = 200, kind: str = "application/x-amz-json-1.0") -> bytes:
    return _http(status, json.dumps(document).encode(), f"Content-Type: {kind}")


def _sent(body: bytes) -> bytes:
    """Return SQS's answer, which has the message's hash."""
    text: str = json.loads(body)["MessageBody"]
    return _answer(
        {"MessageId": "1", "MD5OfMessageBody": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}
    )


_TIME = "Sat, 21 Nov 2026 12:00:00 GMT"
_MESSAGE = (
    "<QueueMessagesList><QueueMessage><MessageId>1</MessageId>"
    f"<InsertionTime>{_TIME}</InsertionTime><ExpirationTime>{_TIME}</ExpirationTime>"
    f"<PopReceipt>1</PopReceipt><TimeNextVisible>{_TIME}</TimeNextVisible></QueueMessage></QueueMessagesList>"
)
# By a text in the head of a request: Azure's queue, look-up and table; AWS's message and secret; Google's publish;
# IBM's list of databases, and document; Google's look-up.
# Everything else is stored.
_ANSWERS: tuple[tuple[bytes, bytes | Callable[[bytes], bytes]], ...] = (
    (b"/account/events/messages", _http(201, _MESSAGE.encode(), "Content-Type: application/xml")),
    (b"GET /account/", _http(404, b"", "x-ms-error-code: ResourceNotFound")),
    (b"/account/", _http(204, b"", "ETag: 1")),
    (b"AmazonSQS.SendMessage", _sent),
    (b"GetSecretValue", _answer({"SecretString": SECRET})),
    (b":publish", _answer({"messageIds": ["1"]})),
    (b"GET /_all_dbs", _answer([], kind="application/json")),
    (b"PUT /events-", _answer({"ok": True, "id": "1", "rev": "1-1"}, 201, "application/json")),
    (b"GET ", _answer({"error": {"code": 404, "status": "NOT_FOUND"}}, 404)),
    (b"", _http(200, b"{}", "Content-Type: application/x-amz-json-1.0", "x-amzn-RequestId: 1")),
)


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    while data := connection.recv(65_536):
        received += data
        head, separator, body = received.partition(b"\r\n\r\n")
        length = _LENGTH(head)
        if separator and len(body) >= (int(length[1]) if length else 0):
            answer = next(answer for part, answer in _ANSWERS if part in head)
            connection.sendall(answer if isinstance(answer, bytes) else answer(body))
            received = b""


@contextmanager
def stub(module: str = "bench.stub") -> Iterator[str]:
    """Yield the address of a running stub, such as ``127.0.0.1:1234``: this module, or another that prints its port."""
    with subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def main() -> None:
    """Serve until the process ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
