"""``python -m bench.stub``: a server on this machine that agrees to all that the functions ask of their clouds.

It prints its port. It is as little as it can be, so that what is measured is the client.
"""

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench import ROOT
from tests.support.deliveries import SECRET

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE).search


def _answer(document: object, status: int = 200) -> bytes:
    content = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


# By what is in the head of a request: AWS's secret, Google's publish and look-up; everything else is stored.
_ANSWERS = (
    (b"GetSecretValue", _answer({"SecretString": SECRET})),
    (b":publish", _answer({"messageIds": ["1"]})),
    (b"GET ", _answer({"error": {"code": 404, "status": "NOT_FOUND"}}, 404)),
    (b"", _answer({})),
)


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    while data := connection.recv(65_536):
        received += data
        head, separator, body = received.partition(b"\r\n\r\n")
        length = _LENGTH(head)
        if separator and len(body) >= (int(length[1]) if length else 0):
            connection.sendall(next(answer for part, answer in _ANSWERS if part in head))
            received = b""


@contextmanager
def stub(module: str = "bench.stub") -> Iterator[str]:
    """Give the address of one that runs, such as ``127.0.0.1:1234``; of this module, or of one that prints its port."""
    with subprocess.Popen([sys.executable, "-m", module], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def main() -> None:
    """Serve until the process is ended."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
