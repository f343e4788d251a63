"""Converts the ``params`` of a function's ``main`` to the core's `Request`, and its `Response` back.

Code Engine's names begin with ``__ce_``, those of an OpenWhisk web action with ``__ow_``; the fields are the same:
https://cloud.ibm.com/docs/codeengine?topic=codeengine-fun-exchanging-data#fun-args and
https://github.com/apache/openwhisk/blob/master/docs/webactions.md
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from core.http import Request, Response

# Content types passed as text by both platforms; all others arrive as base64, unmarked. OpenWhisk has a few more, which
# DT does not send.
_TEXT = ("text/", "application/x-www-form-urlencoded")


def to_request(params: Any) -> Request:
    """Return the request in ``params``. Never raises: without a method, the request's method is empty."""
    params = _mapping(params)
    # A caller can add parameters, but none with Code Engine's prefix.
    prefix = "__ce_" if "__ce_method" in params else "__ow_"
    method, path = params.get(f"{prefix}method"), params.get(f"{prefix}path")
    headers = [pair for pair in _mapping(params.get(f"{prefix}headers")).items() if type(pair[1]) is str]
    request = Request(
        method.upper() if type(method) is str else "",
        path if type(path) is str and path else "/",
        headers,
        b"",
    )
    body, *alternatives = _bodies(params.get(f"{prefix}body"), ",".join(request.values("content-type")))
    request.body, request.alternatives = body, tuple(alternatives)
    return request


def is_raw(params: Any) -> bool:
    """Return whether the signed body is available. A web action that is not raw gets the parsed body instead.

    Only a raw action has ``__ow_query``.
    """
    params = _mapping(params)
    return "__ow_method" not in params or "__ow_query" in params or "__ce_method" in params


def to_response(response: Response) -> dict[str, Any]:
    """Return ``response`` for the platform: a body that is neither text nor a JSON object is base64."""
    return {
        # Always with it: Code Engine answers 200 without it.
        "statusCode": response.status,
        # The front door sets the length itself.
        "headers": {name: value for name, value in response.headers if name != "content-length"},
        "body": base64.b64encode(response.body).decode(),
    }


def _bodies(body: Any, content_type: str) -> list[bytes]:
    """Return the possible bodies, most likely first."""
    if type(body) is not str:
        return [b""]
    text = [body.encode("utf-8", "surrogatepass")]
    if "\\" in body:
        # According to Code Engine's page, quotation marks and similar characters are escaped in a text.
        try:
            text.append(json.loads(f'"{body}"', strict=False).encode("utf-8", "surrogatepass"))
        except ValueError:
            pass
    try:
        decoded = [base64.b64decode(body, validate=True)]
    except ValueError:
        decoded = []
    return text + decoded if content_type.strip().lower().startswith(_TEXT) else decoded + text


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if type(value) is dict else {}
