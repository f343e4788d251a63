"""The stand-in for Azure's host against the host itself: both pass the same requests to the same function."""

import json
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.functions_host import functions_host
from tests.support.ports import wait_for
from tests.support.processes import ROOT, Program, running

# Answers with what it was given.
ECHO = """
import json
import azure.functions as func

app = func.FunctionApp(func.AuthLevel.ANONYMOUS)

@app.function_name("receive")
@app.route("{*path}")
def receive(req):
    url = "/" + req.url.split("/", 3)[3]
    headers = {name: value for name, value in req.headers.items() if name != "host"}
    body = json.dumps([req.method, url, headers, req.get_body().decode("latin-1")]).encode()
    return func.HttpResponse(body, headers={"Content-Length": str(len(body))})
"""


@pytest.fixture(scope="module")
def ports(worker: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The port of the host, and that of the stand-in."""
    app = tmp_path_factory.mktemp("echo")
    shutil.copy(ROOT / "azure_functions" / "host.json", app)
    (app / "function_app.py").write_text(ECHO)
    home = tmp_path_factory.mktemp("home")
    with (
        functions_host(app, {}, home) as host,
        running("tests.support.azure_host", {"AzureWebJobsScriptRoot": str(app)}, app) as stand_in,
    ):
        yield host.port, stand_in.port


def answer(port: int, request: bytes) -> tuple[int, Any]:
    """Send bytes; return the status, and the request that the function received."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        found = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = found.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    return status, json.loads(body) if status == 200 else None


def post(target: bytes, *headers: bytes, body: bytes = b"hello") -> bytes:
    lines = [b"POST %s HTTP/1.1" % target, b"Host: x", b"Connection: close", *headers]
    if not any(each.startswith(b"Transfer-Encoding") for each in headers):
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + body


PATHS = (
    b"/ /events /a/../b /a/./b /a/.. /.. /a/%2e%2e/b /a//b //a /a%2fb /a%2Bb /a%20b /a%25b /a%zz /%c3%a5 /%ff /%00"
    b" /A%41 /~a%7E /a;b,c'd /a%22%3C /a? /a?b=%2b&c=+d /a#b /\xc3\xa5"
).split(b" ")
HEADERS = {
    "repeated": [b"A: 1", b"B: 2", b"a: 3"],
    "repeated, and empty once": [b"A: 1", b"A:", b"A: 2"],
    "empty": [b"A:"],
    "empty twice": [b"A:", b"A: "],
    "white space": [b"A:  x y  "],
    "UTF-8": ["A: ø温".encode()],
    "Latin-1": [b"A: \xe5"],
    "a NUL": [b"A: x\0y"],
    "31,000 bytes": [b"A: " + b"x" * 31_000],
    "33,000 bytes": [b"A: " + b"x" * 33_000],
    "90": [b"A%d: 1" % number for number in range(90)],
    "101": [b"A%d: 1" % number for number in range(101)],
}
REQUESTS = {
    **{path.decode("latin-1"): post(path) for path in PATHS},
    **{name: post(b"/x", *headers) for name, headers in HEADERS.items()},
    "8,100 bytes of path": post(b"/" + b"x" * 8_100),
    "8,200 bytes of path": post(b"/" + b"x" * 8_200),
    "every byte": post(b"/x", body=bytes(range(256))),
    "in chunks": post(b"/x", b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
}


def test_stand_in_passes_on_the_same_as_the_host(ports: tuple[int, int]) -> None:
    host, stand_in = ports
    different = {}
    for name, request in REQUESTS.items():
        real, ours = answer(host, request), answer(stand_in, request)
        if real != ours:
            different[name] = (real, ours)
    assert different == {}


def test_incomplete_body_is_not_waited_for(ports: tuple[int, int]) -> None:
    request = post(b"/x", body=b"x" * 1000)[:-1]
    started = time.monotonic()
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(lambda port: answer(port, request), ports)) == [(500, None)] * 2
    assert 4 < time.monotonic() - started < 15


def test_body_above_100_mib_is_refused(ports: tuple[int, int]) -> None:
    request = post(b"/x", b"Content-Length: 104857601").replace(b"Content-Length: 5\r\n", b"")
    for port in ports:
        assert answer(port, request) == (500, None)


@pytest.mark.parametrize("text", ["raise ZeroDivisionError", "def (", "", "import a_library_that_is_missing"])
def test_stand_in_without_a_function_has_a_home_page(text: str, worker: None, tmp_path: Path) -> None:
    """As the host has, in test_functions_host_faults.py."""
    (tmp_path / "function_app.py").write_text(text)
    program = Program("tests.support.azure_host", {"AzureWebJobsScriptRoot": str(tmp_path)}, tmp_path)
    try:
        wait_for(program.port, program.process)
        assert [program.request("POST", path, {}, b"x").status for path in ("/", "/events")] == [200, 404]
    finally:
        program.stop(signal.SIGKILL)
        program.close()
