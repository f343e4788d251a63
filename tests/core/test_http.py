"""`Request` and `Response`, between a platform and the core."""

from dataclasses import FrozenInstanceError

import pytest

from core.http import Request, Response

HEADERS = [("X-Dt-Signature", "one"), ("Content-Type", "two"), ("x-dt-signature", "three"), ("X-DT-SIGNATURES", "four")]


def test_header_lookup_is_case_insensitive() -> None:
    request = Request("POST", "/", HEADERS, b"")
    assert request.values("x-dt-signature") == ["one", "three"]
    assert request.values("content-type") == ["two"]
    assert request.values("dt-asymmetric-signature") == []


def test_body_is_not_copied() -> None:
    content = bytes(range(256))
    assert Request("POST", "/", (), content).body is content


def test_repr_shows_no_header_and_no_body() -> None:
    assert repr(Request("POST", "/events", HEADERS, b"a body")) == "Request(method='POST', path='/events')"


def test_answers_are_constants() -> None:
    response = Response(200, (), b"")
    with pytest.raises(FrozenInstanceError):
        response.status = 500  # type: ignore[misc]
