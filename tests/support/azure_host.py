"""Azure's worker behind our own HTTP server, which stands in for Azure's host.

Microsoft's own worker library is real, azure-functions-runtime: it finds and indexes the app, converts a request to a
`func.HttpRequest`, chooses the function's thread, and converts the answer. The host is a .NET program that takes
seconds to start and is not available everywhere; this server replaces it in tests that start many.
tests/azure_functions/test_azure_host.py compares its answers with the host's. Keys and host.json are ignored.

    AzureWebJobsScriptRoot=dist/azure_functions PORT=8080 python -m tests.support.azure_host
"""

import asyncio
import logging
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote

from tests.support.processes import ROOT, Program, running

# The prefixes of the worker's own log lines, which are not the function's.
_SYSTEM = ("azure.functions", "azure_functions")


class _Data:
    """TypedData of azure-functions-language-worker-protobuf: one of several kinds of value."""

    def __init__(self, **value: Any) -> None:
        [(self._kind, _)] = value.items()
        self.__dict__ |= value

    def WhichOneof(self, _group: str) -> str:
        return self._kind


class _StatusResult(SimpleNamespace):
    Failure = 0
    Success = 1


class _Protos:
    """The messages between worker and host, with the parts that the library uses."""

    TypedData = _Data
    StatusResult = _StatusResult
    BindingInfo = type("BindingInfo", (SimpleNamespace,), {"out": 1, "inout": 2, "undefined": 0})
    RpcHttpCookie = None

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace


def _request(**content: Any) -> SimpleNamespace:
    return SimpleNamespace(request=SimpleNamespace(**content), properties={"host": "127.0.0.1", "protos": _Protos()})


class _Lines(logging.Handler):
    """Prints the function's log lines, without the worker's own."""

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(_SYSTEM):
            sys.stdout.write(record.getMessage() + "\n")
            sys.stdout.flush()


class _Worker:
    """The library, in a separate event loop, as in the real worker."""

    def __init__(self, folder: str) -> None:
        import azure_functions_runtime as runtime

        self._runtime = runtime
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, daemon=True).start()
        sys.path.insert(0, folder)
        runtime.start_threadpool_executor()
        init = SimpleNamespace(capabilities={}, function_app_directory=folder)
        done = self._run(runtime.worker_init_request(_request(worker_init_request=init)))
        found = self._run(runtime.functions_metadata_request(_request()))
        for each in (done, found):
            if each.result.status != _StatusResult.Success:
                sys.stdout.write(f"{each.result.exception.message}\n")
        self.function: Any = next(iter(found.function_metadata_results or ()), None)

    def invoke(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Invoke the function; return the worker's response to the host."""
        http = SimpleNamespace(
            method=method, url=url, headers=headers, body=_Data(bytes=body), params={}, query={}, identities=[]
        )
        data = SimpleNamespace(name="req", data=_Data(http=http), WhichOneof=lambda _: "data")
        invocation = SimpleNamespace(
            invocation_id=str(uuid.uuid4()),
            function_id=self.function.function_id,
            input_data=[data],
            trigger_metadata={},
            trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
        )
        return self._run(self._runtime.invocation_request(_request(invocation_request=invocation)))

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    worker: _Worker

    def _handle(self) -> None:
        target = self.requestline.split(" ")[1]
        if len(self.requestline) + 2 > _MAX_LINE:
            return self._end(414)
        if sum(len(f"{name}: {value}\r\n") for name, value in self.headers.items()) > _MAX_HEAD:
            return self._end(431)
        try:
            headers, path = self._received(), _path(target)
        except ValueError:
            return self._end(400)
        body = self._body()
        if body is None:
            return self._end(500)
        if self.worker.function is None:
            return self._answer(200, {}, b"Home page") if path == "/" else self._answer(404, {}, b"")
        if path.startswith("//"):
            return self._answer(404, {}, b"")
        query = target.partition("?")[1:]
        url = f"http://{headers['host']}{path}{''.join(query)}"
        answer = self.worker.invoke(self.command, url, headers, body)
        if answer.result.status != _StatusResult.Success:
            return self._answer(500, {}, b"")
        http = answer.return_value.http
        return self._answer(int(http.status_code), http.headers, http.body.bytes)

    def _received(self) -> dict[str, str]:
        """Return the headers as the host passes them on: lower-case names, repeated ones joined, empty ones dropped."""
        found: dict[str, list[str]] = {}
        for name, value in sorted(self.headers.items()):
            if "\0" in value:
                raise ValueError("a NUL in a header")
            found.setdefault(name.lower(), []).append(value.strip().encode("latin-1").decode())
        return {name: ",".join(filter(None, values)) for name, values in found.items()}

    def _body(self) -> bytes | None:
        """Return the body, which is empty without a Content-Length; None if it is incomplete."""
        if "Transfer-Encoding" in self.headers:
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
            return b""
        length = int(self.headers.get("Content-Length", 0))
        if length > _MAX_BODY:
            return None
        self.connection.settimeout(_PATIENCE)
        try:
            body = self.rfile.read(length)
        except TimeoutError:
            return None
        self.connection.settimeout(None)
        return body if len(body) == length else None

    def _end(self, status: int) -> None:
        self.close_connection = True
        self._answer(status, {"Connection": "close"}, b"")

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "content-length" not in map(str.lower, headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _handle


# Kestrel's limits for a request line and a head, and the host's for a body. For a body with less than 240 bytes a
# second it waits 5 s:
# https://learn.microsoft.com/dotnet/api/microsoft.aspnetcore.server.kestrel.core.kestrelserverlimits
_MAX_LINE = 8_192
_MAX_HEAD = 32_768
_MAX_BODY = 104_857_600
_PATIENCE = 5.0


def _path(target: str) -> str:
    """Return the path that the function gets: dot segments resolved, escapes normalized.

    Raises:
        ValueError: Kestrel rejects the path.
    """
    path = target.partition("?")[0]
    if "%00" in path or "#" in path or not path.isascii():
        raise ValueError("not a path")
    # A slash stays escaped, and so do bytes that are not UTF-8.
    path = re.sub("(?:%(?!2f)[0-9a-f]{2})+", _unescaped, path, flags=re.IGNORECASE)
    segments: list[str] = []
    for segment in (parts := path.split("/")[1:]):
        if segment == "..":
            del segments[-1:]
        elif segment != ".":
            segments.append(segment)
    if parts[-1] in (".", ".."):
        segments.append("")
    return quote("/" + re.sub("%(?![0-9A-Fa-f]{2})", "%25", "/".join(segments)), safe="/%-._~!$&'()*+,;=:@")


def _unescaped(escapes: re.Match[str]) -> str:
    try:
        return unquote(escapes[0], errors="strict")
    except UnicodeDecodeError:
        return escapes[0]


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


def main() -> None:
    """Serve until the process ends."""
    logging.getLogger().addHandler(_Lines())
    logging.getLogger().setLevel(logging.INFO)
    _Handler.worker = _Worker(os.environ["AzureWebJobsScriptRoot"])  # noqa: SIM112
    _Server(("127.0.0.1", int(os.environ["PORT"])), _Handler).serve_forever()


@contextmanager
def azure_functions(environ: Mapping[str, str], folder: Path) -> Iterator[Program]:
    """Yield this repository's function app, with the package's layout, and stop it afterwards."""
    root = folder / "wwwroot"
    root.mkdir(exist_ok=True)
    shutil.copy(ROOT / "azure_functions" / "function_app.py", root)
    with running("tests.support.azure_host", {"AzureWebJobsScriptRoot": str(root), **environ}, folder) as program:
        yield program


if __name__ == "__main__":
    main()
