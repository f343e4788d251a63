"""``python -m bench.aws_stub SECRET``: a server on this machine that agrees to all that the function asks of AWS.

It prints its port. It is as little as it can be, so that what is measured is the client.
"""

import json
import re
import socket
import sys
import threading

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE).search


def _answer(document: object) -> bytes:
    content = json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def _serve(connection: socket.socket, stored: bytes, secret: bytes) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    received = b""
    while data := connection.recv(65_536):
        received += data
        head, separator, body = received.partition(b"\r\n\r\n")
        length = _LENGTH(head)
        if separator and len(body) >= (int(length[1]) if length else 0):
            connection.sendall(secret if b"GetSecretValue" in head else stored)
            received = b""


def main(secret: str) -> None:
    """Serve until the process is ended."""
    stored, of_secret = _answer({}), _answer({"SecretString": secret})
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_serve, args=(connection, stored, of_secret), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1])
