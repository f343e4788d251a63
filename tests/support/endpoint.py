"""A receiver within the test's own process, for tests that look at each request."""

import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from core.http import Request, Response
from core.log import Log
from core.receiver import Receiver
from core.settings import Settings
from tests.support.deliveries import SECRET
from tests.support.memory import Memory


class Endpoint:
    """A receiver on 127.0.0.1, which remembers what it was sent and what it said in its log."""

    def __init__(self, environ: dict[str, str], answer: Callable[[Request], Response] | None = None) -> None:
        self.store = Memory()
        self.requests: list[Request] = []
        self._log = io.StringIO()
        receiver = Receiver(Settings.load(environ), self.store, Log(self._log))
        answering, requests = answer or receiver.handle, self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                request = Request("POST", self.path, self.headers.items(), body)
                requests.append(request)
                response = answering(request)
                self.send_response(response.status)
                for name, value in response.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(response.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def reasons(self) -> list[str]:
        """Return the reasons of the refusals from the log."""
        lines = [json.loads(line) for line in self._log.getvalue().splitlines()]
        return [line["reason"] for line in lines if "reason" in line]


@contextlib.contextmanager
def listening(
    answer: Callable[[Request], Response] | None = None, environ: dict[str, str] | None = None
) -> Iterator[Endpoint]:
    """Listen for a moment; ``answer`` answers in the receiver's place."""
    endpoint = Endpoint(environ or {"DT_SIGNATURE_SECRET": SECRET}, answer)
    thread = threading.Thread(target=endpoint.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.server.shutdown()
        endpoint.server.server_close()
        thread.join()
