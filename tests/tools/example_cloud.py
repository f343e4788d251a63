"""A minimal adapter: a platform that calls ``main(event, context)`` and stores a file for each event."""

from tests.support.pages import HEADINGS

FILES = {
    "example_cloud/__init__.py": '"""The receiver on an example of a cloud."""\n',
    "example_cloud/main.py": '''
"""The entry: what the platform calls."""

import os
import time

from example_cloud.http import to_request, to_response
from example_cloud.wiring import build_receiver

receiver = build_receiver(os.environ)


def main(event, context):
    """Answer one delivery."""
    return to_response(receiver.handle(to_request(event), time.monotonic()))
''',
    "example_cloud/http.py": '''
"""Between the platform's JSON and the core's two shapes."""

import base64

from core.http import Request, Response


def to_request(event) -> Request:
    """Return the request that the platform has."""
    return Request(event["method"], event["path"], [*map(tuple, event["headers"])], base64.b64decode(event["body"]))


def to_response(response: Response):
    """Return the answer as the platform wants it."""
    return {"status": response.status, "headers": [*response.headers], "body": response.body.decode()}
''',
    "example_cloud/wiring.py": '''
"""Which folder: read from the environment."""

from pathlib import Path

from core.assembly import build
from example_cloud.files import FileStore


def build_receiver(environ):
    """Build the receiver."""
    return build(environ, build_store)


def build_store(environment):
    """Build the store in the folder that DT_EXAMPLE_FOLDER names."""
    folder = environment.required("DT_EXAMPLE_FOLDER", "the folder for events")
    environment.check()
    return FileStore(Path(folder))
''',
    "example_cloud/files.py": '''
"""One file for each event, written in full under another name before it is linked to its own."""

import hashlib
import json
import os
import tempfile

from core.stores.contract import Outcome, StoreUnavailableError


class FileStore:
    """Unique by the name of the file."""

    def __init__(self, folder):
        self._folder = folder

    def put(self, event, deadline):
        """Write one event."""
        document = event.attributes() | {"parsed": event.parsed, "body": event.body.decode("latin-1")}
        try:
            with tempfile.NamedTemporaryFile("w", dir=self._folder) as file:
                file.write(json.dumps(document))
                file.flush()
                os.fsync(file.fileno())
                os.link(file.name, self._folder / f"{hashlib.sha256(event.key.encode()).hexdigest()}.json")
        except FileExistsError:
            return Outcome.DUPLICATE
        except OSError:
            raise StoreUnavailableError("disk") from None
        return Outcome.STORED
''',
    "example_cloud/package.toml": """
name = "example"
summary = "Write dist/example_cloud/: all that the example needs"
root = ["main.py", "requirements.txt"]
""",
    "example_cloud/settings.toml": """
title = "Example"

[DT_EXAMPLE_FOLDER]
default = "none"
meaning = "The folder for events."
example = "/srv/events"
""",
    "example_cloud/targets.mk": """
.PHONY: deploy-example
deploy-example: package-example ## Deploy dist/example_cloud/
	@echo Deployed.
""",
    "example_cloud/requirements.in": "-r ../requirements/core.in\n",
    "example_cloud/requirements.txt": "pyjwt==2.10.1\n",
    "example_cloud/README.md": "# The receiver on an example\n\n"
    + "".join(f"## {heading}\n`make deploy-example`\n\n" for heading in HEADINGS),
    "tests/example_cloud/host.py": '''
"""The platform: HTTP to ``main(event, context)`` and back."""

import base64
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from example_cloud.main import main


class Handler(BaseHTTPRequestHandler):
    def _handle(self):
        answer = main(event(self.command, self.path, list(self.headers.items()), self._body()), None)
        answer = json.loads(json.dumps(answer))
        self.send_response_only(answer["status"])
        for name, value in answer["headers"]:
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer["body"])))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer["body"].encode())

    def _body(self):
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _handle


def event(method, path, headers, body):
    content = base64.b64encode(body).decode()
    return json.loads(json.dumps({"method": method, "path": path, "headers": headers, "body": content}))


class Server(ThreadingHTTPServer):
    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
''',
    "tests/example_cloud/adapters.py": '''
"""The example under contract."""

import base64
import json
from contextlib import contextmanager

from example_cloud.http import to_request
from tests.contract.adapter import Adapter
from tests.example_cloud.stores import documents
from tests.support.processes import running


@contextmanager
def example(environ, folder, request):
    place, away = folder / "events", folder / "away"
    place.mkdir(exist_ok=True)
    with running("tests.example_cloud.host", {**environ, "DT_EXAMPLE_FOLDER": str(place)}, folder) as program:
        yield Adapter(
            program,
            lambda: [document["body"] for document in documents(place)],
            lambda: place.rename(away),
            lambda: away.rename(place),
            longest_header=60_000,
        )


def front_door(headers, body):
    content = base64.b64encode(body).decode()
    return to_request(json.loads(json.dumps({"method": "POST", "path": "/", "headers": headers, "body": content})))


ADAPTERS = {"Example": example}
PIPED_LOGS = ADAPTERS
FRONT_DOORS = {"Example": front_door}
''',
    "tests/example_cloud/stores.py": '''
"""The example's store under contract."""

import json
from contextlib import contextmanager

from example_cloud.files import FileStore
from tests.contract.store import Entry, Harness, Waiting, row


def documents(folder):
    found = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    for document in found:
        document["body"] = document["body"].encode("latin-1")
    return sorted(found, key=lambda document: document["receivedAt"])


@contextmanager
def files(folder, request):
    place, away = folder / "events", folder / "away"
    place.mkdir()
    faults = {"unavailable": (lambda: place.rename(away), lambda: away.rename(place))}
    yield Harness(lambda: Waiting(FileStore(place)), lambda: [row(each) for each in documents(place)], faults)


STORES = {"example files": Entry(files, frozenset({"unavailable"}))}
''',
}
