"""The fast path and PyJWT agree on DT's tokens and on hostile ones; docs/decisions/0003-the-fast-path.md.

FAST_PATH_TOKENS is their number. A failure prints its FAST_PATH_SEED, which reproduces it.
"""

import base64
import hashlib
import hmac
import json
import os
import random
import string
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from core.http import Request
from core.verify.signature import MAX_TOKEN, SignatureError, Verifier
from tests.support.deliveries import SECRET

TOKENS = int(os.environ.get("FAST_PATH_TOKENS") or 40_000)
# Each with a seed of its own, so that several processes share the work.
SHARDS = 8
LEEWAY = 60
KEY = SECRET.encode()
REQUEST = Request("POST", "/", [], b'{"event":{}}')
CHECKSUM = hashlib.sha256(REQUEST.body).hexdigest()
DT_HEADER = b'{"alg":"HS256","typ":"JWT"}'
VERIFIER = Verifier(secrets=(KEY,), leeway=LEEWAY)

# Far enough from the leeway's edge that the microseconds between the two verdicts do not matter.
OFFSETS = [-100_000, -3600, -70, -50, -10, 0, 10, 50, 70, 3600, 100_000]
STRANGE: list[Any] = [None, True, 0, -1, 1.5, 1e300, 10**30, "", "soon", "1", "9999999999", [], [1], {}, "\ud800", "é"]
HEADERS = [
    b'{"typ":"JWT","alg":"HS256"}',
    b'{"alg": "HS256", "typ": "JWT"}',
    b'{"alg":"HS256"}',
    b'{"alg":"HS256","typ":"JWT","kid":"one"}',
    b'{"alg":"HS256","typ":"JWT","kid":1}',
    b'{"alg":"HS256","typ":"JWT","crit":["x"]}',
    b'{"alg":"HS256","typ":"JWT","b64":false,"crit":["b64"]}',
    b'{"alg":"HS256","typ":"JWT","b64":true}',
    b'{"alg":"HS512","typ":"JWT"}',
    b'{"alg":"none","typ":"JWT"}',
    b'{"alg":"hs256","typ":"JWT"}',
    b'{"alg":["HS256"],"typ":"JWT"}',
    b'{"alg":null}',
    b'{"alg":"ES256","typ":"JWT","kid":"cp65gdon1e4bhb5icbmg"}',
    b'{"alg":"none","alg":"HS256","typ":"JWT"}',
    b'"HS256"',
    b"[]",
    b"{",
    b"",
    b"\xff",
    DT_HEADER.decode().encode("utf-16"),
]


def encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def claims(rng: random.Random) -> dict[str, Any]:
    now = int(time.time())
    found: dict[str, Any] = {
        "checksum": "x" * 40,
        "checksum_sha256": CHECKSUM,
        "exp": now + 3600,
        "iat": now,
        "jti": "cpbg96t1isjlr2vdorc0",
    }
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        name = rng.choice(["exp", "iat", "nbf", "jti", "sub", "aud", "iss", "extra", "checksum"])
        match rng.randrange(3):
            case 0:
                found[name] = now + rng.choice(OFFSETS)
            case 1:
                found[name] = rng.choice(STRANGE)
            case _:
                found.pop(name, None)
    return found


def payload(rng: random.Random) -> bytes:
    text = json.dumps(claims(rng), separators=rng.choice([(",", ":"), (", ", ": ")]))
    match rng.randrange(40):
        case 0:
            return text.encode("utf-16")
        case 1:
            return b"\xef\xbb\xbf" + text.encode()
        case 2:
            return text.replace('"exp"', '"exp":1,"exp"', 1).encode()
        case 3:
            return text.encode() + rng.choice([b" ", b"\n", b"\x00", b"x", b"\xff"])
        case 4:
            return rng.choice([b"", b"[]", b"null", b'"x"', b"{", b"[" * 1200, b'{"exp":NaN,"iat":Infinity}', b"{}"])
        case _:
            return text.encode()


def tampered(part: bytes, rng: random.Random) -> bytes:
    """Change one part of a token as an attack on a lenient decoder would."""
    alphabet = (string.ascii_letters + string.digits + "-_").encode()
    at = rng.randrange(len(part) + 1)
    character = bytes([rng.choice(alphabet + b"+/=. \n\x80")])
    # The last character of most parts has bits that a lenient decoder drops.
    last = part[:-1] + bytes([rng.choice(alphabet)])
    options = [
        part + b"=",
        part + b"==",
        part + b"===",
        b"=" + part,
        part[:at] + character + part[at:],
        part[:at] + character + part[at + 1 :],
        part[:at],
        part.replace(b"-", b"+").replace(b"_", b"/"),
        last,
        part + b"A",
        part + b".",
        b"",
    ]
    return rng.choice(options)


def token(rng: random.Random) -> bytes:
    header = DT_HEADER if rng.random() < 0.8 else rng.choice(HEADERS)
    first, second = encode(header), encode(payload(rng))
    # Tampered before signing: a sender with the secret. After: a sender without it.
    if rng.random() < 0.15:
        second = tampered(second, rng)
    if rng.random() < 0.05:
        first = tampered(first, rng)
    signing_input = first + b"." + second
    key = KEY if rng.random() < 0.9 else rng.choice([b"", b"x" * 40, KEY[:-1]])
    algorithm = "sha256" if rng.random() < 0.97 else rng.choice(["sha1", "sha384", "sha512"])
    third = encode(hmac.digest(key, signing_input, algorithm))
    if rng.random() < 0.15:
        third = tampered(third, rng)
    if rng.random() < 0.05:
        signing_input = tampered(signing_input, rng)
    return signing_input + b"." + third


def ours(candidate: bytes) -> dict[str, Any] | None:
    try:
        signer = VERIFIER._hs256(candidate)
        assert isinstance(signer, tuple)
        found = signer[1]
        # PyJWT ignores the body, so both get a matching one.
        VERIFIER._check("", {**found, "checksum_sha256": CHECKSUM}, (REQUEST.body,), time.time())
    except SignatureError:
        return None
    return found


def pyjwts(candidate: bytes) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = jwt.decode(
            candidate, KEY, ["HS256"], leeway=LEEWAY, options={"require": ["exp", "iat"]}
        )
    except jwt.PyJWTError:
        return None
    return found


def agree(candidate: bytes) -> str:
    """Compare the two verdicts, claims included; return them."""
    verdict, reference = ours(candidate), pyjwts(candidate)
    # repr, because NaN is not equal to itself.
    assert repr(verdict) == repr(reference), f"fast path {verdict}, PyJWT {reference}: {candidate!r}"
    return "refused" if verdict is None else "accepted"


def run(make: Callable[[random.Random], bytes], count: int) -> Counter[str]:
    seed = int(os.environ.get("FAST_PATH_SEED") or time.time_ns())
    rng = random.Random(seed)
    verdicts: Counter[str] = Counter()
    for _ in range(count):
        candidate = make(rng)
        if len(candidate) <= MAX_TOKEN:
            try:
                verdicts[agree(candidate)] += 1
            except Exception as error:
                raise AssertionError(f"FAST_PATH_SEED={seed}") from error
    return verdicts


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_fast_path_and_pyjwt_agree_on_generated_tokens(shard: int) -> None:
    verdicts = run(token, TOKENS // SHARDS)
    # Both verdicts are common, or the test would prove little.
    assert min(verdicts["accepted"], verdicts["refused"]) > TOKENS // SHARDS // 10


def test_fast_path_and_pyjwt_agree_on_noise() -> None:
    def noise(rng: random.Random) -> bytes:
        return bytes(rng.choices(range(256), k=rng.randrange(80)))

    assert run(noise, TOKENS // 10)["accepted"] == 0


def test_fast_path_verifies_tokens_of_dt() -> None:
    """Without PyJWT, or this file would compare PyJWT with itself."""
    from core.verify.fast_path import dt_claims

    made = jwt.encode({"checksum": "", "checksum_sha256": CHECKSUM, "exp": 2, "iat": 1, "jti": "x"}, KEY, "HS256")
    assert dt_claims(made.rpartition(".")[0].encode()) is not None
