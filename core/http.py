"""The request and the response, as adapters and core exchange them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field


class DisconnectedError(Exception):
    """The client disconnected before its body was complete."""


class TooLargeError(Exception):
    """The body exceeds the limit, and is not read."""


@dataclass(slots=True)
class Request:
    """One HTTP request, with its body as unparsed bytes.

    Attributes:
        method: The HTTP method in upper case.
        path: The path, without the query string; ``/`` if the platform has no paths.
        headers: Pairs of name (any case) and value, in order, repeated as sent.
        body: The exact bytes of the body; ``b""`` without one. DT signs these bytes.
        alternatives: Other possible bodies, if a platform does not say how it encoded the body. Verification chooses
            the one whose checksum DT signed.
    """

    method: str
    path: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    alternatives: tuple[bytes, ...] = field(default=(), repr=False)

    def values(self, name: str) -> list[str]:
        """Return all values of the header ``name``, given in lower case.

        The comparison ignores case, because clouds change it: "some services will force header names to be lower-cased"
        (DT, https://docs.developer.disruptive-technologies.com/data-connectors/receiving-events).
        """
        length = len(name)
        return [value for key, value in self.headers if len(key) == length and key.lower() == name]


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to one request.

    Attributes:
        status: The HTTP status code. Only 200 acknowledges: DT's older documentation accepts no other 2xx.
        headers: Pairs of lower-case name and value.
        body: The body, always UTF-8.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def problem(status: int, name: str, title: str, *headers: tuple[str, str]) -> Response:
    """Build an error response (RFC 9457).

    Args:
        status: The HTTP status code.
        name: The problem's name, part of its URN.
        title: A constant sentence for the sender of the request, without data.
        headers: More headers.
    """
    document = {"type": f"urn:problem-type:data-connector:{name}", "title": title, "status": status}
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(
        status, (("content-type", "application/problem+json"), ("content-length", str(len(body))), *headers), body
    )
