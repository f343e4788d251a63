"""AWS's front doors: how each converts an HTTP request to an event, and a result to an HTTP answer.

Written from AWS's documentation (the pages named in `aws_lambda.http`), because AWS's gateways cannot run here. Each
handles an invalid result as AWS does: a Function URL answers 200.
"""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.processes import Answer

Headers = list[tuple[str, str]]
_TEXT = ("text/", "application/json", "application/javascript", "application/xml")


@dataclass(frozen=True)
class FrontDoor:
    """One front door of a Lambda function.

    Attributes:
        event: Converts a method, a path, headers and a body to an event.
        answer: Converts that event and the function's result to an answer.
        keeps_last: Whether only the last value of a repeated header is passed on.
    """

    event: Callable[[str, str, Headers, bytes], dict[str, Any]]
    answer: Callable[[Any], Answer]
    keeps_last: bool = False


def _lower(headers: Headers) -> Headers:
    return [(name.lower(), value) for name, value in headers]


def _joined(headers: Headers) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _lists(headers: Headers) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for name, value in headers:
        lists.setdefault(name, []).append(value)
    return lists


def _body(headers: Headers, body: bytes, always_base64: bool = False) -> dict[str, Any]:
    """Return the body as text if its content type is text.

    Text that is not UTF-8 comes as base64 here. AWS replaces invalid bytes by U+FFFD, so the signature fails; DT sends
    UTF-8.
    """
    content_type = dict(_lower(headers)).get("content-type", "")
    if not always_base64 and content_type.startswith(_TEXT):
        try:
            return {"body": body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass
    return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def payload_2(stage: str) -> Callable[[str, str, Headers, bytes], dict[str, Any]]:
    """Payload 2.0: lower-case names, values joined, no ``body`` for an empty body, a named stage before the path."""

    def event(method: str, path: str, headers: Headers, body: bytes) -> dict[str, Any]:
        raw_path = path if stage == "$default" else f"/{stage}{path}"
        return {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": raw_path,
            "rawQueryString": "",
            "headers": _joined(_lower(headers)),
            "requestContext": {
                "stage": stage,
                "http": {"method": method, "path": raw_path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            },
            **(_body(headers, body) if body else {"isBase64Encoded": False}),
        }

    return event


def payload_1(always_base64: bool, **more: str) -> Callable[[str, str, Headers, bytes], dict[str, Any]]:
    """Payload 1.0: unchanged names, the last value and all values, null without a body or headers."""

    def event(method: str, path: str, headers: Headers, body: bytes) -> dict[str, Any]:
        return {
            **more,
            "resource": "/{proxy+}",
            "path": path,
            "httpMethod": method,
            "headers": dict(headers) or None,
            "multiValueHeaders": _lists(headers) or None,
            "queryStringParameters": None,
            "requestContext": {"stage": "prod", "httpMethod": method, "path": f"/prod{path}"},
            **(_body(headers, body, always_base64) if body else {"body": None, "isBase64Encoded": False}),
        }

    return event


def load_balancer(multi_value: bool) -> Callable[[str, str, Headers, bytes], dict[str, Any]]:
    """A load balancer: lower-case names, either the last value or all values, an empty string for an empty body."""

    def event(method: str, path: str, headers: Headers, body: bytes) -> dict[str, Any]:
        lower = _lower(headers)
        return {
            "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:x"}},
            "httpMethod": method,
            "path": path,
            "queryStringParameters": {},
            **({"multiValueHeaders": _lists(lower)} if multi_value else {"headers": dict(lower)}),
            **(_body(headers, body) if body else {"body": "", "isBase64Encoded": False}),
        }

    return event


def _answer(result: Any, headers: dict[str, str]) -> Answer:
    body = result.get("body") or ""
    content = base64.b64decode(body) if result.get("isBase64Encoded") else body.encode()
    return Answer(result["statusCode"], {name.lower(): value for name, value in headers.items()}, content)


def lenient(result: Any) -> Answer:
    """Answer as payload 2.0 does: a result without statusCode is the body of a 200."""
    if type(result) is dict and "statusCode" in result:
        return _answer(result, result.get("headers") or {})
    return Answer(200, {"content-type": "application/json"}, json.dumps(result).encode())


def strict(result: Any) -> Answer:
    """Answer as payload 1.0 does: a result without statusCode is malformed, 502."""
    if type(result) is not dict or type(result.get("statusCode")) is not int:
        return Answer(502, {}, b"")
    return _answer(result, result.get("headers") or {})


def strict_multi_value(result: Any) -> Answer:
    """Answer as a load balancer with multi-value headers does: it ignores `headers`."""
    if type(result) is not dict or type(result.get("statusCode")) is not int:
        return Answer(502, {}, b"")
    return _answer(result, {name: values[-1] for name, values in (result.get("multiValueHeaders") or {}).items()})


AWS_FRONT_DOORS = {
    "Function URL": FrontDoor(payload_2("$default"), lenient),
    "HTTP API, named stage": FrontDoor(payload_2("prod"), lenient),
    "HTTP API, payload 1.0": FrontDoor(payload_1(always_base64=False, version="1.0"), strict),
    "REST API": FrontDoor(payload_1(always_base64=False), strict),
    "REST API, binary": FrontDoor(payload_1(always_base64=True), strict),
    "ALB": FrontDoor(load_balancer(multi_value=False), strict, keeps_last=True),
    "ALB, multi-value": FrontDoor(load_balancer(multi_value=True), strict_multi_value),
}
