"""The tokens are DT's, to the byte of the header and the order of the claims."""

import base64
import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from core.http import Request
from core.settings import Settings
from core.verify.signature import ISSUER, SignatureError
from dt_cloud import CloudError
from dt_cloud.signing import Es256Key, Signer
from tests.support.deliveries import verified

SECRET = b"a signature secret of the tests, 40 bytes"
BODY = '{"name":"Kjølerom"}'.encode()
NOW = 1_769_860_800


def decoded(token: str) -> tuple[bytes, dict[str, Any]]:
    header, claims, _ = (base64.urlsafe_b64decode(part + "==") for part in token.split("."))
    return header, json.loads(claims)


def test_x_dt_signature() -> None:
    headers = Signer(secret=SECRET).headers(BODY, NOW + 0.9)
    assert list(headers) == ["X-Dt-Signature"]
    header, claims = decoded(headers["X-Dt-Signature"])
    assert header == b'{"alg":"HS256","typ":"JWT"}'
    assert list(claims) == ["checksum", "checksum_sha256", "exp", "iat", "jti"]
    assert claims["checksum"] == hashlib.sha1(BODY).hexdigest()
    assert claims["checksum_sha256"] == hashlib.sha256(BODY).hexdigest()
    assert (claims["iat"], claims["exp"]) == (NOW, NOW + 3600)
    assert re.fullmatch("[0-9a-v]{20}", claims["jti"])


def test_dt_asymmetric_signature(tmp_path: Path) -> None:
    key = Es256Key.load(tmp_path / "key.pem")
    headers = Signer(key=key, organization="cvinmt9aq9sc738g6eog").headers(BODY, NOW)
    assert list(headers) == ["DT-Asymmetric-Signature"]
    header, claims = decoded(headers["DT-Asymmetric-Signature"])
    assert header == f'{{"alg":"ES256","kid":"{key.kid}","typ":"JWT"}}'.encode()
    assert re.fullmatch("[0-9a-v]{19}[0g]", key.kid)
    assert claims == {
        "checksum_sha256": hashlib.sha256(BODY).hexdigest(),
        "exp": NOW + 300,
        "iat": NOW,
        "iss": ISSUER,
        "sub": "cvinmt9aq9sc738g6eog",
    }
    assert list(claims) == sorted(claims)


def test_the_core_verifies_both(tmp_path: Path) -> None:
    key = Es256Key.load(tmp_path / "key.pem")
    settings = Settings.load(
        {
            "DT_SIGNATURE_SECRET": SECRET.decode(),
            "DT_ORGANIZATION_ID": "ours",
            "DT_JWKS": json.dumps(key.jwks),
            "DT_SIGNATURE_POLICY": "both",
        }
    )

    def verify(signer: Signer) -> str:
        request = Request("POST", "/", list(signer.headers(BODY, NOW).items()), BODY)
        return verified(settings.verifier, request, NOW).signed_by

    assert verify(Signer(secret=SECRET, key=key, organization="ours")) == f"hs256:0+es256:{key.kid}"
    with pytest.raises(SignatureError, match="organization"):
        verify(Signer(secret=SECRET, key=key, organization="theirs"))
    with pytest.raises(SignatureError, match="expired"):
        verify(Signer(secret=SECRET, key=key, organization="ours", expired=True))


def test_expired_means_two_hours_ago(tmp_path: Path) -> None:
    signer = Signer(secret=SECRET, key=Es256Key.load(tmp_path / "key.pem"), expired=True)
    claims = [decoded(token)[1] for token in signer.headers(BODY, NOW).values()]
    assert [claim["exp"] for claim in claims] == [NOW - 7200, NOW - 7200]
    assert [claim["exp"] - claim["iat"] for claim in claims] == [3600, 300]


def test_a_short_secret_signs_without_a_warning() -> None:
    assert Signer(secret=b"test-secret").headers(BODY, NOW)


def test_no_secret_in_a_repr(tmp_path: Path) -> None:
    key = Es256Key.load(tmp_path / "key.pem")
    assert repr(Signer(secret=SECRET, key=key)) == f"Signer(organization='', issuer='{ISSUER}', expired=False)"


def test_key_is_created_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "key.pem"
    made = Es256Key.load(path)
    assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o600
    assert Es256Key.load(path).jwks == made.jwks
    assert Es256Key.load(tmp_path / "other.pem").kid != made.kid


@pytest.mark.parametrize("content", [b"", b"no PEM", "rsa", "p384", "encrypted"])
def test_another_key_is_refused(tmp_path: Path, content: bytes | str) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = ec.generate_private_key(ec.SECP256R1())
    if content == "rsa":
        private = rsa.generate_private_key(65537, 2048)
    elif content == "p384":
        private = ec.generate_private_key(ec.SECP384R1())
    elif content == "encrypted":
        encryption = serialization.BestAvailableEncryption(b"password")
    if isinstance(content, str):
        content = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(CloudError, match="not an unencrypted P-256 private key"):
        Es256Key.load(path)


def test_key_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CloudError, match="Move it away"):
        Es256Key.load(tmp_path / "file" / "key.pem")


def test_missing_cryptography_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(CloudError, match="pip install cryptography"):
        Es256Key.load(tmp_path / "key.pem")
