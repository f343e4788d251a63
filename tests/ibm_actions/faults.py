"""How Cloudant fails, by the store and its client as they are."""

import json

import certifi
import pytest

from core.stores.contract import Outcome
from ibm_actions.wiring import THREADS
from tests.contract.fault import Cloud, Write
from tests.ibm_actions.cloudant_calls import HIDDEN, page, said, store, written
from tests.support.deliveries import body
from tests.support.events import DEVICE, event
from tests.support.loopback import DROPPED, Loopback, Reply

CUT_OFF = {"Content-Length": "99", "Connection": "close"}


def connect(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what puts an event into a database that the store knows already."""
    there = store(server)
    return lambda deadline: there.put(event(body()), deadline) == Outcome.STORED


CAUSES = {
    "silent": "ReadTimeoutError",
    "slow": "ReadTimeoutError",
    "throttled": "429 too_many_requests",
    "denied": "403 forbidden",
    "no quorum": "202: no quorum",
}
FAULTS = {
    "Cloudant": Cloud(
        connect=connect,
        stored=written(),
        retried={
            "throttled": (said(429, "too_many_requests"), "429 too_many_requests"),
            "throttled without a word": (Reply(429, b""), "HTTP 429"),
            "500": (said(500, "internal_server_error"), "500 internal_server_error"),
            "500 with a receipt": (written(500), "HTTP 500"),
            "502 of a proxy": (page(502), "HTTP 502"),
            "503": (said(503, "service_unavailable"), "503 service_unavailable"),
            "504": (page(504), "HTTP 504"),
            "closed without an answer": (DROPPED, "ProtocolError"),
            "cut off": (Reply(201, written().content, CUT_OFF), "ProtocolError"),
            "invalid gzip": (Reply(201, written().content, {"Content-Encoding": "gzip"}), "DecodeError"),
            "16 MiB": (Reply(201, written().content + b" " * 16_777_216), "ProtocolError"),
        },
        final={
            "400": (said(400, "illegal_docid"), "400 illegal_docid"),
            "permission": (said(403, "forbidden"), "403 forbidden"),
            "too large": (said(413, "document_too_large"), "413 document_too_large"),
            "402": (Reply(402, b"{}"), "HTTP 402"),
            "412": (said(412, "precondition_failed"), "412 precondition_failed"),
            "a word of many": (said(403, f"see {HIDDEN}"), "HTTP 403"),
            "a word too long": (said(403, "a" * 41), "HTTP 403"),
            "a word in an object": (Reply(403, json.dumps({"error": {"word": HIDDEN}}).encode()), "HTTP 403"),
            "a word in a list": (Reply(403, json.dumps(["error", HIDDEN]).encode()), "HTTP 403"),
            "403 without JSON": (page(403), "HTTP 403"),
            "201 and nothing": (Reply(201, b""), "HTTP 201"),
            "201 and null": (Reply(201, b"null"), "HTTP 201"),
            "201 and a list": (Reply(201, b'[{"rev":"1-0"}]'), "HTTP 201"),
            "201 and a text": (Reply(201, b'"rev"'), "HTTP 201"),
            "201 and a number": (Reply(201, b"1"), "HTTP 201"),
            "201 and an endless number": (Reply(201, b"1" * 5000), "HTTP 201"),
            "201 without rev": (Reply(201, b'{"ok":true,"id":"d:1"}'), "HTTP 201"),
            "201 and an empty rev": (Reply(201, b'{"ok":true,"rev":""}'), "HTTP 201"),
            "201 and rev null": (Reply(201, b'{"ok":true,"rev":null}'), "HTTP 201"),
            "201 without JSON": (page(201), "HTTP 201"),
            "201 and half a document": (Reply(201, b'{"ok":true,"rev":"1-'), "HTTP 201"),
            "201 without UTF-8": (Reply(201, b'{"rev":"\xff"}'), "HTTP 201"),
            "201 and nested lists": (Reply(201, b"[" * 200_000), "HTTP 201"),
            "201 and nested objects": (Reply(201, b'{"rev":' * 200_000), "HTTP 201"),
            "201 cut off by its own length": (
                Reply(201, written().content, {"Content-Length": "20", "Connection": "close"}),
                "HTTP 201",
            ),
            "200": (Reply(200, b'{"ok":true,"rev":"1-0"}'), "HTTP 200"),
            "200 without JSON": (page(200), "HTTP 200"),
            "no quorum": (written(202), "202: no quorum"),
            "202 and nothing": (Reply(202, b""), "202: no quorum"),
            "204": (Reply(204, b""), "HTTP 204"),
            "redirect": (page(302, Location="/elsewhere"), "HTTP 302"),
        },
        unreachable="NewConnectionError",
        silent="ReadTimeoutError",
        trust=lambda path, monkeypatch: monkeypatch.setattr(certifi, "where", lambda: path),
        threads=THREADS,
        secrets=(HIDDEN, DEVICE),
    )
}
