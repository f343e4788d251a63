"""Calls to Google by the real google-auth: requests and connections. Faults are in faults.py."""

import time

import pytest

from core.environment import Environment
from gcp_functions.service import connect
from gcp_functions.wiring import build_store
from tests.gcp_functions.google_calls import publish
from tests.support.events import event, soon
from tests.support.loopback import in_turn, loopback, success
from tests.support.proxy import Mode, Proxy


def test_request_without_a_document_has_no_body() -> None:
    with loopback(in_turn(success(name="n"))) as server:
        assert connect("", server.host).call("GET", "/v1/x", time.monotonic() + 8) == {"name": "n"}
        [call] = server.calls
    assert (call.method, call.path, call.parameters) == ("GET", "/v1/x", None)
    assert "authorization" not in call.headers


def test_names_of_the_settings_are_percent_encoded_in_paths() -> None:
    with loopback(in_turn(success(messageIds=["1"]))) as server:
        names = {"DT_TOPIC": "projects/example.com:p/topics/a b%\u00e5", "DT_SEEN_KEYS": "none"}
        build_store(Environment({**names, "PUBSUB_EMULATOR_HOST": server.host})).put(event(), soon())
        [call] = server.calls
    assert call.path == "/v1/projects/example.com:p/topics/a%20b%25%C3%A5:publish"


def test_reconnect_after_an_idle_close_costs_no_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after some idle minutes."""
    monkeypatch.setattr("core.service.attempts.ATTEMPTS", 1)
    with loopback(in_turn(success(name="n"))) as server:
        proxy = Proxy(server.server_port)
        try:
            service = connect("", f"127.0.0.1:{proxy.port}")
            for _ in range(3):
                assert publish(service) == {"name": "n"}
                proxy.set(Mode.REFUSE)
                proxy.set(Mode.PASS)
            assert len(server.calls) == 3
        finally:
            proxy.close()
