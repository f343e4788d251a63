"""How Azure Storage fails, by a queue and by a table."""

import json
from base64 import b64encode
from collections.abc import Callable

import pytest

from azure_functions.service import connect as connect_storage
from azure_functions.storage_queue import StorageQueue
from azure_functions.table import Table
from tests.contract.fault import SECRET, Answers, Cloud, Write
from tests.support.events import event
from tests.support.loopback import DROPPED, Loopback, Reply

KEY = b64encode(b"a storage key of the tests").decode()
SIGNATURE = "sv=2024-01-01&sig=a-shared-access-signature-of-the-tests"
ROW = f'{{"PartitionKey":"{SECRET}","body":"eyJldmVudCI6"}}'
ENTITY = {"PartitionKey": SECRET, "RowKey": "r"}
MESSAGE = (
    b"<?xml version='1.0'?><QueueMessagesList><QueueMessage><MessageId>m</MessageId>"
    b"<InsertionTime>Sat, 21 Nov 2026 09:00:00 GMT</InsertionTime>"
    b"<ExpirationTime>Fri, 31 Dec 9999 23:59:59 GMT</ExpirationTime><PopReceipt>p</PopReceipt>"
    b"<TimeNextVisible>Sat, 21 Nov 2026 09:00:00 GMT</TimeNextVisible></QueueMessage></QueueMessagesList>"
)
XML = {"Content-Type": "application/xml"}


def account(url: str, secret: str = f"AccountKey={KEY}") -> str:
    """Return a connection string for an address."""
    scheme = url.partition(":")[0]
    urls = ";".join(f"{name}Endpoint={url}/account" for name in ("Queue", "Table"))
    return f"DefaultEndpointsProtocol={scheme};AccountName=account;{secret};{urls}"


def writer(service: str, storage: str) -> Callable[[float], bool]:
    """Return what writes something, by a deadline."""
    connected = connect_storage(storage, service, None)
    if service == "table":
        table = Table(connected, "events")
        return lambda deadline: table.insert(ENTITY, deadline)
    queue = StorageQueue(connected, "events")

    def send(deadline: float) -> bool:
        queue.send(event(SECRET.encode()), deadline)
        return True

    return send


def error(status: int, code: str = "", content: bytes = b"") -> Reply:
    """Return an error as Azure Storage sends it: its code in a header, in the body, or nowhere."""
    return Reply(status, content, {"x-ms-error-code": code} if code else {})


def odata(code: object) -> bytes:
    """Return the body of a table's error."""
    return json.dumps({"odata.error": {"code": code, "message": {"lang": "en-US", "value": f"no: {ROW}"}}}).encode()


RETRIED: Answers = {
    **{str(status): (error(status, "ServerBusy"), "ServerBusy") for status in (503, 500, 501, 502, 504)},
    "throttled": (error(429, "TooManyRequests"), "TooManyRequests"),
    "throttled without a word": (error(429), "HTTP 429"),
}
FINAL: Answers = {
    **{str(it): (error(it, "No"), "No") for it in (400, 401, 403, 404, 405, 408, 409, 411, 412, 413)},
    "permission": (error(403, "AuthorizationPermissionMismatch"), "AuthorizationPermissionMismatch"),
    "code in header and body": (error(403, "AuthorizationFailure", odata("Another")), "AuthorizationFailure"),
    "code in the body": (error(403, "", odata("AuthorizationFailure")), "AuthorizationFailure"),
    "code in untyped XML": (error(404, "", b"<Error><Code>QueueNotFound</Code></Error>"), "HTTP 404"),
    "no code": (error(403), "HTTP 403"),
    "a row": (error(403, "", ROW.encode()), "HTTP 403"),
    "a row for a code": (error(403, ROW), "HTTP 403"),
    "two words": (error(403, "A code"), "HTTP 403"),
    "a word too long": (error(403, "A" * 61), "HTTP 403"),
    "the longest word": (error(403, "A" * 60), "A" * 60),
    "a row for a code in the body": (error(403, "", odata(ROW)), "HTTP 403"),
    "a number": (error(403, "", odata(17)), "HTTP 403"),
    "null": (error(403, "", odata(None)), "HTTP 403"),
    "a list": (error(403, "", odata(["InvalidInput"])), "HTTP 403"),
    "a list for a document": (error(403, "", b"[]"), "HTTP 403"),
    "null for a document": (error(403, "", b"null"), "HTTP 403"),
    "a list for an error": (error(403, "", b'{"odata.error": []}'), "HTTP 403"),
    "a page": (error(403, "", b"<html>" + ROW.encode()), "HTTP 403"),
    "a row for XML": (Reply(403, ROW.encode(), XML), "HTTP 403"),
    "half of XML": (Reply(403, b"<Error><Code>" + ROW.encode(), XML), "HTTP 403"),
}


def _cloud(service: str, stored: Reply) -> Cloud:
    def connect(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Write:
        return writer(service, account(server.url))

    return Cloud(
        connect=connect,
        stored=stored,
        retried=RETRIED | {"closed without an answer": (DROPPED, "ProtocolError")},
        final=FINAL,
        unreachable="NewConnectionError",
        silent="ReadTimeoutError",
        secrets=(SECRET, KEY, "eyJldm", "127.0.0.1"),
    )


STORAGE_CAUSES = {
    "silent": "ReadTimeoutError",
    "slow": "ReadTimeoutError",
    "throttled": "ServerBusy",
    "denied": "AuthorizationPermissionMismatch",
}
SERVICE_BUS_CAUSES = {
    "silent": "TimeoutError",
    "slow": "TimeoutError",
    "throttled": "com.microsoft:server-busy",
    "denied": "amqp:unauthorized-access",
}
FAULTS = {
    "Azure Queue": _cloud("queue", Reply(201, MESSAGE, XML)),
    "Azure Table": _cloud("table", Reply(204, b"", {"ETag": "W/\"datetime'2026-11-21T09%3A00%3A00Z'\""})),
}
