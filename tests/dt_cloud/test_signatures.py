"""The signatures of real requests, verified by the product's core and by PyJWT."""

import hashlib
import io
import json
import time
from typing import Any

import jwt
import pytest

from core.event import Event
from core.http import Request
from core.log import Log
from core.receiver import Receiver
from core.settings import Settings
from core.stores.contract import Outcome
from tests.support.dt_cloud import CONNECTORS, ORGANIZATION, Call, DtCloud, Loopback, Reply, down, until

SECRET = "a signature secret of the tests, 40 bytes"


class Store:
    """Accepts everything."""

    def put(self, event: Event, deadline: float) -> Outcome:
        return Outcome.STORED


def delivered(cloud: DtCloud, receiver: Loopback, secret: str = SECRET) -> Call:
    """Return the first delivery of a new connector."""
    cloud.connector(receiver.url, httpConfig={"signatureSecret": secret})
    cloud.publish(cloud.sensor(name="Kjølerom & <1>"), temperature={"value": 27})
    until(lambda: receiver.calls)
    return receiver.calls[0]


@pytest.mark.parametrize("policy", ["any", "both"])
def test_the_core_verifies_them_by_discovery(cloud: DtCloud, receiver: Loopback, policy: str) -> None:
    environ = {
        "DT_SIGNATURE_SECRET": SECRET,
        "DT_ORGANIZATION_ID": ORGANIZATION,
        "DT_ISSUER": f"{cloud.url}/data-connector",
        "DT_SIGNATURE_POLICY": policy,
    }
    answers: list[int] = []
    core = Receiver(Settings.load(environ), Store(), Log(io.StringIO()))

    def answer(call: Call) -> Reply:
        response = core.handle(Request("POST", "/", list(call.headers.items()), call.body))
        answers.append(response.status)
        return Reply(response.status, response.body)

    receiver.answering = answer
    delivered(cloud, receiver)
    until(lambda: cloud.books() == (1, 1, 0, 0, 0))
    # Rotated: the receiver does not know the new secret yet, and the cloud retries.
    (connector,) = cloud.ledger()["connectors"]
    cloud.call("PATCH", f"{CONNECTORS}/{connector}", {"httpConfig": {"signatureSecret": "n" * 32}})
    cloud.publish(cloud.sensor())
    until(lambda: len(answers) == 2)
    assert answers == [200, 401]


def test_pyjwt_verifies_them_and_both_checksums(cloud: DtCloud, receiver: Loopback) -> None:
    call, now = delivered(cloud, receiver), int(time.time())
    claims = jwt.decode(call.headers["x-dt-signature"], SECRET, ["HS256"], options={"require": ["exp", "iat", "jti"]})
    assert claims["checksum"] == hashlib.sha1(call.body).hexdigest()
    assert claims["checksum_sha256"] == hashlib.sha256(call.body).hexdigest()
    assert claims["exp"] - claims["iat"] == 3600
    assert abs(claims["iat"] - now) <= 2
    discovery = f"{cloud.url}/data-connector/.well-known/openid-configuration"
    document = json.loads(cloud.request("GET", discovery.removeprefix(cloud.url)).body)
    token = call.headers["dt-asymmetric-signature"]
    key = jwt.PyJWKClient(document["jwks_uri"]).get_signing_key_from_jwt(token)
    asymmetric = jwt.decode(
        token, key, ["ES256"], issuer=document["issuer"], subject=ORGANIZATION, options={"require": ["exp", "iat"]}
    )
    assert asymmetric["checksum_sha256"] == hashlib.sha256(call.body).hexdigest()
    assert asymmetric["exp"] - asymmetric["iat"] == 300
    assert b"Kj\xc3\xb8lerom & <1>" not in call.body, "the label was not asked for"


def test_without_a_secret_there_is_no_x_dt_signature(cloud: DtCloud, receiver: Loopback) -> None:
    headers = delivered(cloud, receiver, "").headers
    assert "x-dt-signature" not in headers
    assert "dt-asymmetric-signature" in headers


def test_signatures_use_real_time_at_any_speed(cloud: DtCloud, receiver: Loopback) -> None:
    receiver.answering = down
    cloud.clock(isPaused=True)
    delivered(cloud, receiver)
    attempts: list[Any] = cloud.stepped(cloud.deliveries()[0]["id"], 10)
    issued = [each["tokens"]["X-Dt-Signature"]["claims"]["iat"] for each in attempts]
    assert issued == sorted(issued)
    assert abs(issued[-1] - time.time()) < 5
    tokens = {each["headers"]["X-Dt-Signature"] for each in attempts}
    assert len(tokens) == 10, "each attempt is signed anew"
