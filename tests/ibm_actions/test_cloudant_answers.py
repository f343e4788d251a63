"""Cloudant's answers: success, retry, conflict, missing database, lost answer.

Against a server of the tests.
"""

import json
from typing import Any

import pytest

from core.service.attempts import ATTEMPT
from core.stores.contract import Outcome
from ibm_actions.service import cause_of
from tests.ibm_actions.cloudant_calls import (
    BASIC,
    HIDDEN,
    delivered,
    listed,
    made,
    on,
    page,
    put,
    refused,
    said,
    service,
    store,
    written,
)
from tests.support.deliveries import body
from tests.support.events import DEVICE, KEY, TIME, event
from tests.support.loopback import DROPPED, SILENT, Answering, Call, Loopback, Reply, in_turn, loopback

DATABASE = "/events-2024"
DOCUMENT = f"{DATABASE}/{DEVICE}:{TIME}_{KEY}"
MISSING = said(404, "not_found")
CONFLICT = said(409, "conflict")


def asked(server: Loopback) -> list[tuple[str, str]]:
    """Return the method and path of each call, in order."""
    return [(call.method, call.path) for call in server.calls]


def found(**changes: Any) -> Reply:
    """Return the document of `body` as it is read back; None removes a field."""
    fields = {"_id": f"{DEVICE}:{TIME}_{KEY}", "_rev": "1-0", "key": KEY, "body": body().decode()} | changes
    return Reply(200, json.dumps({name: value for name, value in fields.items() if value is not None}).encode())


def test_document_is_put_without_a_revision() -> None:
    with loopback(in_turn(written())) as server:
        assert put(store(server), event(body())) == Outcome.STORED
        [call] = server.calls
    assert (call.method, call.path) == ("PUT", DOCUMENT)
    assert call.headers["authorization"] == BASIC
    assert call.headers["content-type"] == "application/json"
    # With a revision it would be a new version, with batch=ok an answer before it is stored.
    assert call.parameters.keys() == {
        *("key", "eventId", "eventType", "deviceId", "projectId", "timestamp", "receivedAt", "signedBy"),
        *("parsed", "body"),
    }


# What is no receipt.

# The database.


def making(*replies: Reply | None, there: tuple[str, ...] = ()) -> Answering:
    """Answer 404 to the first document, then the list of databases, then these replies in turn."""
    return listed(in_turn(MISSING, *replies), *there)


CREATION = ("PUT", f"{DATABASE}?partitioned=true")


@pytest.mark.parametrize("status", [201, 202, 412])
def test_missing_database_is_created_with_partitions(status: int) -> None:
    """202: not all nodes know of it yet; the answer to the document shows whether enough of them do."""
    made_ = said(412, "file_exists") if status == 412 else made(status)
    with loopback(making(made_, written())) as server:
        assert put(store(server), event(body())) == Outcome.STORED
        first, look, *others = asked(server)
        assert first == ("PUT", DOCUMENT)
        assert look[1].startswith("/_all_dbs?")
        assert others == [CREATION, ("PUT", DOCUMENT)]
        assert server.calls[2].parameters is None


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (said(401, "unauthorized"), "no database: 401 unauthorized"),
        (said(403, "forbidden"), "no database: 403 forbidden"),
        (said(400, "illegal_database_name"), "no database: 400 illegal_database_name"),
        (page(200), "no database: HTTP 200"),
        (page(302, Location="/elsewhere"), "no database: HTTP 302"),
    ],
)
def test_missing_permission_to_create_a_database_is_reported(reply: Reply, cause: str) -> None:
    with loopback(making(reply)) as server:
        status, line = delivered(store(server), body())
        assert (status, line["reason"]) == (503, cause)
        # Who is not let in is asked twice, in case it was for the token.
        assert asked(server)[2:] == [CREATION] * (2 if "401" in cause else 1)


def test_create_database_is_retried() -> None:
    with loopback(making(said(503, "x"), DROPPED, said(412, "file_exists"), written())) as server:
        assert put(store(server), event(body())) == Outcome.STORED
        assert len(server.calls) == 6


def test_create_database_is_not_repeated_while_still_missing() -> None:
    with loopback(listed(lambda call: made() if "?" in call.path else MISSING)) as server:
        assert refused(store(server), event()) == "404 not_found"
        assert len(server.calls) == 4


def test_duplicate_in_a_database_that_another_receiver_created() -> None:
    """Another receiver created it, and stored the event."""
    with loopback(making(said(412, "file_exists"), CONFLICT, found())) as server:
        assert put(store(server), event(body())) == Outcome.DUPLICATE


@pytest.mark.parametrize(
    ("reply", "cause"),
    [
        (said(403, "forbidden"), "403 forbidden"),
        (said(404, "not_found"), "404 not_found"),
        (said(500, "x"), "500 x"),
        (page(200), "HTTP 200"),
        (Reply(200, b"{}"), "HTTP 200"),
    ],
)
def test_failed_list_of_databases_stores_nothing(reply: Reply, cause: str) -> None:
    """The event may be in an unknown database, and would be stored twice."""
    with loopback(in_turn(reply)) as server:
        status, line = delivered(on(service(server)), body())
        assert (status, line["reason"]) == (503, cause)
        assert {call.method for call in server.calls} == {"GET"}


REFUSED = said(403, "forbidden")
OTHER = "/events-2023-12"
MARK = f"{OTHER}/_local/holds-2024"
ELSEWHERE = f"{OTHER}/{DEVICE}:{TIME}_{KEY}"


@pytest.mark.parametrize("marked", [written(), CONFLICT])
def test_database_limit_falls_back_to_the_previous_database(marked: Reply) -> None:
    """A marker document in that database comes first, which other receivers read before they create one."""
    with loopback(making(MISSING, REFUSED, marked, written(), there=("events-2023-12",))) as server:
        status, line = delivered(store(server), body())
        assert (status, line["outcome"], line["severity"]) == (200, "stored", "WARNING")
        assert line["note"] == "databases: no room for events-2024, kept in events-2023-12"
        assert asked(server)[2:] == [("GET", MARK), CREATION, ("PUT", MARK), ("PUT", ELSEWHERE)]


def test_database_with_a_fallback_marker_is_not_created() -> None:
    with loopback(making(Reply(200), CONFLICT, found(), there=("events-2023-12",))) as server:
        assert put(store(server), event(body())) == Outcome.DUPLICATE
        assert asked(server)[2:] == [("GET", MARK), ("PUT", ELSEWHERE), ("GET", ELSEWHERE)]


@pytest.mark.parametrize(
    ("replies", "cause"),
    [
        ((said(403, "forbidden"),), "no database: 403 forbidden"),
        ((page(302, Location="/elsewhere"),), "no database: HTTP 302"),
        ((MISSING, said(400, "x")), "no database: 400 x"),
        ((MISSING, REFUSED, said(403, "forbidden")), "no database: 403 forbidden"),
        ((MISSING, REFUSED, written(202)), "no database: HTTP 202"),
    ],
)
def test_failed_fallback_marker_is_refused(replies: tuple[Reply, ...], cause: str) -> None:
    with loopback(making(*replies, there=("events-2023-12",))) as server:
        status, line = delivered(store(server), body())
        assert (status, line["reason"]) == (503, cause)
        assert len(server.calls) == 2 + len(replies)


# The document that is there.


def test_missing_quorum_is_refused_and_the_retry_is_a_duplicate() -> None:
    with loopback(in_turn(written(202), CONFLICT, found())) as server:
        there = store(server)
        assert refused(there, event(body())) == "202: no quorum"
        assert put(there, event(body())) == Outcome.DUPLICATE
        assert asked(server) == [("PUT", DOCUMENT), ("PUT", DOCUMENT), ("GET", DOCUMENT)]


def test_lost_answer_is_a_duplicate() -> None:
    with loopback(in_turn(DROPPED, CONFLICT, found())) as server:
        status, line = delivered(store(server), body())
        assert (status, line["outcome"], "note" in line) == (200, "duplicate", False)
        assert len(server.calls) == 3


@pytest.mark.parametrize(
    ("reply", "is_same"),
    [
        (found(), True),
        (found(eventId="of no account", labels={}), True),
        (found(body="{}"), False),
        (found(encoding="base64"), False),
    ],
)
def test_duplicate_is_logged_when_its_body_differs(reply: Reply, is_same: bool) -> None:
    with loopback(in_turn(CONFLICT, reply)) as server:
        status, line = delivered(store(server), body())
    assert (status, line["outcome"]) == (200, "duplicate")
    assert line.get("note") == (None if is_same else "differs from what is stored")
    assert line["severity"] == ("INFO" if is_same else "WARNING")


READ_BACK: dict[str, tuple[Reply | None, str]] = {
    "another event": (found(key="another"), "409, and read back: HTTP 200"),
    "no event": (found(key=None), "409, and read back: HTTP 200"),
    "an event without its body": (found(body=None), "409, and read back: HTTP 200"),
    "a body that is no text": (found(body=["{}"]), "409, and read back: HTTP 200"),
    "nothing": (Reply(200, b""), "409, and read back: HTTP 200"),
    "a page": (page(200), "409, and read back: HTTP 200"),
    "a list": (Reply(200, b"[]"), "409, and read back: HTTP 200"),
    "lists in lists": (Reply(200, b"[" * 200_000), "409, and read back: HTTP 200"),
    "the document with another status": (Reply(203, found().content), "409, and read back: HTTP 203"),
    "deleted meanwhile": (said(404, "not_found"), "409, and read back: 404 not_found"),
    "may not read": (said(403, "forbidden"), "409, and read back: 403 forbidden"),
    "ill": (said(500, "internal_server_error"), "500 internal_server_error"),
    "busy": (said(429, "too_many_requests"), "429 too_many_requests"),
    "closed": (DROPPED, "ProtocolError"),
    "cut off": (Reply(200, found().content, {"Content-Length": "5000", "Connection": "close"}), "ProtocolError"),
}


@pytest.mark.parametrize(("reply", "cause"), READ_BACK.values(), ids=READ_BACK.keys())
def test_conflict_without_the_event_read_back_is_refused(reply: Reply | None, cause: str) -> None:
    with loopback(lambda call: reply if call.method == "GET" else CONFLICT) as server:
        status, line = delivered(store(server), body())
        assert (status, line["outcome"], line.get("reason")) == (503, "failed", cause)
        assert line["totalMs"] < 8000
        assert {(call.method, call.path) for call in server.calls[1:]} == {("GET", DOCUMENT)}


def test_conflict_with_a_read_timeout_is_refused_in_time() -> None:
    with loopback(lambda call: SILENT if call.method == "GET" else CONFLICT) as server:
        assert refused(store(server), event(body()), ATTEMPT + 0.5) == "ReadTimeoutError"


def test_read_back_after_a_conflict_is_retried() -> None:
    with loopback(in_turn(CONFLICT, said(503, "x"), DROPPED, found())) as server:
        assert put(store(server), event(body())) == Outcome.DUPLICATE


# Words.


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        ({"error": "forbidden", "reason": HIDDEN}, "403 forbidden"),
        ({"error": "not-a-word"}, "HTTP 403"),
        ({"error": "forbidden\n"}, "HTTP 403"),
        ({"error": ""}, "HTTP 403"),
        ({"error": None}, "HTTP 403"),
        ({"error": 1}, "HTTP 403"),
        ({}, "HTTP 403"),
    ],
)
def test_only_an_error_word_of_couchdb_is_logged(document: dict[str, Any], cause: str) -> None:
    assert cause_of(403, document) == cause


def test_lost_answer_of_a_base64_body_is_a_duplicate() -> None:
    """The server stores the first document and drops the connection; the retry finds it there."""
    documents: dict[str, Any] = {}

    def answer(call: Call) -> Reply | None:
        if call.method == "GET":
            return Reply(200, json.dumps(documents[call.path]).encode())
        if call.path in documents:
            return CONFLICT
        documents[call.path] = call.parameters
        return DROPPED

    with loopback(answer) as server:
        one = event(body().replace(b"rom 3", "\ufffe".encode()))
        outcome = put(store(server), one)
        assert (outcome, outcome.note) == (Outcome.DUPLICATE, None)
        assert [call.method for call in server.calls] == ["PUT", "PUT", "GET"]
