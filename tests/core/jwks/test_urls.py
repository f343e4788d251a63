"""Where keys may come from, and that they verify what their issuer signs."""

import json
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from core.settings import Settings
from core.verify.jwks import PublishedKeys
from core.verify.keys import KeysNeeded, KeysUnavailableError
from core.verify.signature import SignatureError
from tests.core.jwks.issuer import DISCOVERY, Clock, Issuer
from tests.support.certificates import serving
from tests.support.deliveries import ORGANIZATION, body, delivery, verified
from tests.support.es256 import KID, es256, jwks


@pytest.fixture
def contacted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts of refused connection attempts."""
    hosts: list[str] = []

    def unreachable(host: Any, *_: Any, **__: Any) -> Any:
        hosts.append(host)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket, "gethostbyname", unreachable)
    return hosts


@pytest.mark.parametrize(
    ("issuer", "hosts"),
    [
        ("https://identity.example.com", ["identity.example.com"]),
        ("http://127.0.0.1", ["127.0.0.1"]),
        ("http://localhost:8080", ["localhost"]),
        ("http://[::1]", ["::1"]),
        ("http://192.0.2.1", []),
        ("HTTP://192.0.2.1:80", []),
        ("http://identity.example.com", []),
        ("http://127.0.0.1.example.com", []),
        ("http://localhost.example.com", []),
        ("http://127.0.0.1@example.com", []),
        ("http://example.com#127.0.0.1", []),
        ("http://0.0.0.0", []),
        ("http://127.0.0.2", []),
        ("ftp://127.0.0.1", []),
        ("http://", []),
        ("//127.0.0.1", []),
        ("", []),
    ],
)
def test_http_is_allowed_for_loopback_only(issuer: str, hosts: list[str], clock: Clock, contacted: list[str]) -> None:
    keys = PublishedKeys(issuer, clock)
    keys.refresh()
    assert contacted == hosts
    with pytest.raises(KeysUnavailableError):
        keys.get(KID)


def test_keys_are_never_read_from_a_file(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / ".well-known").mkdir()
    (tmp_path / "keys").write_text(json.dumps(jwks()))
    (tmp_path / DISCOVERY[1:]).write_text(json.dumps({"jwks_uri": (tmp_path / "keys").as_uri()}))
    keys = PublishedKeys(tmp_path.as_uri(), clock)
    keys.refresh()
    with pytest.raises(KeysUnavailableError):
        keys.get(KID)


def test_https_is_used_and_its_certificate_verified(issuer: Issuer, clock: Clock, tmp_path: Path) -> None:
    """The certificate is for the right address, but self-signed."""
    _, context = serving(tmp_path)
    handshakes = []

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except ssl.SSLError as error:
                    handshakes.append(error.reason)

        thread = threading.Thread(target=serve)
        thread.start()
        keys = PublishedKeys(f"https://127.0.0.1:{listener.getsockname()[1]}", clock)
        keys.refresh()
        thread.join()
    assert handshakes == ["TLSV1_ALERT_UNKNOWN_CA"]
    with pytest.raises(KeysUnavailableError):
        keys.get(KID)


def test_fetched_key_verifies_its_issuers_tokens(issuer: Issuer) -> None:
    environ = {"DT_ORGANIZATION_ID": ORGANIZATION, "DT_ISSUER": issuer.url}
    verifier = Settings.load(environ).verifier
    request = delivery(body(), {"DT-Asymmetric-Signature": es256(body(), iss=issuer.url)})
    needed = verifier.verify(request, time.time())
    assert isinstance(needed, KeysNeeded)
    needed.source.refresh()
    assert verified(verifier, request, time.time()).signed_by == f"es256:{KID}"
    other = ec.generate_private_key(ec.SECP256R1())
    forged = delivery(body(), {"DT-Asymmetric-Signature": es256(body(), other, iss=issuer.url)})
    with pytest.raises(SignatureError):
        verified(verifier, forged, time.time())
