"""The package in Azure's Functions host and Microsoft's worker, from request to store and answer."""

import gzip
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.support.azurite import Azurite, Storage, connection_string
from tests.support.deliveries import SECRET, body, fresh_body, hs256, signed
from tests.support.functions_host import FunctionsHost, functions_host
from tests.support.processes import Answer


@pytest.fixture(scope="module")
def storage(azurite: Azurite) -> Storage:
    return Storage(azurite)


@pytest.fixture(scope="module")
def host(
    app: Path, azurite: Azurite, storage: Storage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FunctionsHost]:
    environ = {
        "DT_SIGNATURE_SECRET": SECRET,
        "DT_STORE": "table",
        "DT_STORAGE": connection_string(azurite.queue_port, azurite.table_port),
        "DT_TABLE": storage.table,
    }
    with functions_host(app, environ, tmp_path_factory.mktemp("home")) as host:
        yield host


def post(host: FunctionsHost, content: bytes, **headers: str) -> Answer:
    return host.request("POST", "/events", {**signed(content), **headers}, content)


def problem(answer: Answer) -> tuple[int, str]:
    """Return the status and the type of a problem document, which the host itself never sends."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, json.loads(answer.body)["type"].rsplit(":", 1)[1]


def raw(host: FunctionsHost, *head: bytes, content: bytes = b"") -> int:
    """Send these lines and a body; return the status."""
    lines = [*head, b"Host: x", b"Connection: close", b"Content-Length: %d" % len(content), b"", b""]
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as connection:
        connection.sendall(b"\r\n".join(lines) + content)
        return int(connection.recv(65_536).split()[1])


def _whole(size: int) -> bytes:
    return body(padding="x" * (size - len(body(padding=""))))


BODIES = {
    "an event": body(),
    "not ASCII": body(padding="æøå 温度 😀"),
    "a byte order mark": b"\xef\xbb\xbf" + body(),
    "UTF-16": body().decode().encode("utf-16"),
    "not UTF-8": b"\xff\xfe\xfd" + body(),
    "a lone surrogate": b"\xed\xa0\x80" + body(),
    "a lone surrogate, escaped": body().replace(b"lab", rb"\ud83d"),
    "white space at the ends": b" \t\r\n" + body() + b"\r\n \n",
    "NULs": b"\0" + body() + b"\0\0",
    "every byte": bytes(range(256)),
    "a form": b"a=%41+%2b&b=c&a=%C3%A5",
    "parts": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n',
    "gzip": gzip.compress(body()),
    "a number": b"1e999",
    "60 KB": _whole(60_000),
    "256 KiB": _whole(262_144),
}
TYPES = [
    None,
    "",
    "application/json",
    "application/json; charset=utf-16",
    "application/cloudevents+json",
    "text/plain; charset=iso-8859-1",
    "text/xml",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/octet-stream",
    "image/png",
    "no type",
]


def test_every_byte_is_stored_with_any_content_type(host: FunctionsHost, storage: Storage) -> None:
    # The last byte or two make each a body of its own, of the same length.
    contents = [
        (content[:-2] + b"%02d" % number, kind) for content in BODIES.values() for number, kind in enumerate(TYPES)
    ]

    def send(content: bytes, kind: str | None) -> tuple[int, str | None]:
        headers = {"X-Dt-Signature": hs256(content)} | ({} if kind is None else {"Content-Type": kind})
        answer = host.request("POST", "/events", headers, content)
        return answer.status, answer.headers.get("event-outcome")

    with ThreadPoolExecutor(16) as pool:
        answers = dict(zip(contents, pool.map(lambda each: send(*each), contents), strict=True))
    # Sent again, as DT does: on a busy machine the store may be too slow for so many. Those alone may be there already.
    again = {each: send(*each) for each, (status, _) in answers.items() if status == 503}
    assert {answer for each, answer in answers.items() if each not in again} <= {(200, "stored")}
    assert set(again.values()) <= {(200, "stored"), (200, "duplicate")}
    assert sorted(each["body"] for each in storage.entities()) == sorted(content for content, _ in contents)


def test_too_large_body_is_413(host: FunctionsHost) -> None:
    """The host refuses above 100 MiB: test_azure_host.py."""
    for size in (262_145, 30_000_000):
        assert problem(post(host, b"x" * size)) == (413, "too-large")


def test_headers(host: FunctionsHost) -> None:
    content = fresh_body()
    token = f"X-Dt-Signature: {hs256(content)}".encode()
    cases = {
        "two signatures": ([token, token.lower()], 401),
        "one of another case": ([token.replace(b"X-Dt", b"x-DT")], 200),
        "one and an empty one, which the host leaves out": ([b"X-Dt-Signature:", token], 200),
        "none": ([], 401),
        "UTF-8": ([token, "A: ø温".encode()], 200),
        "Latin-1": ([token, b"A: \xe5"], 400),
        "a NUL": ([token, b"A: a\0b"], 400),
        "31,000 bytes": ([token, b"A: " + b"x" * 31_000], 200),
        "33,000 bytes": ([token, b"A: " + b"x" * 33_000], 431),
        "101 lines": ([token, *(b"A%d: 1" % number for number in range(101))], 431),
        "a coding that nobody undoes": ([token, b"Content-Encoding: gzip"], 200),
    }
    for name, (lines, status) in cases.items():
        assert raw(host, b"POST /events HTTP/1.1", *lines, content=content) == status, name


WRONG = [b"/", b"/?a=b", b"/.", b"/x/..", b"/%2e", b"http://x", b"/admin/warmup", b"/ADMIN/x"]


@pytest.mark.parametrize("target", WRONG)
def test_paths_that_the_bare_host_answers_2xx_are_404(target: bytes, host: FunctionsHost) -> None:
    """It does: test_host_without_a_function_acknowledges_nothing_at_events."""
    content = fresh_body()
    token = f"X-Dt-Signature: {hs256(content)}".encode()
    for method in (b"POST", b"PUT", b"GET", b"HEAD", b"OPTIONS"):
        assert raw(host, b"%s %s HTTP/1.1" % (method, target), token, content=content) == 404


def test_wrong_path_answer_names_the_endpoint(host: FunctionsHost) -> None:
    answer = host.request("POST", "/", {}, b"{}")
    assert problem(answer) == (404, "wrong-address")
    assert b"/events" in answer.body
    assert '"reason":"This is not the endpoint of the Data Connector: post to /events."' in host.output()


def test_paths_and_methods(host: FunctionsHost) -> None:
    content = fresh_body()
    for path in ("/events", "/events/", "/a/b?c=d", "/a%2Fb", "/events/../x", "/a//b"):
        assert host.request("POST", path, signed(content), content).status == 200, path
    assert host.request("POST", "//events", signed(content), content).status == 404
    assert host.request("GET", "/healthz").headers["event-outcome"] == "none"
    assert host.request("GET", "/x/../healthz").status == 200
    assert raw(host, b"POST /%s HTTP/1.1" % (b"x" * 8_200)) == 414
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = host.request(method, "/events")
        assert (problem(answer), answer.headers["allow"]) == ((405, "method-not-allowed"), "POST")
    assert host.request("HEAD", "/events").body == b""


def test_answers_pass_the_host_unchanged(host: FunctionsHost) -> None:
    content = fresh_body()
    for expected in ("stored", "duplicate"):
        answer = post(host, content)
        assert (answer.status, answer.headers["event-outcome"], answer.body) == (200, expected, b"")
        assert answer.headers["content-length"] == "0"
    refused = host.request("POST", "/events", {}, content)
    assert problem(refused) == (401, "unverified")
    assert refused.headers["www-authenticate"] == "X-Dt-Signature"
    assert refused.headers["content-length"] == str(len(refused.body))


def test_chunked_body_is_411(host: FunctionsHost) -> None:
    content = fresh_body()
    head = b"\r\n".join(
        [
            b"POST /events HTTP/1.1",
            b"Host: x",
            b"Connection: close",
            b"Transfer-Encoding: chunked",
            f"X-Dt-Signature: {hs256(content)}".encode(),
        ]
    )
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as connection:
        connection.sendall(head + b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(content), content))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 411 ")


def test_killed_host_loses_nothing(host: FunctionsHost, storage: Storage) -> None:
    """The last test here, because it kills the host."""
    acknowledged: list[bytes] = []
    contents = [fresh_body() for _ in range(1_000)]

    def send(content: bytes) -> None:
        try:
            if post(host, content).status == 200:
                acknowledged.append(content)
        except (OSError, HTTPException):  # it is dead, or dies
            pass
        if len(acknowledged) >= 100:
            host.process.kill()

    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(send, contents))
    assert 100 <= len(acknowledged) < len(contents)
    stored = [entity["body"] for entity in storage.entities()]
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
