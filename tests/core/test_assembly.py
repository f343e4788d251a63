"""A receiver built from an environment, for threads and for an event loop."""

import io
import json
import time
from typing import Any

import pytest

from core.assembly import build, build_async
from core.environment import Environment
from core.http import Request
from core.log import Log
from core.receiver import UnconfiguredReceiver
from core.verify.secrets import ManagedSecrets
from tests.core.test_receiver import HS256, Built, answer
from tests.support.deliveries import SECRET, delivery
from tests.support.memory import AsyncMemory, Memory


def build_either(kind: str, environ: dict[str, str], stream: io.StringIO, *variables: str) -> Built:
    """Build a receiver whose store needs ``variables``."""

    def store(environment: Environment) -> Any:
        for name in variables:
            environment.required(name, "for the store")
        return Memory() if kind == "sync" else AsyncMemory(Memory())

    return (build if kind == "sync" else build_async)(environ, store, Log(stream))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_unconfigured_receiver_answers_503_and_names_every_fault(kind: str) -> None:
    stream = io.StringIO()
    receiver = build_either(kind, {"DT_LEEWAY": "x"}, stream, "DT_TABLE", "DT_QUEUE")
    assert isinstance(receiver, UnconfiguredReceiver)
    assert answer(receiver, delivery()).status == 503
    line = json.loads(stream.getvalue())
    assert line["severity"] == "ERROR"
    for name in ("DT_SIGNATURE_SECRET", "DT_LEEWAY", "DT_TABLE", "DT_QUEUE"):
        assert name in line["reason"]
    assert answer(receiver, Request("GET", "/healthz", [], b"")).status == 200
    assert answer(receiver, Request("GET", "/", [], b""), time.monotonic()).status == 405


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_configured_receiver_is_built(kind: str) -> None:
    receiver = build_either(kind, {**HS256, "DT_TABLE": "t"}, io.StringIO(), "DT_TABLE")
    assert answer(receiver, delivery()).status == 200


def test_managed_secrets_replace_the_secret() -> None:
    secrets = ManagedSecrets(lambda: SECRET, "hint")
    receiver = build({}, lambda _: Memory(), Log(io.StringIO()), lambda _: secrets)
    assert answer(receiver, delivery()).status == 200


def test_misspelt_setting_of_a_store_is_logged_at_start() -> None:
    def build_store(environment: Environment) -> Memory:
        environment.get("DT_TABLE")
        return Memory()

    stream = io.StringIO()
    build({"DT_SIGNATURE_SECRET": SECRET, "DT_TABEL": "x"}, build_store, Log(stream))
    [line] = map(json.loads, stream.getvalue().splitlines())
    assert (line["severity"], line["message"]) == ("WARNING", "DT_TABEL is not a setting. Do you mean DT_TABLE?")
