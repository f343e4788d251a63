"""How Google's services fail, by google-auth and our client as they are."""

import json
import time

import certifi
import pytest
from google.auth.credentials import AnonymousCredentials

from gcp_functions.service import Service
from tests.contract.fault import SECRET, Cloud, Write
from tests.gcp_functions.google_calls import html, publish
from tests.support.loopback import DROPPED, Loopback, Reply, google_fault, success

FINAL = (
    (400, "INVALID_ARGUMENT"),
    (400, "FAILED_PRECONDITION"),
    (403, "PERMISSION_DENIED"),
    (404, "NOT_FOUND"),
    (409, "ALREADY_EXISTS"),
)


def connect(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what publishes a message."""
    service = Service(server.url, lambda _: AnonymousCredentials())  # type: ignore[no-untyped-call]
    return lambda deadline: publish(service, deadline - time.monotonic()) == {"messageIds": ["1"]}


CAUSES = {
    "silent": "ReadTimeoutError",
    "slow": "ReadTimeoutError",
    "throttled": "RESOURCE_EXHAUSTED",
    "denied": "PERMISSION_DENIED",
}
FAULTS = {
    "Google": Cloud(
        connect=connect,
        stored=success(messageIds=["1"]),
        retried={
            "500": (google_fault(500, "INTERNAL", SECRET), "INTERNAL"),
            "502 of a proxy": (html(502), "HTTP 502"),
            "503": (google_fault(503, "UNAVAILABLE", SECRET), "UNAVAILABLE"),
            "504": (google_fault(504, "DEADLINE_EXCEEDED", SECRET), "DEADLINE_EXCEEDED"),
            "throttled": (google_fault(429, "RESOURCE_EXHAUSTED", SECRET), "RESOURCE_EXHAUSTED"),
            "conflict that is no duplicate": (google_fault(409, "ABORTED", SECRET), "ABORTED"),
            "500 without a word": (Reply(500, b""), "HTTP 500"),
            "throttled without a word": (Reply(429, b""), "HTTP 429"),
            "503 without a code": (Reply(503, b"{}"), "HTTP 503"),
            "closed without an answer": (DROPPED, "ProtocolError"),
            "cut off": (
                Reply(200, b'{"messageIds":["1"]}', {"Content-Length": "1000", "Connection": "close"}),
                "ProtocolError",
            ),
        },
        final={
            **{code: (google_fault(status, code, SECRET), code) for status, code in FINAL},
            "403 without a word": (Reply(403, b""), "HTTP 403"),
            "404 without JSON": (html(404), "HTTP 404"),
            "400 without a code": (Reply(400, b"{}"), "HTTP 400"),
            "400 of OAuth": (Reply(400, json.dumps({"error": "x", "error_description": SECRET}).encode()), "HTTP 400"),
            "400 with a message alone": (Reply(400, json.dumps({"error": {"message": SECRET}}).encode()), "HTTP 400"),
            "code without a status": (Reply(403, b'{"error":{"code":403}}'), "HTTP 403"),
            "status of another answer": (Reply(403, b'{"error":{"status":"for your eyes only"}}'), "HTTP 403"),
            "redirect": (Reply(302, b"", {"Location": "/elsewhere"}), "HTTP 302"),
            "200 without JSON": (html(200), "HTTP 200"),
            "200 and nothing": (Reply(200, b""), "HTTP 200"),
            "200 and null": (Reply(200, b"null"), "HTTP 200"),
            "200 without UTF-8": (Reply(200, b'{"a":"\xff"}'), "HTTP 200"),
            "200 and half a document": (Reply(200, b'{"messageIds":["1"'), "HTTP 200"),
            "200 and a list": (Reply(200, b"[]"), "HTTP 200"),
            "200 and nested lists": (Reply(200, b"[" * 200_000), "HTTP 200"),
            "200 and a text": (Reply(200, b'"messageIds"'), "HTTP 200"),
            "202": (Reply(202, b'{"messageIds":["1"]}'), "HTTP 202"),
            "204": (Reply(204, b""), "HTTP 204"),
        },
        unreachable="NewConnectionError",
        silent="ReadTimeoutError",
        trust=lambda path, monkeypatch: monkeypatch.setattr(certifi, "where", lambda: path),
        threads=32,
    )
}
