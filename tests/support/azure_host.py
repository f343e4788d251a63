"""Azure's worker, in front of it an HTTP server of ours in the place of Azure's host.

Real is Microsoft's own library of the worker, azure-functions-runtime: how the app is found and indexed, how a request
becomes a `func.HttpRequest`, on what thread the function runs, and what becomes of its answer. The host, which is a
program of .NET, cannot be had here: its routing, its keys and host.json are not run. What is written here in its place
follows its source, https://github.com/Azure/azure-functions-host (GrpcMessageConversionExtensions.cs): names of headers
in lower case, repeated ones joined, and no body for a request that does not say how long its body is.

    AzureWebJobsScriptRoot=dist/azure_functions PORT=8080 python -m tests.support.azure_host
"""

import asyncio
import logging
import os
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

from tests.support.processes import ROOT, Program, running

# What the worker takes for its own lines, and keeps from the log of the function.
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
    """The messages that worker and host exchange, as much of them as the library touches."""

    TypedData = _Data
    StatusResult = _StatusResult
    BindingInfo = type("BindingInfo", (SimpleNamespace,), {"out": 1, "inout": 2, "undefined": 0})
    RpcHttpCookie = None

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace


def _request(**content: Any) -> SimpleNamespace:
    return SimpleNamespace(request=SimpleNamespace(**content), properties={"host": "127.0.0.1", "protos": _Protos()})


class _Lines(logging.Handler):
    """Prints what the function logs, and nothing of the worker's own."""

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(_SYSTEM):
            sys.stdout.write(record.getMessage() + "\n")
            sys.stdout.flush()


class _Worker:
    """The library, in an event loop of its own, as the real worker has it."""

    def __init__(self, folder: str) -> None:
        import azure_functions_runtime as runtime

        self._runtime = runtime
        self._loop = asyncio.new_event_loop()
        Thread(target=self._loop.run_forever, daemon=True).start()
        sys.path.insert(0, folder)
        runtime.start_threadpool_executor()
        init = SimpleNamespace(capabilities={}, function_app_directory=folder)
        done = self._run(runtime.worker_init_request(_request(worker_init_request=init)))
        assert done.result.status == _StatusResult.Success, done.result.exception.message
        [self.function] = self._run(runtime.functions_metadata_request(_request())).function_metadata_results

    def invoke(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Invoke the function; return what the host is told."""
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
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        names = {name.lower() for name in self.headers}
        headers = {name: ",".join(self.headers.get_all(name, [])) for name in names}
        answer = self.worker.invoke(self.command, f"https://{self.headers['Host']}{self.path}", headers, body)
        if answer.result.status != _StatusResult.Success:
            self._answer(500, {"Content-Length": "0"}, b"")
            return
        http = answer.return_value.http
        self._answer(int(http.status_code), http.headers, http.body.bytes)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _handle


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
    """Give this repository's function app, laid out as the package is, and end it."""
    root = folder / "wwwroot"
    root.mkdir(exist_ok=True)
    shutil.copy(ROOT / "azure_functions" / "function_app.py", root)
    with running("tests.support.azure_host", {"AzureWebJobsScriptRoot": str(root), **environ}, folder) as program:
        yield program


if __name__ == "__main__":
    main()
