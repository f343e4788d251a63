"""Promise 2: an unsigned request is refused. Promise 4: nothing fails open."""

import ast
import hmac
import json
import time
import warnings
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from core.http import Request
from core.settings import Settings
from core.verify.signature import MAX_TOKEN, REASONS, SignatureError, Verifier
from tests.support.deliveries import ORGANIZATION, SECRET, body, delivery, hs256, raw_token, verified
from tests.support.es256 import JWKS, PRIVATE, es256, jwks

OTHER_SECRET = "another signature secret, of 41 bytes too"
BODY = body()
HS256 = {"DT_SIGNATURE_SECRET": SECRET}
ES256 = {"DT_ORGANIZATION_ID": ORGANIZATION, "DT_JWKS": JWKS}


def verifier(**environ: str) -> Verifier:
    return Settings.load(environ or HS256).verifier


def reason(verifier: Verifier, request: Request, now: float | None = None) -> str:
    with pytest.raises(SignatureError) as caught:
        verified(verifier, request, time.time() if now is None else now)
    assert caught.value.reason in REASONS
    return caught.value.reason


def accepts(verifier: Verifier, request: Request, now: float | None = None) -> str:
    found = verified(verifier, request, time.time() if now is None else now)
    assert found.body is request.body
    return found.signed_by


def hs(token: str, content: bytes = BODY) -> Request:
    return delivery(content, {"X-Dt-Signature": token})


def es(token: str, content: bytes = BODY) -> Request:
    return delivery(content, {"DT-Asymmetric-Signature": token})


def both(hs_token: str, es_token: str) -> Request:
    return delivery(BODY, {"X-Dt-Signature": hs_token, "DT-Asymmetric-Signature": es_token})


def test_hs256_delivery_is_verified() -> None:
    assert accepts(verifier(), delivery()) == "hs256:0"


@pytest.mark.parametrize("name", ["x-dt-signature", "X-DT-SIGNATURE", "X-Dt-Signature"])
def test_header_names_are_case_insensitive(name: str) -> None:
    assert accepts(verifier(), delivery(BODY, {name: hs256(BODY)})) == "hs256:0"


def test_every_secret_is_tried_and_named() -> None:
    several = verifier(DT_SIGNATURE_SECRET=f'["{OTHER_SECRET}", "{SECRET}"]')
    assert accepts(several, hs(hs256(BODY, OTHER_SECRET))) == "hs256:0"
    assert accepts(several, hs(hs256(BODY, SECRET))) == "hs256:1"
    assert reason(several, hs(hs256(BODY, "a third one, which nobody has configured"))) == "signature"


def test_secret_is_encoded_as_utf8() -> None:
    secret = "pæssørd og mer til, minst 32 byte langt"
    assert accepts(verifier(DT_SIGNATURE_SECRET=secret), hs(hs256(BODY, secret))) == "hs256:0"


def mutated(token: str, index: int) -> str:
    """Change one character in one of the three parts."""
    parts = token.split(".")
    part = parts[index]
    parts[index] = part[:5] + ("A" if part[5] != "A" else "B") + part[6:]
    return ".".join(parts)


HS384 = jwt.encode({"exp": 9e9}, SECRET * 2, "HS384")
FORGERIES = {
    "empty": "",
    "one word": "x",
    "no signature": hs256(BODY).rsplit(".", 1)[0],
    "empty signature": hs256(BODY).rsplit(".", 1)[0] + ".",
    "header changed": mutated(hs256(BODY), 0),
    "payload changed": mutated(hs256(BODY), 1),
    "signature changed": mutated(hs256(BODY), 2),
    "another secret": hs256(BODY, OTHER_SECRET),
    "alg none": raw_token({"alg": "none", "typ": "JWT"}, jwt.decode(hs256(BODY), options={"verify_signature": False})),
    "HS384": HS384,
    "ES256 token in the HS256 header": es256(BODY),
    "the empty key": raw_token({"alg": "HS256", "typ": "JWT"}, {"exp": 9_999_999_999}, b"x" * 32),
    "100 dots": "." * 100,
    "padding only": "=" * 44,
    "two tokens, as a cloud joins repeated headers": f"{hs256(BODY)},{hs256(BODY)}",
}


@pytest.mark.parametrize("token", FORGERIES.values(), ids=FORGERIES.keys())
def test_hs256_forgery_is_refused(token: str) -> None:
    assert reason(verifier(), hs(token)) == "signature"


def test_token_signed_with_the_empty_key_is_refused() -> None:
    with pytest.raises(Exception, match="DT_SIGNATURE_SECRET"):
        verifier(DT_SIGNATURE_SECRET="")
    signing_input = hs256(BODY).rsplit(".", 1)[0]
    signature = hmac.digest(b"", signing_input.encode(), "sha256")
    assert reason(verifier(), hs(signing_input + "." + raw_token({}, {}, signature).split(".")[2])) == "signature"


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_genuine_token_of_another_algorithm_is_refused(algorithm: str) -> None:
    """Signed with our secret by HS256, but with another algorithm in its header."""
    token = jwt.encode({"exp": 9_999_999_999, "iat": 1}, SECRET, "HS256")
    lying = raw_token({"alg": algorithm, "typ": "JWT"}, jwt.decode(token, options={"verify_signature": False}))
    signing_input = lying.rsplit(".", 1)[0]
    signature = hmac.digest(SECRET.encode(), signing_input.encode(), "sha256")
    forged = signing_input + "." + raw_token({}, {}, signature).split(".")[2]
    assert reason(verifier(), hs(forged)) == "algorithm"


def test_too_large_and_invalid_tokens_are_refused_before_decoding() -> None:
    assert reason(verifier(), hs("A" * 100_000)) == "too_long"
    assert reason(verifier(), hs("A" * (MAX_TOKEN + 1))) == "too_long"
    assert reason(verifier(), hs("A" * MAX_TOKEN)) == "signature"
    assert reason(verifier(), hs("ü")) == "malformed"


def test_missing_and_repeated_headers_are_refused() -> None:
    assert reason(verifier(), delivery(BODY, {})) == "missing"
    token = hs256(BODY)
    twice = Request("POST", "/", [("x-dt-signature", token), ("X-Dt-Signature", token)], BODY)
    assert reason(verifier(), twice) == "repeated"


@pytest.mark.parametrize("claim", ["exp", "iat"])
def test_token_without_exp_or_iat_is_refused(claim: str) -> None:
    assert reason(verifier(), hs(hs256(BODY, SECRET, None, **{claim: None}))) == "claims"


def test_token_without_a_checksum_is_refused() -> None:
    assert reason(verifier(), hs(hs256(BODY, checksum=None, checksum_sha256=None))) == "claims"


def test_checksums() -> None:
    assert reason(verifier(), hs(hs256(BODY), BODY + b" ")) == "checksum"
    assert reason(verifier(), hs(hs256(BODY), b"")) == "empty_body"
    assert reason(verifier(), hs("x.y.z", b"")) != "empty_body"
    # SHA-256 alone decides where it is there ...
    assert reason(verifier(), hs(hs256(BODY, checksum_sha256="0" * 64))) == "checksum"
    assert accepts(verifier(), hs(hs256(BODY, checksum="0" * 40))) == "hs256:0"
    assert reason(verifier(), hs(hs256(BODY, checksum_sha256=17))) == "malformed"
    assert reason(verifier(), hs(hs256(BODY, checksum_sha256="é"))) == "checksum"
    # ... and SHA-1 where it is not, unless that is switched off.
    sha1_only = hs(hs256(BODY, checksum_sha256=None))
    assert accepts(verifier(), sha1_only) == "hs256:0"
    assert reason(verifier(), hs(hs256(BODY, checksum_sha256=None, checksum="0" * 40))) == "checksum"
    assert reason(verifier(**HS256, DT_ACCEPT_SHA1="false"), sha1_only) == "claims"


def test_signed_body_is_chosen_from_alternatives() -> None:
    """A platform may not state the encoding of the body: `Request.alternatives`."""
    for candidates in ([b"x", BODY], [BODY, b"x"], [b"", b"x", BODY]):
        for headers in (hs(hs256(BODY)), hs(hs256(BODY, checksum_sha256=None)), both(hs256(BODY), es256(BODY))):
            request = Request("POST", "/", headers.headers, candidates[0], tuple(candidates[1:]))
            assert verified(verifier(**HS256, **ES256), request, time.time()).body == BODY
            assert (request.body, request.alternatives) == (candidates[0], tuple(candidates[1:]))
    request = Request("POST", "/", hs(hs256(BODY)).headers, b"x", (b"y",))
    assert reason(verifier(), request) == "checksum"
    assert (request.body, request.alternatives) == (b"x", (b"y",))


def test_two_tokens_must_sign_the_same_alternative() -> None:
    other = body(eventId="another")
    for first, second in ((BODY, other), (other, BODY)):
        request = Request("POST", "/", both(hs256(BODY), es256(other)).headers, first, (second,))
        assert reason(verifier(**HS256, **ES256, DT_SIGNATURE_POLICY="both"), request) == "checksum"


def test_leeway() -> None:
    issued = 1_700_000_000
    request = hs(hs256(BODY, iat=issued, exp=issued + 3600))
    assert accepts(verifier(), request, issued) == "hs256:0"
    assert accepts(verifier(), request, issued - 60) == "hs256:0"
    assert reason(verifier(), request, issued - 61) == "not_yet_valid"
    assert accepts(verifier(), request, issued + 3659.9) == "hs256:0"
    assert reason(verifier(), request, issued + 3660) == "expired"
    assert reason(verifier(**HS256, DT_LEEWAY="0"), request, issued + 3600) == "expired"
    assert reason(verifier(), hs(hs256(BODY, nbf=issued + 100, iat=issued)), issued) == "not_yet_valid"


@pytest.mark.parametrize("huge", [10**308, 10**309, 1e308], ids=["309 digits", "310 digits", "float"])
def test_huge_timestamps_are_compared(huge: Any) -> None:
    assert accepts(verifier(), hs(hs256(BODY, exp=huge)))
    assert reason(verifier(), hs(hs256(BODY, exp=-huge))) == "expired"
    for claim in ("iat", "nbf"):
        assert reason(verifier(), hs(hs256(BODY, **{claim: huge}))) == "not_yet_valid"


def test_grace_for_expired_tokens_is_bounded_and_reported() -> None:
    issued = 1_700_000_000
    request = hs(hs256(BODY, iat=issued, exp=issued + 3600))
    patient = verifier(**HS256, DT_ACCEPT_EXPIRED_FOR="43200")
    assert verified(patient, request, issued + 3600 + 7200).expired_for == 7200
    assert verified(patient, request, issued).expired_for == 0
    assert verified(patient, request, issued + 3600 + 60 + 43_199).expired_for == 43_259
    assert reason(patient, request, issued + 3600 + 60 + 43_200) == "expired"


def test_expired_is_reported_only_for_otherwise_valid_tokens() -> None:
    issued = 1_700_000_000
    token = hs256(BODY, iat=issued, exp=issued + 3600)
    assert reason(verifier(), hs(token, b"another body"), issued + 7200) == "checksum"


@pytest.mark.parametrize("claims", [{"exp": "soon"}, {"iat": [1]}, {"nbf": {}}, {"exp": 1e999}])
def test_claims_of_the_wrong_type_are_refused(claims: dict[str, Any]) -> None:
    payload = raw_token({"alg": "HS256", "typ": "JWT"}, {"exp": 9_999_999_999, "iat": 1, "checksum": "x"} | claims)
    signing_input = payload.rsplit(".", 1)[0]
    signature = hmac.digest(SECRET.encode(), signing_input.encode(), "sha256")
    token = signing_input + "." + raw_token({}, {}, signature).split(".")[2]
    assert reason(verifier(), hs(token)) == "malformed"


def test_valid_tokens_of_another_shape_are_verified_by_pyjwt() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert accepts(verifier(), hs(hs256(BODY, headers={"kid": "one"}))) == "hs256:0"
        assert accepts(verifier(), hs(hs256(BODY, iss="somebody"))) == "hs256:0"
        assert reason(verifier(), hs(hs256(BODY, headers={"crit": ["unknown"]}))) == "malformed"
        assert reason(verifier(), hs(hs256(BODY, aud="somebody else"))) == "malformed"


def test_short_secret_works_without_a_warning_per_request() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
        plain, odd = hs256(BODY, "test-secret"), hs256(BODY, "test-secret", iss="x")
    short = verifier(DT_SIGNATURE_SECRET="test-secret")
    assert accepts(short, hs(plain)) == "hs256:0"
    assert accepts(short, hs(odd)) == "hs256:0"


def test_es256_delivery_is_verified() -> None:
    assert accepts(verifier(**ES256), es(es256(BODY))) == "es256:cp65gdon1e4bhb5icbmg"


def test_es256_is_limited_to_our_organization() -> None:
    """DT signs for all its customers with one key."""
    assert reason(verifier(**ES256), es(es256(BODY, sub="another-customer"))) == "organization"
    assert reason(verifier(**ES256), es(es256(BODY, sub=None))) == "organization"
    two = verifier(DT_ORGANIZATION_ID=f'["dt", "{ORGANIZATION}"]', DT_JWKS=JWKS)
    assert accepts(two, es(es256(BODY, sub="dt")))
    assert accepts(two, es(es256(BODY)))


def test_es256_refusals() -> None:
    es_verifier = verifier(**ES256)
    other = ec.generate_private_key(ec.SECP256R1())
    assert reason(es_verifier, es(es256(BODY, private=other))) == "signature"
    assert reason(es_verifier, es(es256(BODY, kid="unknown"))) == "unknown_key"
    assert reason(es_verifier, es(es256(BODY, kid=None))) == "unknown_key"
    assert reason(es_verifier, es(es256(BODY, iss="https://identity.example.com"))) == "issuer"
    assert reason(es_verifier, es(es256(BODY, exp=None))) == "claims"
    assert reason(es_verifier, es(es256(BODY, iat=None))) == "claims"
    assert reason(es_verifier, es(es256(BODY, checksum_sha256=None))) == "claims"
    assert reason(es_verifier, es(es256(BODY), b"another body")) == "checksum"
    assert reason(es_verifier, es(es256(BODY, exp=1_700_000_000))) == "expired"
    for token in ("", "x", "a.b.c", "." * 50, es256(BODY)[:-4]):
        assert reason(es_verifier, es(token)) in ("malformed", "signature")


def test_key_confusion_is_refused() -> None:
    """The public key as an HMAC secret, the secret's token in the other header, and RS256."""
    pem = PRIVATE.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signing_input = raw_token({"alg": "HS256", "typ": "JWT", "kid": "cp65gdon1e4bhb5icbmg"}, {"exp": 9_999_999_999})
    signing_input = signing_input.rsplit(".", 1)[0]
    signature = hmac.digest(pem, signing_input.encode(), "sha256")
    confused = signing_input + "." + raw_token({}, {}, signature).split(".")[2]
    either = verifier(**HS256, **ES256)
    assert reason(either, es(confused)) == "algorithm"
    assert reason(either, hs(confused)) == "signature"
    assert reason(either, es(hs256(BODY))) == "algorithm"
    assert reason(either, hs(es256(BODY))) == "signature"
    private = rsa.generate_private_key(65537, 2048)
    assert reason(either, es(es256(BODY, private=private, algorithm="RS256"))) == "algorithm"


# For long: the 5 minutes of a real one may be over before these tests have their turn.
LONG = 9_999_999_999
GOOD, BAD = hs256(BODY, exp=LONG), hs256(BODY, OTHER_SECRET)
GOOD_ES, BAD_ES = es256(BODY, exp=LONG), es256(b"another body")


@pytest.mark.parametrize(
    ("policy", "hs_token", "es_token", "verdict"),
    [
        ("any", GOOD, None, "hs256:0"),
        ("any", None, GOOD_ES, "es256:cp65gdon1e4bhb5icbmg"),
        ("any", GOOD, GOOD_ES, "hs256:0+es256:cp65gdon1e4bhb5icbmg"),
        ("any", GOOD, BAD_ES, "checksum"),
        ("any", BAD, GOOD_ES, "signature"),
        ("any", "", GOOD_ES, "signature"),
        ("any", GOOD, "", "malformed"),
        ("any", None, None, "missing"),
        ("hs256", GOOD, None, "hs256:0"),
        ("hs256", GOOD, BAD_ES, "hs256:0"),
        ("hs256", None, GOOD_ES, "missing"),
        ("es256", None, GOOD_ES, "es256:cp65gdon1e4bhb5icbmg"),
        ("es256", BAD, GOOD_ES, "es256:cp65gdon1e4bhb5icbmg"),
        ("es256", GOOD, None, "missing"),
        ("both", GOOD, GOOD_ES, "hs256:0+es256:cp65gdon1e4bhb5icbmg"),
        ("both", GOOD, None, "missing"),
        ("both", None, GOOD_ES, "missing"),
        ("both", GOOD, BAD_ES, "checksum"),
    ],
)
def test_policy(policy: str, hs_token: str | None, es_token: str | None, verdict: str) -> None:
    headers = {"X-Dt-Signature": hs_token, "DT-Asymmetric-Signature": es_token}
    request = delivery(BODY, {name: token for name, token in headers.items() if token is not None})
    policed = verifier(**HS256, **ES256, DT_SIGNATURE_POLICY=policy)
    if verdict in REASONS:
        assert reason(policed, request) == verdict
    else:
        assert accepts(policed, request) == verdict


def test_scheme_that_is_not_configured_is_ignored() -> None:
    assert accepts(verifier(), both(GOOD, BAD_ES)) == "hs256:0"
    assert accepts(verifier(**ES256), both(BAD, GOOD_ES)) == "es256:cp65gdon1e4bhb5icbmg"
    assert reason(verifier(), es(GOOD_ES)) == "missing"


def test_unsigned_policy() -> None:
    unsigned = verifier(DT_SIGNATURE_POLICY="unsigned")
    assert accepts(unsigned, delivery(BODY, {})) == "nobody"


def test_expired_for_is_the_longer_of_both_tokens() -> None:
    policed = verifier(**HS256, **ES256, DT_SIGNATURE_POLICY="both", DT_ACCEPT_EXPIRED_FOR="3600")
    now = int(time.time())
    request = both(hs256(BODY, exp=now - 100), es256(BODY, exp=now - 200))
    assert verified(policed, request, now).expired_for == 200


def test_repr_has_no_secret_and_no_body() -> None:
    shown = repr(verifier()) + repr(delivery()) + repr(verified(verifier(), delivery(), time.time()))
    assert SECRET not in shown
    assert "eyJ" not in shown
    assert "emucdd" not in shown


def test_only_the_verifier_makes_verified_bytes() -> None:
    """And `core.event.parse_stored`, for stored bodies, which were verified before."""
    makers = set()
    root = Path(__file__).parents[2]
    for folder in ("core", "server", "local", "heroku", "cli"):
        for path in (root / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Verified":
                    makers.add(path.relative_to(root).as_posix())
    assert makers == {"core/verify/signature.py", "core/event.py"}


def test_jwk_without_alg_or_use_is_accepted() -> None:
    plain = json.dumps(jwks(alg=None, use=None))
    assert accepts(verifier(DT_ORGANIZATION_ID=ORGANIZATION, DT_JWKS=plain), es(es256(BODY)))
