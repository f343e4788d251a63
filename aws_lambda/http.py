"""Converts Lambda's events to the core's `Request`, and its `Response` back, for all front doors.

Function URLs and HTTP APIs use payload 2.0, REST APIs (and HTTP APIs, if configured) 1.0, load balancers two variants
of 1.0. https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html and
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html describe the fields.
"""

import base64
from collections.abc import Mapping
from typing import Any

from core.http import Request, Response


def to_request(event: Any) -> Request:
    """Return the request in ``event``. Never raises: without a method, the request's method is empty."""
    event = _mapping(event)
    context = _mapping(event.get("requestContext"))
    http = _mapping(context.get("http"))
    method = http.get("method") or event.get("httpMethod")
    return Request(
        method if type(method) is str else "",
        _path(event.get("rawPath") or event.get("path"), context.get("stage")),
        _headers(event),
        _body(event),
    )


def to_response(response: Response, event: Any) -> dict[str, Any]:
    """Return ``response`` in the form that the front door of ``event`` expects."""
    # The front door sets the length itself.
    headers = {name: value for name, value in response.headers if name != "content-length"}
    # Always with statusCode: AWS answers 200 without it.
    answer = {"statusCode": response.status, "body": response.body.decode(), "isBase64Encoded": False}
    event = _mapping(event)
    # A load balancer with multi-value headers ignores all other headers.
    if "multiValueHeaders" in event and "elb" in _mapping(event.get("requestContext")):
        return answer | {"multiValueHeaders": {name: [value] for name, value in headers.items()}}
    return answer | {"headers": headers}


def _path(path: Any, stage: Any) -> str:
    if type(path) is not str:
        return "/"
    # An HTTP API prefixes the path with its stage, except $default.
    if type(stage) is str and path.startswith(f"/{stage}/"):
        return path.removeprefix(f"/{stage}")
    return path


def _headers(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    # Payload 1.0 has both, with only the last value of each in headers. 2.0 joins repeated values by commas, which no
    # token contains, so two tokens are refused as malformed.
    if multi_value := _mapping(event.get("multiValueHeaders")):
        pairs = [(name, value) for name, values in multi_value.items() if type(values) is list for value in values]
    else:
        pairs = list(_mapping(event.get("headers")).items())
    return [pair for pair in pairs if type(pair[1]) is str]


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body")
    if type(body) is not str:
        return b""
    if event.get("isBase64Encoded"):
        try:
            return base64.b64decode(body, validate=True)
        except ValueError:
            pass  # not base64, despite the flag: it is text
    return body.encode("utf-8", "surrogatepass")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if type(value) is dict else {}
