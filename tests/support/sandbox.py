"""A Lambda sandbox: AWS's own runtime client in its process, behind our Runtime API and a front door.

Not Lambda itself: no freeze between requests, no limit on CPU, not Amazon Linux. The client, awslambdaric, and what it
runs are real. The API: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.front_doors import FrontDoor
from tests.support.processes import ROOT, Answer, Printing, spawn

HANDLER = "aws_lambda.handler.handler"
_PREFIX = "/2018-06-01/runtime/"
# Python runs a module of this name before the program: the one way to wait for seconds, and not for one minute between
# two fetches and for five until a secret is stale.
IMPATIENT = """
import core.verify.secrets

core.verify.secrets.COOLDOWN = 0.5
core.verify.secrets.MAX_AGE = {max_age}
"""


class _Invocation:
    def __init__(self, event: Any) -> None:
        self.id = str(uuid.uuid4())
        self.event = event
        self.done = threading.Event()
        self.result: Any = None
        self.error: Any = None


class _RuntimeApi(ThreadingHTTPServer):
    """Passes invocations one at a time, as Lambda does to a sandbox."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.waiting: queue.Queue[_Invocation] = queue.Queue()
        self.running: dict[str, _Invocation] = {}
        self.init_error: Any = None

    def handle_error(self, *_: Any) -> None:
        """Print nothing: some tests kill the runtime."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise each invocation takes 44 ms.
    disable_nagle_algorithm = True
    server: _RuntimeApi

    def do_GET(self) -> None:
        assert self.path == _PREFIX + "invocation/next"
        invocation = self.server.waiting.get()
        self.server.running[invocation.id] = invocation
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.id,
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 9000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:receiver",
        }
        self._answer(200, json.dumps(invocation.event).encode(), headers)

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match self.path.removeprefix(_PREFIX).split("/"):
            case ["invocation", request_id, "response"]:
                invocation = self.server.running.pop(request_id)
                invocation.result = content
                invocation.done.set()
            case ["invocation", request_id, "error"]:
                invocation = self.server.running.pop(request_id)
                invocation.error = content
                invocation.done.set()
            case ["init", "error"]:
                self.server.init_error = content
        self._answer(202, b"{}", {})

    def _answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


class Sandbox(Printing):
    """One runtime process and its front door.

    Args:
        environ: Its environment, with AWS's region and credentials: nothing is inherited from the tests.
        folder: Its working directory.
        front_door: The front door for requests.
        root: The folder of the code: this repository by default, or a staged package.
        python: The command of the interpreter.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        folder: Path,
        front_door: FrontDoor,
        root: Path = ROOT,
        python: tuple[str, ...] = (sys.executable,),
    ) -> None:
        super().__init__()
        self._api = _RuntimeApi()
        threading.Thread(target=self._api.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self._front_door = front_door
        basics = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(root),
            "PYTHONWARNINGS": "error",
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "receiver",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
            "AWS_LAMBDA_LOG_GROUP_NAME": "receiver",
            "AWS_LAMBDA_LOG_STREAM_NAME": "receiver",
            "LAMBDA_TASK_ROOT": str(root),
        }
        self.process = spawn(
            [*python, "-m", "awslambdaric", HANDLER],
            cwd=folder,
            env={**basics, **environ},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def invoke(self, event: Any, timeout: float = 30) -> Any:
        """Invoke the function, and return its result.

        Raises:
            AssertionError: The function raised an error, or the process ended.
        """
        invocation = _Invocation(event)
        self._api.waiting.put(invocation)
        deadline = time.monotonic() + timeout
        while not invocation.done.wait(0.2):
            assert self.process.poll() is None, (self._api.init_error, self.output())
            assert time.monotonic() < deadline, self.output()
        assert invocation.error is None, invocation.error
        return invocation.result

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Make one HTTP request through the front door."""
        # Headers of an HTTP client, and of a gateway.
        all_headers = [("Host", "example.com"), ("X-Forwarded-For", "192.0.2.1"), *(headers or {}).items()]
        return self._front_door.answer(self.invoke(self._front_door.event(method, path, all_headers, body)))

    def close(self) -> None:
        """Stop it."""
        self.process.kill()
        self.process.wait(30)
        self._api.shutdown()
        self._api.server_close()
        super().close()


@contextmanager
def sandbox(environ: Mapping[str, str], folder: Path, front_door: FrontDoor, **options: Any) -> Iterator[Sandbox]:
    """Yield a sandbox, and stop it afterwards."""
    started = Sandbox(environ, folder, front_door, **options)
    try:
        yield started
    finally:
        started.close()
