"""Lambda events become requests, and answers become Lambda results."""

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aws_lambda.http import to_request, to_response
from core import receiver
from core.http import Request, Response
from core.receiver import Receiver
from core.settings import Settings
from core.stores.contract import Outcome
from tests.support.deliveries import SECRET, body, signed
from tests.support.front_doors import AWS_FRONT_DOORS, FrontDoor

# JSON may hold lone surrogates, and AWS passes them on.
TEXT = st.text(st.characters(), max_size=20)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
ANSWERS = [
    receiver.UNVERIFIED,
    receiver.TOO_LARGE,
    receiver.NOT_ALLOWED,
    receiver.UNAVAILABLE,
    receiver.BUG,
    receiver.HEALTHY,
]
CONTENT = body()


def made_by(front_door: FrontDoor, content: bytes = CONTENT, path: str = "/") -> dict[str, Any]:
    """Return the event of a delivery, by way of JSON, as it comes."""
    headers = [("Host", "example.com"), *signed(content).items()]
    event: dict[str, Any] = json.loads(json.dumps(front_door.event("POST", path, headers, content)))
    return event


EVENTS = {name: made_by(front_door) for name, front_door in AWS_FRONT_DOORS.items()}


def paths_of(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of each member, however deep."""
    if type(value) is not dict:
        return [path]
    return [path, *(found for name in value for found in paths_of(value[name], (*path, name)))]


FIELDS = [(name, path) for name, event in EVENTS.items() for path in paths_of(event) if path]


def check(event: Any) -> Request:
    """Assert that ``event`` is a request, and that each answer to it is a valid result."""
    before = copy.deepcopy(event)
    request = to_request(event)
    assert (type(request.method), type(request.path), type(request.body)) == (str, str, bytes)
    assert all(type(name) is type(value) is str for name, value in request.headers)
    for response in ANSWERS:
        result = to_response(response, event)
        assert result["statusCode"] == response.status
        assert type(result["statusCode"]) is int
        assert type(result["body"]) is str
        assert result["isBase64Encoded"] is False
        assert json.loads(json.dumps(result)) == result
    assert event == before
    return request


def parsed(**fields: Any) -> Request:
    return to_request({"version": "2.0", "requestContext": {"http": {"method": "POST"}}, **fields})


# Nothing raises.


@given(JSON)
@example(None)
@example([])
@example("")
@example({"requestContext": None, "headers": None, "body": None})
@example({"requestContext": {"http": None, "elb": None}, "multiValueHeaders": None})
@example({"multiValueHeaders": {"x-dt-signature": None, "host": [None, 1, ["a"]]}})
@example({"rawPath": "/None/healthz", "requestContext": {"stage": {"a": []}}})
def test_any_json_is_a_request(event: Any) -> None:
    check(event)


@given(st.sampled_from(FIELDS), JSON)
@settings(max_examples=300)
def test_any_value_of_a_field_is_a_request(field: tuple[str, tuple[str, ...]], value: Any) -> None:
    name, (*parents, last) = field
    event = copy.deepcopy(EVENTS[name])
    place = event
    for parent in parents:
        place = place[parent]
    place[last] = value
    check(event)
    del place[last]
    check(event)


SCHEDULED = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-11-21T09:00:00Z",
    "region": "eu-north-1",
    "resources": ["arn:aws:events:eu-north-1:123456789012:rule/x"],
    "detail": {},
}
FROM_SQS = {
    "Records": [
        {
            "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
            "receiptHandle": "x",
            "body": CONTENT.decode(),
            "attributes": {"ApproximateReceiveCount": "1"},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-north-1:123456789012:x",
        }
    ]
}


@pytest.mark.parametrize("event", [{}, None, SCHEDULED, FROM_SQS], ids=["empty", "null", "schedule", "SQS"])
def test_non_http_event_is_405(event: Any) -> None:
    class Memory:
        def put(self, *_: object) -> Outcome:
            raise AssertionError

    response = Receiver(Settings.load({"DT_SIGNATURE_SECRET": SECRET}), Memory()).handle(to_request(event))
    result = to_response(response, event)
    assert result["statusCode"] == 405
    assert result["headers"]["allow"] == "POST"


# Headers.


@pytest.mark.parametrize("headers", [None, {}, [], "x", 1], ids=repr)
@pytest.mark.parametrize("several", [None, {}, [], "x", 1], ids=repr)
def test_missing_headers_are_an_empty_list(headers: Any, several: Any) -> None:
    assert parsed(headers=headers, multiValueHeaders=several).headers == []


def test_header_without_a_text_value_is_dropped() -> None:
    headers = {"x-dt-signature": None, "host": "example.com", "a": 1, "b": ["c"]}
    assert parsed(headers=headers).headers == [("host", "example.com")]
    lists = {"x-dt-signature": None, "host": ["example.com", None, 1], "a": "text", "b": [], "c": [["d"]]}
    assert parsed(multiValueHeaders=lists).headers == [("host", "example.com")]


@given(st.text("xX-dDtT", min_size=1), st.lists(st.text(), min_size=1, max_size=3))
def test_header_names_values_and_order_are_kept(name: str, values: list[str]) -> None:
    """`Request.values` ignores case. The single last value beside the list is not added to it."""
    request = parsed(headers={name: values[-1]}, multiValueHeaders={name: values})
    assert list(request.headers) == [(name, value) for value in values]
    assert request.values(name.lower()) == values


# Paths.


@pytest.mark.parametrize(
    ("path", "stage", "expected"),
    [
        ("/prod/healthz", "prod", "/healthz"),
        ("/prod/", "prod", "/"),
        ("/prod/prod/x", "prod", "/prod/x"),
        ("/healthz", "prod", "/healthz"),
        ("/healthz", "$default", "/healthz"),
        ("/healthz", None, "/healthz"),
        # Another stage, or no path after the stage.
        ("/production/healthz", "prod", "/production/healthz"),
        ("/prodhealthz", "prod", "/prodhealthz"),
        ("/prod", "prod", "/prod"),
        ("/x/prod/healthz", "prod", "/x/prod/healthz"),
        ("/Prod/healthz", "prod", "/Prod/healthz"),
        (None, "prod", "/"),
        (1, "prod", "/"),
        ("/\ud800", "prod", "/\ud800"),
    ],
)
def test_stage_is_removed_from_the_path(path: Any, stage: Any, expected: str) -> None:
    """`/prod` alone stays: only the health check's path matters."""
    context = {"stage": stage, "http": {"method": "GET"}}
    assert to_request({"rawPath": path, "requestContext": context}).path == expected
    assert to_request({"path": path, "requestContext": context}).path == expected


@pytest.mark.parametrize("name", AWS_FRONT_DOORS)
def test_health_check_path_behind_every_front_door(name: str) -> None:
    request = to_request(AWS_FRONT_DOORS[name].event("GET", "/healthz", [("Host", "example.com")], b""))
    assert (request.method, request.path, request.body) == ("GET", "/healthz", b"")


# Bodies.


@given(st.binary(max_size=300), st.sampled_from(["application/json", "text/plain", "application/octet-stream"]))
@settings(max_examples=200)
@example(b"", "application/json")
@example(b"\x00", "application/json")
@example(b"\xef\xbb\xbf{}", "application/json")
@example("\u2028\ufffe\U0010ffff".encode(), "application/json")
@example(b"\xed\xa0\x80", "application/json")
@example(b"e30=", "text/plain")
def test_body_bytes_survive_every_front_door(content: bytes, content_type: str) -> None:
    for name, front_door in AWS_FRONT_DOORS.items():
        event = front_door.event("POST", "/", [("Content-Type", content_type)], content)
        assert to_request(json.loads(json.dumps(event))).body == content, name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_body_is_encoded_as_utf8(text: str) -> None:
    for fields in ({}, {"isBase64Encoded": False}, {"isBase64Encoded": None}):
        assert parsed(body=text, **fields).body == text.encode()


@pytest.mark.parametrize("is_base64", [True, False, None])
def test_missing_body_is_empty(is_base64: bool | None) -> None:
    for fields in ({}, {"body": None}, {"body": ""}, {"body": 1}, {"body": {"a": "b"}}, {"body": ["a"]}):
        assert parsed(isBase64Encoded=is_base64, **fields).body == b""


@pytest.mark.parametrize(
    "text",
    [
        CONTENT.decode(),
        "e30",
        "e30==",
        "e3=0",
        "e30=\n",
        "e3\n0=",
        " e30=",
        "e3 0=",
        "e30=\x00",
        "_-==",
        "é30=",
        "=",
        "e30=e30=",
    ],
    ids=repr,
)
def test_invalid_base64_body_is_kept_as_text(text: str) -> None:
    """A lenient decoder would drop unknown characters, and change the body."""
    assert parsed(body=text, isBase64Encoded=True).body == text.encode()


def test_base64_body_is_decoded() -> None:
    content = bytes(range(256)) + b"\xfb\xef\xbe\xff"
    assert parsed(body=base64.b64encode(content).decode(), isBase64Encoded=True).body == content


@pytest.mark.parametrize("is_base64", [True, False])
def test_lone_surrogates_are_kept(is_base64: bool) -> None:
    """No signature can match them, but two different bodies must not become the same."""
    event = json.loads(r'{"body": "a\ud800b\udc00"}')
    assert to_request({**event, "isBase64Encoded": is_base64}).body == b"a\xed\xa0\x80b\xed\xb0\x80"
    assert to_request(json.loads(r'{"body": "\ud83d\ude00"}')).body == "😀".encode()


# Answers.


@pytest.mark.parametrize("name", AWS_FRONT_DOORS)
@pytest.mark.parametrize("response", ANSWERS, ids=lambda response: response.status)
def test_answer_format_of_each_front_door(name: str, response: Response) -> None:
    result = to_response(response, EVENTS[name])
    expected = dict(response.headers)
    length = expected.pop("content-length")
    if name == "ALB, multi-value":
        assert result.keys() == {"statusCode", "body", "isBase64Encoded", "multiValueHeaders"}
        assert result["multiValueHeaders"] == {header: [value] for header, value in expected.items()}
    else:
        assert result.keys() == {"statusCode", "body", "isBase64Encoded", "headers"}
        assert result["headers"] == expected
    # The front door adds the length, and two lengths would allow response smuggling.
    assert "content-length" not in json.dumps(result)
    assert len(result["body"].encode()) == int(length)
    answer = AWS_FRONT_DOORS[name].answer(result)
    assert (answer.status, answer.headers, answer.body) == (response.status, expected, response.body)


@pytest.mark.parametrize(
    "event",
    [
        EVENTS["REST API"],
        {"requestContext": {"elb": {}}, "headers": {}},
        {"requestContext": {}, "multiValueHeaders": {}},
        {"requestContext": ["elb"], "multiValueHeaders": {}},
        {"requestContext": "elb", "multiValueHeaders": {}},
    ],
)
def test_multi_value_headers_only_for_a_load_balancer(event: Any) -> None:
    assert "multiValueHeaders" not in to_response(receiver.UNVERIFIED, event)
