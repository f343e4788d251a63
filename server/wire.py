"""Answers as bytes, and the answers to what is not a request."""

from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus

from core.http import Response, problem

NOT_HTTP = problem(400, "bad-request", "This is not a request of HTTP/1.1.")
HEAD_TIMEOUT = problem(408, "request-timeout", "The request did not arrive in full. Send it again.")
HEAD_TOO_LARGE = problem(431, "head-too-large", "The headers are too large.")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@lru_cache(64)  # more than there are answers
def to_bytes(response: Response, is_last: bool = False, has_body: bool = True) -> bytes:
    """Return an answer of HTTP/1.1.

    Args:
        response: The answer.
        is_last: Whether the connection is closed after it.
        has_body: False for an answer to HEAD.
    """
    headers = dict(response.headers)
    if is_last:
        headers["connection"] = "close"
    return head(response.status, headers.items()) + (response.body if has_body else b"")


def head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the status line and the headers."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join((*lines, "", "")).encode("latin-1")
