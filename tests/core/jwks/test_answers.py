"""Answers of the issuer's server: broken, slow and hostile."""

import gzip
import json
import socket
import time
from typing import Any

import pytest

import core.verify.jwks
from core.receiver import DEADLINE
from core.verify.jwks import COOLDOWN, MAX_AGE, PublishedKeys
from core.verify.keys import KeysUnavailableError
from tests.core.jwks.issuer import DISCOVERY, KEYS, Answer, Clock, Handler, Issuer, content, document, is_needed, status
from tests.support.es256 import KID, jwks
from tests.support.ports import free_port

LIMIT = 65_536


def raw(data: bytes) -> Answer:
    """Answer with bytes that need not be HTTP."""
    return lambda handler: (handler.wfile.write(data), None)[1]


def dripping(head: bytes, drop: bytes) -> Answer:
    """Answer with ``head`` and then a byte every 20 ms, for 5 s."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(head)
        for _ in range(250):
            handler.wfile.write(drop)
            time.sleep(0.02)

    return answer


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
    assert time.monotonic() - started < 4
    with pytest.raises(KeysUnavailableError):
        keys.get(KID)


def test_slow_dns_times_out(keys: PublishedKeys, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DNS lookup may take 10 s or more, which no socket timeout covers."""
    monkeypatch.setattr(core.verify.jwks, "TIMEOUT", 0.2)
    look_up: Any = socket.getaddrinfo

    def slow_look_up(*args: Any, flags: int = 0, **options: Any) -> Any:
        if not flags & socket.AI_NUMERICHOST:
            time.sleep(5)
        return look_up(*args, flags=flags, **options)

    issuer.answers[DISCOVERY] = document({"jwks_uri": issuer.url.replace("127.0.0.1", "localhost") + KEYS})
    monkeypatch.setattr(socket, "getaddrinfo", slow_look_up)
    started = time.monotonic()
    keys.refresh()
    assert time.monotonic() - started < 4
    assert issuer.asked == [DISCOVERY]
