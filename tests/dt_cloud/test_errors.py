"""Errors for invalid input, in DT's form."""

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from dt_cloud.accounts import ROLES
from tests.support.dt_cloud import CONNECTORS, DEVICES, FIRST_PROJECT, PROJECTS, DtCloud, Refused, dt_cloud

URL = "http://127.0.0.1:9/events"
OTHER_PROJECT = list(PROJECTS)[1]
# Each account has a separate limit.
ROLES_IN_TURN = itertools.cycle(["project.developer", "project.admin", "organization.admin"])
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture
def connector(shared: DtCloud) -> Iterator[str]:
    """The path of a connector."""
    number = shared.connector(
        URL, displayName="old", labels=["a"], httpConfig={"signatureSecret": "s", "headers": {"a": "b"}}
    )
    yield f"{CONNECTORS}/{number}"
    shared.desk("DELETE", f"/connectors/{number}")


def refusal(shared: DtCloud, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, str]:
    """Return status and reason of a refusal in DT's form."""
    with pytest.raises(Refused) as refused:
        shared.call(method, path, body, next(ROLES_IN_TURN), **query)
    document = refused.value.document
    assert list(document) == ["error", "code", "help"]
    assert document["code"] == refused.value.status
    assert document["help"] == f"https://docs.d21s.com/error/#{document['code']}"
    return refused.value.status, document["error"]


@pytest.mark.parametrize(
    "authorization", ["", "Basic", "Basic !", "Basic eDp5", "Bearer x", "Bearer ", "Digest x", "Basic //79"]
)
def test_401_for_unknown_clients(shared: DtCloud, authorization: str) -> None:
    status, document, _ = shared.send("GET", "/projects", role=None, headers={"Authorization": authorization})
    assert (status, document["code"]) == (401, 401)


@pytest.mark.parametrize(
    "change", [None, "kid", "secret", "iss", "aud", "exp", "iat", "life", "none", "grant", "array"]
)
def test_token_endpoint_accepts_only_valid_requests(shared: DtCloud, change: str | None) -> None:
    account, now = shared.accounts["project.user"], int(time.time())
    endpoint = f"{shared.url}/oauth2/token"
    claims: dict[str, Any] = {"iat": now, "exp": now + 3600, "aud": endpoint, "iss": account.email}
    changes: dict[str, dict[str, Any]] = {
        "iss": {"iss": "somebody@else"},
        "aud": {"aud": "https://identity.disruptive-technologies.com/oauth2/token"},
        "exp": {"iat": now - 7200, "exp": now - 3600},
        "iat": {"iat": now + 60},
        "life": {"exp": now + 3700},
        "array": {"aud": [endpoint]},
    }
    claims |= changes.get(change or "", {})
    secret = "0" * 32 if change == "secret" else account.secret
    headers = {"kid": "nobody" if change == "kid" else account.key_id}
    assertion = (
        jwt.encode(claims, "", "none", headers) if change == "none" else jwt.encode(claims, secret, "HS256", headers)
    )
    grant = "password" if change == "grant" else GRANT
    answer = shared.request(
        "POST", "/oauth2/token", {"Content-Type": "application/x-www-form-urlencoded"},
        f"assertion={assertion}&grant_type={grant}".encode(),
    )  # fmt: skip
    document = json.loads(answer.body)
    if change in (None, "array"):
        assert (answer.status, document["token_type"], document["expires_in"]) == (200, "bearer", 3600)
        bearer = {"Authorization": f"Bearer {document['access_token']}"}
        assert shared.send("GET", "/projects", role=None, headers=bearer)[0] == 200
    else:
        assert (answer.status, list(document)) == (400, ["error", "error_description"])
        assert document["error"] == ("unsupported_grant_type" if change == "grant" else "invalid_grant")
        assert account.secret not in answer.body.decode()


# Permissions of each role, checked with the highest account that lacks them.
CALLS: list[tuple[str, str, Any, str]] = [
    ("GET", CONNECTORS, None, "project.user"),
    ("GET", DEVICES, None, "project.user"),
    ("POST", CONNECTORS, {}, "project.developer"),
    ("POST", DEVICES, {}, "project.developer"),
    ("POST", f"{DEVICES}:batchUpdate", {}, "project.developer"),
    ("PATCH", f"{CONNECTORS}/none", {}, "project.developer"),
    ("DELETE", f"{CONNECTORS}/none", None, "project.developer"),
    ("POST", f"{CONNECTORS}/none:sync", None, "project.developer"),
    ("POST", f"{DEVICES}/none:publish", {}, "project.developer"),
    ("GET", f"/projects/{OTHER_PROJECT}", None, "organization.admin"),
    ("GET", f"/projects/{OTHER_PROJECT}/dataconnectors", None, "organization.admin"),
]


@pytest.mark.parametrize(("method", "path", "body", "least"), CALLS, ids=[f"{each[0]} {each[1]}" for each in CALLS])
def test_403_for_insufficient_roles(shared: DtCloud, method: str, path: str, body: Any, least: str) -> None:
    for number, role in enumerate(ROLES):
        try:
            shared.call(method, path, body, role)
            status = 200
        except Refused as refused:
            status = refused.status
        assert (status == 403) is (number < list(ROLES).index(least)), role


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/projects/nobody"),
        ("GET", f"{CONNECTORS}/none"),
        ("POST", f"{CONNECTORS}/none:sync"),
        ("GET", f"{CONNECTORS}/none:metrics"),
        ("GET", f"{DEVICES}/none"),
        ("GET", f"{DEVICES}/none/events"),
        ("DELETE", f"{DEVICES}/none"),
        ("GET", "/organizations/none"),
        ("GET", "/roles/none"),
        ("GET", "/nothing"),
    ],
)
def test_404(shared: DtCloud, method: str, path: str) -> None:
    assert refusal(shared, method, path)[0] == 404


def test_405_in_the_same_form(shared: DtCloud) -> None:
    assert refusal(shared, "PUT", "/projects")[0] == 405


def test_429_beyond_25_requests_in_5_s(cloud: DtCloud) -> None:
    answers = [cloud.send("GET", "/roles") for _ in range(35)]
    statuses = [status for status, _, _ in answers]
    assert statuses[:25] == [200] * 25
    assert 429 in statuses[25:]
    refused = next(each for each in answers if each[0] == 429)
    assert (refused[1]["code"], refused[2]["retry-after"]) == (429, "1")
    assert cloud.send("GET", "/roles", role="project.user")[0] == 200
    time.sleep(1)
    assert cloud.send("GET", "/roles")[0] == 200


@pytest.mark.parametrize("name", ["pageSize", "page_size"])
def test_query_names_in_both_spellings(shared: DtCloud, name: str) -> None:
    assert len(shared.call("GET", f"/roles?{name}=3")["roles"]) == 3


@pytest.mark.parametrize("query", [{"pageSize": "x"}, {"pageSize": -1}, {"pageToken": "?"}, {"pageToken": "LTE="}])
def test_bad_pages(shared: DtCloud, query: Any) -> None:
    assert refusal(shared, "GET", "/roles", **query)[0] == 400


WHOLE = {"name": "projects/x/dataconnectors/y", "type": "HTTP_PUSH", "status": "ACTIVE", "awsSqsConfig": None}
PATCHES = [
    ("a changed field", {"displayName": "new"}, None, {"displayName": "new"}),
    ("fields of httpConfig merge", {"httpConfig": {"signatureSecret": "t"}}, None, {"signatureSecret": "t"}),
    ("headers are replaced", {"httpConfig": {"headers": {"c": "d"}}}, None, {"headers": {"c": "d"}}),
    ("and taken away", {"httpConfig": {"headers": {}}}, None, {"headers": {}}),
    ("so is the secret", {"httpConfig": {"signatureSecret": ""}}, None, {"signatureSecret": ""}),
    ("lists are replaced", {"labels": [], "events": ["touch"]}, None, {"labels": [], "events": ["touch"]}),
    ("snake case in bodies", {"display_name": "new"}, None, {"displayName": "new"}),
    ("nothing", {}, None, {}),
    ("a mask", {"displayName": "new", "labels": ["z"]}, "displayName", {"displayName": "new"}),
    ("a mask of two", {"displayName": "n", "httpConfig": {"signatureSecret": "t"}},
     "displayName,httpConfig.signatureSecret", {"displayName": "n", "signatureSecret": "t"}),
    ("a masked field that is not there", {}, "labels", {"labels": []}),
    ("a mask in snake case", {"httpConfig": {"signatureSecret": "t"}}, "http_config.signature_secret",
     {"signatureSecret": "t"}),
    ("the whole object with nulls", {**WHOLE, "displayName": "new", "labels": None, "events": [], "httpConfig": {
        "url": URL, "signatureSecret": "s", "headers": {"a": "b"}}}, None, {"displayName": "new"}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "mask", "changed"), [each[1:] for each in PATCHES], ids=[each[0] for each in PATCHES])
def test_patch_with_and_without_a_mask(
    shared: DtCloud, connector: str, body: Any, mask: str | None, changed: Any
) -> None:
    def flat(document: Any) -> dict[str, Any]:
        return {**document, **document["httpConfig"], "httpConfig": None}

    before = shared.call("GET", connector)
    found = shared.call("PATCH", connector, body, "project.admin", update_mask=mask or "")
    assert flat(found) == {**flat(before), **changed}
    assert shared.call("GET", connector, role="project.admin") == found


@pytest.mark.parametrize(
    ("body", "mask"),
    [
        ({"status": "SYSTEM_DISABLED"}, None),
        ({"status": ["ACTIVE"]}, None),
        ({"events": ["noSuchType"]}, None),
        ({"events": "touch"}, None),
        ({"labels": [1]}, None),
        ({"displayName": 1}, None),
        ({"displayName": "new"}, "name"),
        ({}, "httpConfig.url"),
        ({"httpConfig": {"headers": {"Content-Length": "1"}}}, None),
        ({"httpConfig": {"headers": {"X-Dt-Signature": "x"}}}, None),
        ({"httpConfig": {"headers": {"a b": "x"}}}, None),
        ({"httpConfig": {"headers": {"": "x"}}}, None),
        ({"httpConfig": {"headers": {"a": "x\r\nb: y"}}}, None),
        ({"httpConfig": {"headers": {"a": "\N{SNOWMAN}"}}}, None),
        ({"httpConfig": {"headers": {"a": 1}}}, None),
        ({"httpConfig": {"headers": []}}, None),
    ],
)
def test_refused_patch_changes_nothing(shared: DtCloud, connector: str, body: Any, mask: str | None) -> None:
    before = shared.call("GET", connector)
    assert (
        refusal(shared, "PATCH", connector, {"displayName": "new", **body}, **({"updateMask": mask} if mask else {}))[0]
        == 400
    )
    assert shared.call("GET", connector) == before


REFUSED_URLS = [
    # A name server decides whether this is loopback.
    "https://a.localhost",
    "https://example.com/", "ftp://127.0.0.1/", "http://user:password@127.0.0.1/", "http://user@127.0.0.1/",
    "http://127.0.0.1:0/", "http://127.0.0.1:99999/", "http:///path", "127.0.0.1:8000", "", "http://127.0.0.1/a b",
    "http://example.com\\@127.0.0.1/", "http://127.0.0.1@example.com/", "http://0.0.0.0/", "http://[::1/",
    "http://127.0.0.1/\n", "http://localhost.example.com/",
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED_URLS)
def test_refused_connector_urls(shared: DtCloud, url: str) -> None:
    body = {"type": "HTTP_PUSH", "httpConfig": {"url": url}}
    status, reason = refusal(shared, "POST", CONNECTORS, body)
    assert status == 400
    assert "httpConfig.url" in reason
    assert "password" not in reason.replace("no password", "")
    assert ("--allow-host example.com" in reason) is (url in ("https://example.com/",))


@pytest.mark.parametrize("url", [URL, "https://localhost/", "http://[::1]:8000/x?y=z", "http://127.9.9.9/"])
def test_accepted_connector_urls(shared: DtCloud, url: str) -> None:
    made = shared.call("POST", CONNECTORS, {"type": "HTTP_PUSH", "httpConfig": {"url": url}})
    assert shared.call("DELETE", f"/{made['name']}", role="project.admin") == {}


def test_other_hosts_by_allow_host(tmp_path: Path) -> None:
    with dt_cloud(tmp_path, "--allow-host", "Example.com", "--allow-host", "b.example") as cloud:
        for url in ("https://example.com/", "http://b.example:1/x"):
            cloud.connector(url)
        assert (
            refusal(cloud, "POST", CONNECTORS, {"type": "HTTP_PUSH", "httpConfig": {"url": "https://c.example"}})[0]
            == 400
        )


BODIES = [
    b"{", b"[]", b"1", b"null", b"\xff", b"[" * 100_000, b'{"a":' * 400 + b"1" + b"}" * 400, b" " * 1_000_001,
    b'{"type": "HTTP_PUSH", "displayName": "\\ud800", "httpConfig": {"url": "http://127.0.0.1"}}',
    b'{"type": "HTTP_PUSH", "httpConfig": 5}', b'{"type": 5}', b'{"type": "AWS_SQS"}', b"{}", b"", b'{"type": ["x"]}',
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:20]))
@pytest.mark.parametrize("path", [CONNECTORS, DEVICES])
def test_refused_bodies(shared: DtCloud, path: str, body: bytes) -> None:
    assert refusal(shared, "POST", path, body)[0] == 400


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "", "application/json"])
def test_json_is_read_with_any_content_type(shared: DtCloud, connector: str, kind: str) -> None:
    found = shared.call("PATCH", connector, {"displayName": kind}, headers={"Content-Type": kind})
    assert found["displayName"] == kind


EVENTS: list[Any] = [
    {}, {"touch": {}, "batteryStatus": {"percentage": 1}}, {"humidity": {}}, {"noSuchType": {}}, {"touch": 1},
    {"temperature": {}}, {"temperature": {"value": "1"}}, {"temperature": {"value": True}}, {"temperature": None},
    {"temperature": {"value": 1, "updateTime": "yesterday"}}, {"temperature": {"value": 1, "updateTime": 5}},
    {"temperature": {"value": 1, "samples": "x"}}, {"temperature": {"value": 1, "samples": [{"value": 1}]}},
    {"temperature": {"value": 1, "samples": [5]}}, {"networkStatus": {"signalStrength": 1, "cloudConnectors": 5}},
    {"networkStatus": {"signalStrength": 1, "cloudConnectors": [5]}}, {"networkStatus": {"signalStrength": "x"}},
    {"batteryStatus": {"percentage": "x"}}, {"labelsChanged": {}}, {"ping": {}},
    b'{"temperature": {"value": NaN}}', b'{"temperature": {"value": 1e999}}',
]  # fmt: skip


def test_refused_events_are_not_published(shared: DtCloud) -> None:
    number = shared.sensor()
    for event in EVENTS:
        assert refusal(shared, "POST", f"{DEVICES}/{number}:publish", event)[0] == 400, event
    assert shared.call("GET", f"{DEVICES}/{number}/events")["events"] == []


def test_an_11th_connector_is_refused(cloud: DtCloud) -> None:
    for _ in range(10):
        cloud.connector(URL)
    status, reason = refusal(cloud, "POST", CONNECTORS, {"type": "HTTP_PUSH", "httpConfig": {"url": URL}})
    assert (status, "at most 10" in reason) == (400, True)


def test_no_error_repeats_a_secret(shared: DtCloud, connector: str) -> None:
    _, reason = refusal(shared, "PATCH", connector, {"httpConfig": {"signatureSecret": 5, "headers": {"a": "hush\n"}}})
    assert "hush" not in reason
    assert FIRST_PROJECT not in reason


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/devices/DEVICE:labels", {"add": [1]}),
        ("POST", "/devices/DEVICE:labels", {"add": {"a": 1}}),
        ("POST", "/devices/DEVICE:labels", {"remove": 5}),
        ("POST", "/devices/DEVICE:publish", {"touch": 5}),
        ("POST", "/devices/DEVICE:publish", {}),
        ("POST", "/devices/DEVICE:publish", {"labelsChanged": {}}),
        ("POST", "/clock", {"speed": True}),
        ("POST", "/clock", {"speed": 10**400}),
        ("POST", "/clock", {"jump": -1}),
    ],
)
def test_malformed_json_at_the_desk(shared: DtCloud, method: str, path: str, body: object) -> None:
    with pytest.raises(Refused) as caught:
        shared.desk(method, path.replace("DEVICE", shared.sensor()), body)
    assert caught.value.status == 400
    assert "invalid argument" in str(caught.value)
