"""The parameters of a function on IBM Cloud, and the HTTP answer of its result.

Written from IBM's page on Code Engine and from the code of OpenWhisk's web actions (`ibm_actions.http` names both),
because neither can run here. Requests that Code Engine itself refuses, such as invalid JSON with the content type of
JSON, are passed on.

``python -m tests.support.ibm`` serves a function over HTTP as one of them does.
"""

import base64
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from tests.support.front_doors import FrontDoor, Headers
from tests.support.processes import ROOT, Answer, Program, running

_TEXT = ("text/", "application/x-www-form-urlencoded")


def _text(body: bytes) -> str:
    """Return a text body; if it is not UTF-8, which neither platform documents, it is base64 here."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode()


def _escaped(body: bytes) -> str:
    return json.dumps(_text(body), ensure_ascii=False)[1:-1]


def code_engine(text: Callable[[bytes], str] = _text) -> Callable[[str, str, Headers, bytes], dict[str, Any]]:
    """Code Engine: canonical header names, a base64 body unless its type is text, no body if empty.

    Args:
        text: Converts a text body to the parameter. The page says that special characters are escaped, but not
            whether a function sees this.
    """

    def params(method: str, path: str, headers: Headers, body: bytes) -> dict[str, Any]:
        canonical: dict[str, str] = {}
        for name, value in headers:
            key = "-".join(part.capitalize() for part in name.split("-"))
            canonical[key] = f"{canonical[key]},{value}" if key in canonical else value
        found = {"__ce_method": method, "__ce_headers": canonical, "__ce_path": path, "__ce_query": ""}
        content_type = canonical.get("Content-Type", "application/json")
        if body:
            is_text = content_type.startswith(_TEXT)
            found["__ce_body"] = text(body) if is_text else base64.b64encode(body).decode()
        return _spread(body if content_type.startswith("application/json") else b"") | found

    return params


def _spread(body: bytes) -> dict[str, Any]:
    """Return the additional parameters: each member of a JSON object."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if type(document) is dict else {}


def openwhisk(method: str, path: str, headers: Headers, body: bytes) -> dict[str, Any]:
    """A raw web action: lower-case names, the last of repeated headers, an empty string without a body."""
    lower = {name.lower(): value for name, value in headers}
    is_text = lower.get("content-type", "application/octet-stream").startswith(_TEXT)
    return {
        "__ow_method": method.lower(),
        "__ow_headers": lower,
        "__ow_path": "" if path == "/" else path,
        "__ow_query": "",
        "__ow_body": _text(body) if is_text else base64.b64encode(body).decode(),
    }


def _answer(result: Any, default: int) -> Answer:
    status = result.get("statusCode", default)
    if type(status) is not int or not 200 <= status <= 599:
        return Answer(422, {}, b"")
    headers = {name.lower(): str(value) for name, value in (result.get("headers") or {}).items()}
    body = result.get("body") or ""
    is_text = headers.get("content-type", "text/plain").startswith("text/")
    if type(body) is not str:
        return Answer(status, headers, json.dumps(body).encode())
    return Answer(status, headers, body.encode() if is_text else base64.b64decode(body))


def code_engine_answer(result: Any) -> Answer:
    """Answer as Code Engine does: a result without statusCode is a 200."""
    return _answer(result if type(result) is dict else {}, 200)


def openwhisk_answer(result: Any) -> Answer:
    """Answer as OpenWhisk does: a result without statusCode is a 204 without a body, and an error a 502."""
    if type(result) is not dict or "error" in result:
        return Answer(502, {}, b"")
    return _answer(result, 200 if result.get("body") else 204)


IBM_FRONT_DOORS = {
    "Code Engine": FrontDoor(code_engine(), code_engine_answer),
    "Code Engine, text escaped": FrontDoor(code_engine(_escaped), code_engine_answer),
    "OpenWhisk": FrontDoor(openwhisk, openwhisk_answer, keeps_last=True),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    front_door: FrontDoor
    main: Callable[[Any], Any]
    # An instance gets one request at a time.
    lock = Lock()

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        params = self.front_door.event(self.command, self.path.partition("?")[0], list(self.headers.items()), body)
        with self.lock:
            # Through JSON, as between a platform and its runtime.
            result = type(self).main(json.loads(json.dumps(params)))
        answer = self.front_door.answer(json.loads(json.dumps(result)))
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _handle


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


def main() -> None:
    """Serve until the process ends."""
    path = Path(os.environ["FUNCTION"], "__main__.py")
    # As the runtimes do: https://github.com/apache/openwhisk-runtime-python
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location("main__", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _Handler.main = staticmethod(module.main)
    _Handler.front_door = IBM_FRONT_DOORS[os.environ["FRONT_DOOR"]]
    _Server(("127.0.0.1", int(os.environ["PORT"])), _Handler).serve_forever()


@contextmanager
def ibm_function(front_door: str, environ: Mapping[str, str], folder: Path) -> Iterator[Program]:
    """Yield this repository's function, with the package's layout, behind one of `IBM_FRONT_DOORS`."""
    root = folder / "function"
    root.mkdir(exist_ok=True)
    shutil.copy(ROOT / "ibm_actions" / "__main__.py", root)
    names = {"FUNCTION": str(root), "FRONT_DOOR": front_door}
    with running("tests.support.ibm", {**names, **environ}, folder) as program:
        yield program


if __name__ == "__main__":
    main()
