"""HTTP between Azure's host and the core: requests and answers."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from azure.functions import HttpRequest

from azure_functions.http import to_request, to_response
from core.http import Response
from core.receiver import NOT_ALLOWED, UNAVAILABLE, UNVERIFIED
from tests.support.deliveries import fresh_body, hs256, signed
from tests.support.processes import Answer, Program
from tests.support.service_bus import ServiceBus, service_bus

Function = Callable[..., AbstractContextManager[Program]]


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceBus]:
    with service_bus(tmp_path_factory.mktemp("bus"), "events") as bus:
        yield bus


@pytest.fixture(scope="module")
def ready(function: Function, bus: ServiceBus) -> Iterator[Program]:
    """A function that is well configured."""
    with function(DT_SERVICE_BUS=bus.connection_string) as program:
        yield program


def line_after(program: Program, act: Callable[[], Any]) -> dict[str, Any]:
    """Return the log line of the request that ``act`` makes."""
    count = len(program.lines())
    act()
    lines = program.wait_for_lines(count + 1)
    assert len(lines) == count + 1
    return lines[-1]


def raw(program: Program, data: bytes) -> bytes:
    """Send bytes; return the whole answer."""
    with socket.create_connection(("127.0.0.1", program.port), timeout=10) as connection:
        connection.sendall(data)
        found = b""
        while piece := connection.recv(65_536):
            found += piece
    return found


def chunked(program: Program, content: bytes, **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=10)
    head = {**signed(content), "Transfer-Encoding": "chunked", "Connection": "close", **headers}
    try:
        connection.request("POST", "/events", iter([content]), head, encode_chunked=True)
        answer = connection.getresponse()
        return Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


# What comes in.


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://x.azurewebsites.net/", "/"),
        ("https://x.azurewebsites.net/healthz", "/healthz"),
        ("https://x.azurewebsites.net/healthz?code=a/b", "/healthz"),
        ("https://x.azurewebsites.net/a/../healthz", "/a/../healthz"),
        ("https://x.azurewebsites.net//healthz", "//healthz"),
        ("https://x.azurewebsites.net?a=/healthz", "/"),
        ("http://127.0.0.1:7071/a%2Fb", "/a%2Fb"),
        ("https://[/healthz", "/healthz"),
    ],
)
def test_path_of_the_url(url: str, path: str) -> None:
    request = to_request(HttpRequest("GET", url, body=b""))
    assert (request.method, request.path) == ("GET", path)


def test_health_check_is_chosen_by_path_only(ready: Program) -> None:
    for path, status in {
        "/healthz": 200,
        "/healthz?x=y": 200,
        "/events?/healthz": 405,
        "/healthz/": 405,
    }.items():
        assert ready.request("GET", path).status == status, path


def test_chunked_body_is_411_and_says_what_to_send(ready: Program, bus: ServiceBus) -> None:
    """The host drops chunked bodies. DT sends a length; a proxy before the function may not."""
    before = len(bus.messages())
    for headers in ({}, {"X-Dt-Signature": "x.y.z"}):
        count = len(ready.lines())
        answer = chunked(ready, fresh_body(), **headers)
        assert (answer.status, json.loads(answer.body)["status"]) == (411, 411)
        line = ready.wait_for_lines(count + 1)[-1]
        assert (line["severity"], line["outcome"], line["bytes"]) == ("WARNING", "refused", 0)
        assert "Content-Length" in line["reason"]
    assert len(bus.messages()) == before


def test_repeated_signature_header_is_refused(ready: Program, bus: ServiceBus) -> None:
    """The host joins them with a comma, which no token contains."""
    content = fresh_body()
    before = len(bus.messages())

    def post(*names: str) -> bytes:
        tokens = "".join(f"{name}: {hs256(content)}\r\n" for name in names)
        head = (
            f"POST /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(content)}\r\n{tokens}\r\n"
        )
        return raw(ready, head.encode() + content)

    for names in (("X-Dt-Signature",) * 2, ("X-Dt-Signature", "x-dt-signature")):
        line = line_after(ready, lambda names=names: post(*names))  # type: ignore[misc]
        assert (line["outcome"], line["status"], line["reason"]) == ("refused", 401, "signature")
    assert len(bus.messages()) == before
    assert post("X-DT-SIGNATURE").startswith(b"HTTP/1.1 200 ")


# What goes out.


@pytest.mark.parametrize("response", [UNVERIFIED, NOT_ALLOWED, UNAVAILABLE, Response(200, (("a", "b"),), b"\xff\0")])
def test_answer_is_unchanged_by_the_adapter(response: Response) -> None:
    answer = to_response(response)
    assert answer.status_code == response.status
    assert answer.get_body() == response.body
    assert list(answer.headers.items()) == list(response.headers)


def test_answer_headers_on_the_wire(ready: Program) -> None:
    content = fresh_body()
    stored = ready.request("POST", "/events", signed(content), content)
    assert stored.headers["content-length"] == "0"
    assert stored.body == b""
    refused = ready.request("POST", "/events", {}, content)
    assert refused.headers["www-authenticate"] == "X-Dt-Signature"
    assert refused.headers["content-length"] == str(len(refused.body))
    assert json.loads(refused.body)["status"] == 401


def test_head_has_the_headers_of_get_and_no_body(ready: Program) -> None:
    get, head = ready.request("GET", "/events"), ready.request("HEAD", "/events")
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


def test_unavailable_store_sends_retry_after(function: Function, tmp_path: Path) -> None:
    with service_bus(tmp_path, "events") as bus, function(DT_SERVICE_BUS=bus.connection_string) as program:
        bus.kill()
        content = fresh_body()
        answer = program.request("POST", "/events", signed(content), content)
        assert (answer.status, answer.headers["retry-after"]) == (503, "8")
        # And then it has lost nothing.
        bus.start()
        assert program.request("POST", "/events", signed(content), content).status == 200
        assert [each["body"] for each in bus.messages()] == [content]
