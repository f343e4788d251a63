"""Between the ``params`` that a function's ``main`` is given and the core's two shapes.

Code Engine's begin with ``__ce_``, those of an OpenWhisk web action with ``__ow_``; the fields are the same:
https://cloud.ibm.com/docs/codeengine?topic=codeengine-fun-exchanging-data#fun-args and
https://github.com/apache/openwhisk/blob/master/docs/webactions.md
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from core.http import Request, Response

# Those of which both hand over the body as text; of all others as base64, and of none does either say so. OpenWhisk has
# some more, which DT does not send.
_TEXT = ("text/", "application/x-www-form-urlencoded")


def to_request(params: Any) -> Request:
    """Return the request that ``params`` describes. Never raises: what lacks a method is a request without one."""
    params = _mapping(params)
    # The caller of a function can add names of its own, but none that begins with Code Engine's prefix.
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
    """Return whether the body that DT signed is there. A web action that is not raw gets the parsed body instead.

    Only one that is raw has ``__ow_query``.
    """
    params = _mapping(params)
    return "__ow_method" not in params or "__ow_query" in params or "__ce_method" in params


def to_response(response: Response) -> dict[str, Any]:
    """Return ``response`` as a function may: a body that is no text and no JSON object is base64."""
    return {
        # Never without it, which Code Engine takes for a 200.
        "statusCode": response.status,
        # The front door counts for itself.
        "headers": {name: value for name, value in response.headers if name != "content-length"},
        "body": base64.b64encode(response.body).decode(),
    }


def _bodies(body: Any, content_type: str) -> list[bytes]:
    """Return what the body can be, the likeliest first."""
    if type(body) is not str:
        return [b""]
    text = [body.encode("utf-8", "surrogatepass")]
    if "\\" in body:
        # Code Engine's page has it that quotation marks and the like are escaped in a text, and to be put back.
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
