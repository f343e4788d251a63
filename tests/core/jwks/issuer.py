"""A server on this machine that publishes keys, as it is told."""

import http.server
import json
from collections.abc import Callable

from core.verify.jwks import PublishedKeys
from core.verify.keys import KeysNeeded
from tests.support.es256 import KID, jwks

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"


Handler = http.server.BaseHTTPRequestHandler


Answer = Callable[[Handler], None]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Issuer:
    """A server on 127.0.0.1 that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Answer] = {}
        issuer = self

        class Asked(Handler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                try:
                    issuer.answers.get(self.path, status(404))(self)
                except OSError:
                    pass  # the client has had enough

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.answers[DISCOVERY] = document({"jwks_uri": self.url + KEYS})
        self.answers[KEYS] = document(jwks())


def status(code: int, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return answer


def content(data: bytes, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        status(200, **headers)(handler)
        handler.wfile.write(data)

    return answer


def document(value: object) -> Answer:
    return content(json.dumps(value).encode())


def is_needed(keys: PublishedKeys, kid: str = KID) -> bool:
    return isinstance(keys.get(kid), KeysNeeded)
