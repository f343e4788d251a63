"""A delivery through every front door is the same request, byte for byte."""

import time

import pytest

from core.settings import Settings
from core.verify.signature import SignatureError
from tests.contract.adapter import FrontDoor
from tests.contract.adapters import FRONT_DOORS, KEEP_LAST
from tests.support.deliveries import SECRET, body, hs256, verified

VERIFIER = Settings.load({"DT_SIGNATURE_SECRET": SECRET}).verifier

BODIES = {
    "ordinary": body(),
    "not ASCII": body(eventId="æøå 温度 😀"),
    "escaped as Go does": body().replace(b"&", b"\\u0026").replace(b"<", b"\\u003c"),
    "white space and a line end": b' {"event" : { } }\r\n',
    "not UTF-8": b"\xff\xfe{}",
    "every byte": bytes(range(256)),
    "looks like base64": b"eyJldmVudCI6e319",
    "looks like a form": b"a=1&b=%20",
    "64 KiB": b"x" * 65_536,
    "absent": b"",
}
# By which a front door decides how to hand the body over; IBM's page has the longest list of them:
# https://cloud.ibm.com/docs/codeengine?topic=codeengine-fun-exchanging-data
CONTENT_TYPES = [
    "application/json",
    "application/json; charset=utf-8",
    "application/octet-stream",
    "image/png",
    "multipart/form-data; boundary=b",
    "text/plain",
    "text/html; charset=utf-8",
    "application/x-www-form-urlencoded",
    None,
]


@pytest.fixture(params=FRONT_DOORS)
def front_door(request: pytest.FixtureRequest) -> FrontDoor:
    return FRONT_DOORS[request.param]


@pytest.mark.parametrize("content", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_signed_bytes_survive_every_front_door(front_door: FrontDoor, content: bytes, content_type: str | None) -> None:
    headers = [("Host", "example.com"), ("X-Dt-Signature", hs256(content))]
    if content_type:
        headers.append(("Content-Type", content_type))
    request = front_door(headers, content)
    assert (request.method, request.path) == ("POST", "/")
    assert request.body == content or content in request.alternatives
    assert verified(VERIFIER, request, time.time()).body == content


@pytest.mark.parametrize("name", ["x-dt-signature", "X-Dt-Signature", "X-DT-SIGNATURE"])
def test_header_names_are_case_insensitive(front_door: FrontDoor, name: str) -> None:
    assert front_door([(name, "token")], b"").values("x-dt-signature") == ["token"]


@pytest.mark.parametrize("name", FRONT_DOORS)
def test_repeated_signature_headers_stay_separate_or_are_joined(name: str) -> None:
    """A platform may join them with a comma (RFC 9110), which no token contains."""
    content = body()
    token, other = hs256(content), hs256(b"{}")
    request = FRONT_DOORS[name]([("X-Dt-Signature", token), ("X-Dt-Signature", other)], content)
    assert ",".join(request.values("x-dt-signature")) == (other if name in KEEP_LAST else f"{token},{other}")
    with pytest.raises(SignatureError):
        verified(VERIFIER, request, time.time())
