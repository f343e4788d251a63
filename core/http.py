"""The request and the answer, as platforms and core exchange them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field


class DisconnectedError(Exception):
    """The client went away before its body was here."""


class TooLargeError(Exception):
    """The body is too large to be read."""


@dataclass(slots=True)
class Request:
    """One HTTP request, as bytes that nobody has interpreted yet.

    Attributes:
        method: The HTTP method in upper case.
        path: The path, without the query string; ``/`` where the platform has no paths.
        headers: Pairs of name (any case) and value, in order, repeated where the sender repeated them.
        body: The body exactly as it came over the wire; ``b""`` when there was none. DT signs these bytes.
        alternatives: What the body may be instead, where a platform does not say how it has encoded it. The one whose
            checksum DT signed takes the place of ``body`` when the request is verified.
    """

    method: str
    path: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes = field(repr=False)
    alternatives: tuple[bytes, ...] = field(default=(), repr=False)

    def values(self, name: str) -> list[str]:
        """Return every value of the header ``name``, which is given in lower case.

        Names are compared without case, because clouds change it: "some services will force header names to be
        lower-cased" (DT, https://docs.developer.disruptive-technologies.com/data-connectors/receiving-events).
        """
        length = len(name)
        return [value for key, value in self.headers if len(key) == length and key.lower() == name]


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to one request.

    Attributes:
        status: The HTTP status code. Exactly 200 acknowledges: older texts of DT's accept no other 2xx.
        headers: Pairs of lower-case name and value.
        body: The body, always UTF-8.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def problem(status: int, name: str, title: str, *headers: tuple[str, str]) -> Response:
    """Build an answer that is no receipt, as RFC 9457 has it.

    Args:
        status: The HTTP status code.
        name: The problem's name, part of its URN.
        title: A sentence for the sender of the request; ours, without data.
        headers: More headers.
    """
    document = {"type": f"urn:problem-type:data-connector:{name}", "title": title, "status": status}
    body = json.dumps(document, separators=(",", ":")).encode()
    return Response(
        status, (("content-type", "application/problem+json"), ("content-length", str(len(body))), *headers), body
    )
