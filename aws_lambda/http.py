"""Between what Lambda hands over and the core's two shapes, whichever front door the request came through.

Function URLs and HTTP APIs speak payload 2.0, REST APIs (and HTTP APIs that are told so) 1.0, load balancers a dialect
of that, in two forms.
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html and
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html have their fields.
"""

import base64
from collections.abc import Mapping
from typing import Any

from core.http import Request, Response


def to_request(event: Any) -> Request:
    """Return the request that ``event`` describes. Never raises: what lacks a method is a request without one."""
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
    # The front door counts for itself.
    headers = {name: value for name, value in response.headers if name != "content-length"}
    # Never without statusCode, which AWS takes for a 200.
    answer = {"statusCode": response.status, "body": response.body.decode(), "isBase64Encoded": False}
    event = _mapping(event)
    # A load balancer that is set to multi-value headers ignores all others.
    if "multiValueHeaders" in event and "elb" in _mapping(event.get("requestContext")):
        return answer | {"multiValueHeaders": {name: [value] for name, value in headers.items()}}
    return answer | {"headers": headers}


def _path(path: Any, stage: Any) -> str:
    if type(path) is not str:
        return "/"
    # An HTTP API puts the name of its stage before the path, unless that is $default.
    if type(stage) is str and path.startswith(f"/{stage}/"):
        return path.removeprefix(f"/{stage}")
    return path


def _headers(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    # Payload 1.0 has both, and in headers only the last value of each; 2.0 has joined the values by commas, which no
    # token holds, so that two tokens are refused as one that is malformed.
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
            pass  # then it is text, whatever is said of it
    return body.encode("utf-8", "surrogatepass")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if type(value) is dict else {}
