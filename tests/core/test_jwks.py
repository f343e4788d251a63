"""Fetching DT's keys from a real server on this machine: valid, broken, slow and hostile."""

import gzip
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt import PyJWK

import core.verify.jwks
from core.receiver import DEADLINE
from core.settings import Settings
from core.verify.jwks import COOLDOWN, MAX_AGE, PublishedKeys
from core.verify.keys import KeysNeeded, KeysUnavailableError
from core.verify.signature import SignatureError
from tests.support.certificates import serving
from tests.support.deliveries import ORGANIZATION, body, delivery, verified
from tests.support.es256 import KID, es256, jwks
from tests.support.ports import free_port

DISCOVERY, KEYS = "/.well-known/openid-configuration", "/keys"
LIMIT = 65_536

Handler = http.server.BaseHTTPRequestHandler
Answer = Callable[[Handler], None]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Issuer:
    """A server on 127.0.0.1 that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Answer] = {}
        issuer = self

        class Asked(Handler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                try:
                    issuer.answers.get(self.path, status(404))(self)
                except OSError:
                    pass  # the client has had enough

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asked)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.answers[DISCOVERY] = document({"jwks_uri": self.url + KEYS})
        self.answers[KEYS] = document(jwks())


def status(code: int, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return answer


def content(data: bytes, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        status(200, **headers)(handler)
        handler.wfile.write(data)

    return answer


def document(value: object) -> Answer:
    return content(json.dumps(value).encode())


def raw(data: bytes) -> Answer:
    """Answer with bytes that need not be HTTP."""
    return lambda handler: (handler.wfile.write(data), None)[1]


def dripping(head: bytes, drop: bytes) -> Answer:
    """Answer with ``head`` and then a byte every 20 ms, for 1.5 s."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(head)
        for _ in range(75):
            handler.wfile.write(drop)
            time.sleep(0.02)

    return answer


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _only_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow connections to this machine only."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def local_connect(self: socket.socket, address: Any) -> None:
        assert address[0] in ("127.0.0.1", "::1"), address
        connect(self, address)

    def local_look_up(host: Any, *args: Any, **options: Any) -> Any:
        assert host in ("127.0.0.1", "localhost"), host
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket.socket, "connect", local_connect)
    monkeypatch.setattr(socket, "getaddrinfo", local_look_up)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(issuer: Issuer, clock: Clock) -> PublishedKeys:
    return PublishedKeys(issuer.url, clock)


def is_needed(keys: PublishedKeys, kid: str = KID) -> bool:
    return isinstance(keys.get(kid), KeysNeeded)


# When


def test_keys_are_fetched_on_first_use_and_cached(keys: PublishedKeys, issuer: Issuer, clock: Clock) -> None:
    assert is_needed(keys)
    assert issuer.asked == []
    keys.refresh()
    for _ in range(3):
        key = keys.get(KID)
        assert isinstance(key, PyJWK)
        assert key.key_id == KID
        clock.now += MAX_AGE / 3 - 0.1
    assert issuer.asked == [DISCOVERY, KEYS]


def test_unknown_kid_costs_one_fetch_per_cooldown(keys: PublishedKeys, issuer: Issuer, clock: Clock) -> None:
    keys.refresh()
    for fetches in (1, 2, 3):
        for forged in range(20):
            assert keys.get(f"forged-{forged}") is None
            keys.refresh()
        clock.now += COOLDOWN - 0.1
        assert not is_needed(keys, "forged")
        keys.refresh()
        assert len(issuer.asked) == 2 * fetches
        clock.now += 0.1
        assert is_needed(keys, "forged")
        assert not is_needed(keys)
        keys.refresh()


def test_key_rotation_added_key_is_found(keys: PublishedKeys, issuer: Issuer, clock: Clock) -> None:
    keys.refresh()
    issuer.answers[KEYS] = document({"keys": jwks()["keys"] + jwks(kid="new")["keys"]})
    clock.now += COOLDOWN
    assert is_needed(keys, "new")
    keys.refresh()
    assert keys.get("new")
    assert keys.get(KID)


def test_key_rotation_removed_key_stops_working(keys: PublishedKeys, issuer: Issuer, clock: Clock) -> None:
    keys.refresh()
    issuer.answers[KEYS] = document(jwks(kid="new"))
    clock.now += MAX_AGE - 0.1
    assert keys.get(KID)
    clock.now += 0.1
    assert is_needed(keys)
    keys.refresh()
    assert keys.get(KID) is None
    assert keys.get("new")


def test_fetch_does_not_block_other_requests(keys: PublishedKeys, issuer: Issuer, clock: Clock) -> None:
    """While one request fetches for a forged kid, others use the cached keys."""
    keys.refresh()
    asked, answered = threading.Event(), threading.Event()

    def slow(_: Handler) -> None:
        asked.set()
        answered.wait(5)

    issuer.answers[DISCOVERY] = slow
    clock.now += COOLDOWN
    thread = threading.Thread(target=keys.refresh)
    thread.start()
    assert asked.wait(5)
    assert keys.get(KID)
    answered.set()
    thread.join()
    assert keys.get(KID)


def test_concurrent_requests_share_one_fetch(keys: PublishedKeys, issuer: Issuer) -> None:
    barrier = threading.Barrier(8)
    found = []

    def late(handler: Handler) -> None:
        time.sleep(0.05)
        document(jwks())(handler)

    def request() -> None:
        barrier.wait()
        keys.refresh()
        found.append(keys.get(KID))

    issuer.answers[KEYS] = late
    threads = [threading.Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(found)
    assert issuer.asked == [DISCOVERY, KEYS]


# Failing


NESTED = b"[" * LIMIT
PACKED = gzip.compress(json.dumps(jwks()).encode())
URIS: list[Any] = [
    *(None, "", "/keys", "keys", [], {}, 5, True, ["https://127.0.0.1"], "https://", "http://[::1", "\ud800"),
    *("http://192.0.2.1/keys", "file:///etc/hostname", "data:application/json,{}", "ftp://127.0.0.1/keys"),
    *("https://127.0.0.1:port/", "https://127.0.0.1:99999/", "https://127.0.0.1/a b", "https://\x00/"),
    f"http://127.0.0.1:{free_port()}/",
]
FAILURES: dict[str, dict[str, Answer]] = {
    "discovery 404": {DISCOVERY: status(404)},
    "discovery 500": {DISCOVERY: status(500)},
    "keys 503": {KEYS: status(503)},
    "discovery empty": {DISCOVERY: status(204)},
    "discovery HTML": {DISCOVERY: content(b"<html>")},
    "keys not UTF-8": {KEYS: content(b'{"keys":"\xff"}')},
    "keys cut": {KEYS: content(json.dumps(jwks()).encode()[:-1])},
    "keys cut, length told": {KEYS: raw(b'HTTP/1.0 200 OK\r\nContent-Length: 9000\r\n\r\n{"keys":[')},
    "no HTTP": {DISCOVERY: raw(b"SSH-2.0-OpenSSH\r\n")},
    "no answer": {DISCOVERY: raw(b"")},
    "endless status": {DISCOVERY: raw(b"HTTP/1.0 200 " + b"x" * 100_000)},
    "too many headers": {DISCOVERY: raw(b"HTTP/1.0 200 OK\r\n" + b"a: b\r\n" * 1_000 + b"\r\n")},
    "discovery a list": {DISCOVERY: document([])},
    "discovery a text": {DISCOVERY: document("jwks_uri")},
    "discovery null": {DISCOVERY: document(None)},
    "discovery without jwks_uri": {DISCOVERY: document({"issuer": "x"})},
    **{f"jwks_uri {number}": {DISCOVERY: document({"jwks_uri": uri})} for number, uri in enumerate(URIS)},
    "discovery nested": {DISCOVERY: content(NESTED)},
    "keys nested": {KEYS: content(NESTED)},
    "keys a list": {KEYS: document([])},
    "keys null": {KEYS: document(None)},
    "keys a number": {KEYS: document(5)},
    "no keys": {KEYS: document({"keys": []})},
    "keys of no use": {KEYS: document(jwks(use="enc"))},
    "discovery too large": {DISCOVERY: content(b'{"jwks_uri":""}' + b" " * LIMIT)},
    "keys too large": {KEYS: content(json.dumps(jwks()).encode().ljust(LIMIT + 1))},
    "keys redirected to another host": {KEYS: status(302, Location="https://localhost/elsewhere")},
    "keys redirected to http": {KEYS: status(302, Location="http://192.0.2.1/elsewhere")},
    "keys redirected to a file": {KEYS: status(302, Location="file:///etc/hostname")},
    "keys redirected to nowhere": {KEYS: status(302)},
    "discovery redirected to another host": {DISCOVERY: status(301, Location="//localhost/elsewhere")},
    "keys said to be gzip": {KEYS: content(json.dumps(jwks()).encode(), Content_Encoding="gzip")},
    "keys packed and cut": {KEYS: content(PACKED[:-9], Content_Encoding="gzip")},
    "keys of 64 MB when unpacked": {KEYS: content(gzip.compress(bytes(1 << 26)), Content_Encoding="gzip")},
    "keys of 65537 bytes when unpacked": {
        KEYS: content(gzip.compress(json.dumps(jwks()).encode().ljust(LIMIT + 1)), Content_Encoding="gzip")
    },
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_cached_keys_are_used_when_a_fetch_fails(
    failure: dict[str, Answer], keys: PublishedKeys, issuer: Issuer, clock: Clock
) -> None:
    issuer.answers["/elsewhere"] = document(jwks())
    keys.refresh()
    issuer.answers |= failure
    clock.now += MAX_AGE
    assert is_needed(keys)
    keys.refresh()
    assert keys.get(KID)
    assert keys.get("unknown") is None
    # Not asked again at once ...
    assert len(issuer.asked) in (3, 4)
    clock.now += COOLDOWN - 0.1
    keys.refresh()
    assert len(issuer.asked) in (3, 4)
    assert not is_needed(keys)
    # ... but after a while, and until it succeeds.
    clock.now += 0.1
    assert is_needed(keys)
    issuer.answers |= {DISCOVERY: document({"jwks_uri": issuer.url + KEYS}), KEYS: document(jwks(kid="new"))}
    keys.refresh()
    assert keys.get("new")
    assert "/elsewhere" not in issuer.asked


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_failed_first_fetch_raises_keys_unavailable(
    failure: dict[str, Answer], keys: PublishedKeys, issuer: Issuer, clock: Clock
) -> None:
    """A token that may be valid is neither accepted nor refused."""
    issuer.answers |= failure
    keys.refresh()
    with pytest.raises(KeysUnavailableError):
        keys.get(KID)
    clock.now += COOLDOWN
    assert is_needed(keys)


def test_unreachable_issuer(clock: Clock) -> None:
    keys = PublishedKeys(f"http://127.0.0.1:{free_port()}", clock)
    keys.refresh()
    with pytest.raises(KeysUnavailableError):
        keys.get(KID)


def test_two_key_fetches_leave_half_the_deadline_to_the_store() -> None:
    assert 2 * core.verify.jwks.TIMEOUT <= DEADLINE / 2


def test_key_set_size_limit_is_64_kib(keys: PublishedKeys, issuer: Issuer) -> None:
    issuer.answers[DISCOVERY] = content(json.dumps({"jwks_uri": issuer.url + KEYS}).encode().ljust(LIMIT))
    issuer.answers[KEYS] = content(json.dumps(jwks()).encode().ljust(LIMIT))
    keys.refresh()
    assert keys.get(KID)


def test_user_agent_header_is_not_pythons_default(keys: PublishedKeys, issuer: Issuer) -> None:
    """Many hosts refuse Python's default."""
    agents = []

    def wary(handler: Handler) -> None:
        agents.append(handler.headers["User-Agent"])
        (status(403) if "ython" in agents[-1] else document(jwks()))(handler)

    issuer.answers[KEYS] = wary
    keys.refresh()
    assert keys.get(KID)
    assert agents == ["data-connector-receiver"]


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_unrequested_gzip_is_decompressed(encoding: str, keys: PublishedKeys, issuer: Issuer) -> None:
    issuer.answers[KEYS] = content(PACKED, Content_Encoding=encoding)
    keys.refresh()
    assert keys.get(KID)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_to_the_same_host_is_followed(code: int, keys: PublishedKeys, issuer: Issuer) -> None:
    issuer.answers |= {KEYS: status(code, Location="/1"), "/1": status(code, Location=f"{issuer.url}/2")}
    issuer.answers |= {"/2": status(code, Location="3"), "/3": document(jwks())}
    keys.refresh()
    assert keys.get(KID)
    assert issuer.asked == [DISCOVERY, KEYS, "/1", "/2", "/3"]


def test_redirect_loop_ends(keys: PublishedKeys, issuer: Issuer) -> None:
    issuer.answers[KEYS] = status(302, Location=KEYS)
    keys.refresh()
    with pytest.raises(KeysUnavailableError):
        keys.get(KID)
    assert issuer.asked == [DISCOVERY, *[KEYS] * 4]


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b""),
        (OK + b"\r\n", b" "),
        (OK + b"Content-Length: 9000\r\n\r\n", b" "),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (OK + b"A: ", b"b"),
        (b"HTTP/1.1 200 ", b"O"),
    ],
    ids=["nothing", "body", "body of a length", "chunks", "length of a chunk", "headers", "status"],
)
def test_slow_issuer_times_out(
    head: bytes, drop: bytes, keys: PublishedKeys, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of DT has time for two fetches of `TIMEOUT` each."""
    monkeypatch.setattr(core.verify.jwks, "TIMEOUT", 0.2)
    issuer.answers[KEYS] = dripping(head, drop)
    started = time.monotonic()
    keys.refresh()
    assert time.monotonic() - started < 1
    with pytest.raises(KeysUnavailableError):
        keys.get(KID)


def test_slow_dns_times_out(keys: PublishedKeys, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNS lookup may take 10 s or more, which no socket timeout covers."""
    monkeypatch.setattr(core.verify.jwks, "TIMEOUT", 0.2)
    look_up: Any = socket.getaddrinfo

    def slow_look_up(*args: Any, flags: int = 0, **options: Any) -> Any:
        if not flags & socket.AI_NUMERICHOST:
            time.sleep(1.5)
        return look_up(*args, flags=flags, **options)

    issuer.answers[DISCOVERY] = document({"jwks_uri": issuer.url.replace("127.0.0.1", "localhost") + KEYS})
    monkeypatch.setattr(socket, "getaddrinfo", slow_look_up)
    started = time.monotonic()
    keys.refresh()
    assert time.monotonic() - started < 1
    assert issuer.asked == [DISCOVERY]


# Where


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
