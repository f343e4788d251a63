"""Signed requests in a file, for wrk to send: signing takes longer than receiving, so it is done beforehand."""

import sys
from collections.abc import Callable
from pathlib import Path

from bench.samples import fresh_delivery

# What Heroku's router adds is longer; uvicorn parses headers in C, so that it hardly matters.
_REQUEST = (
    "POST / HTTP/1.1\r\nHost: example.herokuapp.com\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {}\r\n"
    "Content-Type: application/json\r\nX-Dt-Signature: {}\r\nAccept-Encoding: gzip\r\nX-Forwarded-For: 198.51.100.7\r\n"
    "X-Request-Id: 5f0c2a3e-8d51-4b1c-9f0e-2f6d3a7b9c10\r\n\r\n"
)


class RequestFile:
    """Requests of different events, each preceded by its length in 8 digits.

    Args:
        path: The file.
        fresh: Makes a body, and its token.
    """

    def __init__(self, path: Path, fresh: Callable[[], tuple[bytes, str]] = fresh_delivery) -> None:
        self.path = path
        self._fresh = fresh
        self.count = 0

    def grow(self, count: int) -> None:
        """Add requests until there are ``count``."""
        if count <= self.count:
            return
        print(f"signing {count - self.count:,} events", file=sys.stderr)
        with self.path.open("ab") as file:
            for _ in range(count - self.count):
                body, token = self._fresh()
                request = _REQUEST.format(len(body), token).encode() + body
                file.write(b"%08d" % len(request) + request)
        self.count = count
