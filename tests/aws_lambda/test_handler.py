"""The function as Lambda runs it: AWS's runtime client in a subprocess, moto in AWS's place."""

import copy
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.aws import EVENTS_KEYS, SEEN_KEYS, create_queue, create_table, items, messages
from tests.support.deliveries import SECRET, fresh_body, hs256, signed
from tests.support.front_doors import AWS_FRONT_DOORS
from tests.support.moto import MotoServer, moto_server
from tests.support.processes import ROOT, Answer
from tests.support.proxy import Mode, Proxy
from tests.support.sandbox import IMPATIENT, Sandbox, sandbox

FUNCTION_URL = AWS_FRONT_DOORS["Function URL"]
OTHER = "another signature secret, 43 bytes in length"
FORGED = "a forger's secret, as long as it should be"


def post(receiving: Sandbox, content: bytes | None = None, secret: str = SECRET) -> Answer:
    content = fresh_body() if content is None else content
    headers = {"Content-Type": "application/json", "X-Dt-Signature": hs256(content, secret)}
    return receiving.request("POST", "/", headers, content)


def outcome(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.headers.get("event-outcome")


STORED, DUPLICATE = (200, "stored"), (200, "duplicate")


@pytest.fixture
def table(moto: MotoServer) -> str:
    return create_table(moto.client("dynamodb"), EVENTS_KEYS)


# Settings.


WRONG: dict[str, tuple[dict[str, str | None], str]] = {
    "no table": ({"DT_TABLE": None}, "DT_TABLE"),
    "empty table": ({"DT_TABLE": ""}, "DT_TABLE"),
    "no address of AWS": ({"AWS_ENDPOINT_URL": "nonsense"}, "ValueError"),
    "no queue": ({"DT_STORE": "sqs", "DT_SEEN_TABLE": "t"}, "DT_QUEUE_URL"),
    "no table of keys": ({"DT_STORE": "sqs", "DT_QUEUE_URL": "http://127.0.0.1/q"}, "DT_SEEN_TABLE"),
    "another store": ({"DT_STORE": "s3"}, "DT_STORE"),
    "days before it came": ({"DT_KEEP_DAYS": "-1"}, "DT_KEEP_DAYS"),
    "days without end": ({"DT_KEEP_DAYS": "10000"}, "DT_KEEP_DAYS"),
    "days in words": ({"DT_KEEP_DAYS": "two"}, "DT_KEEP_DAYS"),
    "a fraction of days": ({"DT_KEEP_DAYS": "2.5"}, "DT_KEEP_DAYS"),
    "no secret": ({"DT_SIGNATURE_SECRET": None}, "DT_SIGNATURE_SECRET"),
    "two places for the secret": ({"DT_SIGNATURE_SECRET_ID": "x"}, "DT_SIGNATURE_SECRET"),
    "another policy": ({"DT_SIGNATURE_POLICY": "none"}, "DT_SIGNATURE_POLICY"),
}


@pytest.mark.parametrize(("changes", "variable"), WRONG.values(), ids=WRONG.keys())
def test_invalid_settings_are_reported_at_each_delivery(
    changes: dict[str, str | None], variable: str, moto: MotoServer, tmp_path: Path
) -> None:
    """An exception at the start would be a 502 without a reason, and a new sandbox for each request."""
    environ = {"DT_SIGNATURE_SECRET": SECRET, "DT_TABLE": "t", **changes}
    given_ = {name: value for name, value in environ.items() if value is not None}
    with sandbox({**moto.environment, **given_}, tmp_path, FUNCTION_URL) as receiving:
        for count in (1, 2):
            answer = post(receiving)
            assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
            assert variable.encode() not in answer.body
            lines = receiving.wait_for_lines(count)
            assert len(lines) == count
            assert (lines[-1]["severity"], lines[-1]["outcome"]) == ("ERROR", "failed")
            assert re.search(rf"\b{variable}\b", lines[-1]["reason"])
            assert lines[-1]["message"].endswith(".")
        assert receiving.request("GET", "/healthz").status == 200
        assert receiving.request("GET", "/").status == 405
        assert SECRET not in receiving.output()


@pytest.mark.parametrize("days", ["0", "1", "9999", ""])
def test_keep_days_sets_the_expiry_of_events(days: str, moto: MotoServer, table: str, tmp_path: Path) -> None:
    environ = {"DT_SIGNATURE_SECRET": SECRET, "DT_TABLE": table, "DT_KEEP_DAYS": days}
    with sandbox({**moto.environment, **environ}, tmp_path, FUNCTION_URL) as receiving:
        assert outcome(post(receiving)) == STORED
    [item] = items(moto.client("dynamodb"), table)
    if days == "0":
        assert "expiresAt" not in item
    else:
        assert abs(int(item["expiresAt"]) - time.time() - int(days or "365") * 86_400) < 60


def test_keep_days_sets_the_expiry_of_seen_keys(moto: MotoServer, tmp_path: Path) -> None:
    dynamodb, sqs = moto.client("dynamodb"), moto.client("sqs")
    seen, queue = create_table(dynamodb, SEEN_KEYS), create_queue(sqs)
    environ = {"DT_SIGNATURE_SECRET": SECRET, "DT_STORE": "sqs", "DT_QUEUE_URL": queue, "DT_SEEN_TABLE": seen}
    content = fresh_body()
    with sandbox({**moto.environment, **environ, "DT_KEEP_DAYS": "3"}, tmp_path, FUNCTION_URL) as receiving:
        assert [outcome(post(receiving, content)) for _ in range(2)] == [STORED, DUPLICATE]
    assert [message["body"] for message in messages(sqs, queue)] == [content]
    [item] = items(dynamodb, seen)
    assert abs(int(item["expiresAt"]) - time.time() - 3 * 86_400) < 60


# The secret in Secrets Manager.


COOLDOWN = 0.6


@pytest.fixture
def secrets(moto: MotoServer) -> Any:
    return moto.client("secretsmanager")


@pytest.fixture
def secret_id(secrets: Any) -> str:
    arn: str = secrets.create_secret(Name=f"s{os.urandom(8).hex()}", SecretString=SECRET)["ARN"]
    return arn


@pytest.fixture
def proxy(moto: MotoServer) -> Iterator[Proxy]:
    proxy = Proxy(moto.port)
    yield proxy
    proxy.close()


@pytest.fixture
def managed(
    moto: MotoServer, proxy: Proxy, table: str, secret_id: str, tmp_path: Path
) -> Callable[..., dict[str, str]]:
    """Return the environment of a function whose secret is in Secrets Manager, behind the proxy."""

    def environ(max_age: float = 300) -> dict[str, str]:
        (tmp_path / "sitecustomize.py").write_text(IMPATIENT.format(max_age=max_age))
        return {
            **moto.environment,
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"http://127.0.0.1:{proxy.port}",
            "DT_SIGNATURE_SECRET_ID": secret_id,
            "DT_TABLE": table,
            "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))),
        }

    return environ


def is_silent_about_secrets(receiving: Sandbox) -> bool:
    return not any(hidden in receiving.output() for hidden in (SECRET, OTHER, FORGED, "eyJ", "samples"))


def test_secret_rotation_without_a_refusal(
    managed: Any, secrets: Any, secret_id: str, moto: MotoServer, table: str, tmp_path: Path
) -> None:
    with sandbox(managed(), tmp_path, FUNCTION_URL) as receiving:
        assert outcome(post(receiving)) == STORED
        secrets.put_secret_value(SecretId=secret_id, SecretString=json.dumps([OTHER, SECRET]))
        time.sleep(COOLDOWN)
        assert outcome(post(receiving, secret=SECRET)) == STORED
        assert outcome(post(receiving, secret=OTHER)) == STORED
        assert outcome(post(receiving, secret=SECRET)) == STORED
        assert [line["signedBy"] for line in receiving.wait_for_lines(4)] == ["hs256:0"] * 3 + ["hs256:1"]
        secrets.put_secret_value(SecretId=secret_id, SecretString=OTHER)
        time.sleep(COOLDOWN)
        # A mismatch fetches the secret, so the old one stops working now and not after five minutes.
        assert post(receiving, secret=FORGED).status == 401
        assert post(receiving, secret=SECRET).status == 401
        assert outcome(post(receiving, secret=OTHER)) == STORED
        assert receiving.wait_for_lines(7)[-1]["signedBy"] == "hs256:0"
        assert is_silent_about_secrets(receiving)
    assert len(items(moto.client("dynamodb"), table)) == 5


@pytest.mark.parametrize("mode", [Mode.SILENT, Mode.REFUSE], ids=lambda mode: mode.value)
def test_unavailable_secret_is_503_until_it_can_be_fetched(
    mode: Mode, managed: Any, proxy: Proxy, moto: MotoServer, table: str, tmp_path: Path
) -> None:
    proxy.set(mode)
    content = fresh_body()
    with sandbox(managed(), tmp_path, FUNCTION_URL) as receiving:
        assert receiving.request("GET", "/healthz").status == 200
        started = time.monotonic()
        assert post(receiving, content).status == 503
        # 4 s for the secret.
        assert time.monotonic() - started < 8
        [line] = receiving.wait_for_lines(1)
        assert (line["severity"], line["outcome"]) == ("ERROR", "failed")
        assert line["reason"].startswith("secret_unavailable: ")
        assert "DT_SIGNATURE_SECRET_ID" in line["reason"]
        assert items(moto.client("dynamodb"), table) == []
        proxy.set(Mode.REFUSE)  # close the connections whose bytes were dropped
        proxy.set(Mode.PASS)
        assert outcome(post(receiving, content)) == STORED
        assert is_silent_about_secrets(receiving)
    assert [item["body"] for item in items(moto.client("dynamodb"), table)] == [content]


def test_cached_secret_is_used_while_secrets_manager_is_down(
    managed: Any, proxy: Proxy, secrets: Any, secret_id: str, tmp_path: Path
) -> None:
    with sandbox(managed(max_age=0.2), tmp_path, FUNCTION_URL) as receiving:
        assert outcome(post(receiving)) == STORED
        proxy.set(Mode.REFUSE)
        time.sleep(COOLDOWN)
        assert [outcome(post(receiving)) for _ in range(3)] == [STORED] * 3
        assert post(receiving, secret=FORGED).status == 401
        assert outcome(post(receiving)) == STORED
        # And it is asked again.
        secrets.put_secret_value(SecretId=secret_id, SecretString=OTHER)
        proxy.set(Mode.PASS)
        time.sleep(COOLDOWN)
        assert outcome(post(receiving, secret=OTHER)) == STORED
        assert post(receiving, secret=SECRET).status == 401
        assert is_silent_about_secrets(receiving)


def test_changed_secret_that_cannot_be_used_is_an_error_and_the_old_one_stays(
    managed: Any, secrets: Any, secret_id: str, tmp_path: Path
) -> None:
    with sandbox(managed(), tmp_path, FUNCTION_URL) as receiving:
        assert outcome(post(receiving)) == STORED
        secrets.put_secret_value(SecretId=secret_id, SecretString=f"{OTHER}\n")
        time.sleep(COOLDOWN)
        assert post(receiving, secret=OTHER).status == 401
        assert outcome(post(receiving)) == STORED
        [error] = [line for line in receiving.wait_for_lines(4) if line["severity"] == "ERROR"]
        assert "is not used: it has a line end (number 0)" in error["message"]
        assert is_silent_about_secrets(receiving)


UNUSABLE = {
    "binary": ({"SecretBinary": SECRET.encode()}, "it is empty"),
    "keys and values": ({"SecretString": json.dumps({"secret": SECRET})}, "it is a JSON object"),
    "white space": ({"SecretString": " \n"}, "it is empty"),
    "a line end": ({"SecretString": f"{SECRET}\n"}, "it has a line end"),
    "an array of nothing": ({"SecretString": "[]"}, 'it begins with "[" but is not a JSON array'),
    "an array that does not end": ({"SecretString": f'["{SECRET}"'}, 'it begins with "[" but is not a JSON array'),
    "an array with a lone surrogate": ({"SecretString": json.dumps([SECRET + "\ud800"])}, "it is not UTF-8"),
}


@pytest.mark.parametrize(("value", "reason"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_unusable_secret_value_is_reported(
    value: dict[str, Any], reason: str, managed: Any, secrets: Any, secret_id: str, tmp_path: Path
) -> None:
    secrets.put_secret_value(SecretId=secret_id, **value)
    with sandbox(managed(), tmp_path, FUNCTION_URL) as receiving:
        assert post(receiving).status == 503
        [line] = receiving.wait_for_lines(1)
        assert line["severity"] == "ERROR"
        assert line["reason"].startswith(f"secret_unavailable: {reason}")
        assert line["reason"].endswith("?")
        secrets.put_secret_value(SecretId=secret_id, SecretString=SECRET)
        assert outcome(post(receiving)) == STORED
        assert is_silent_about_secrets(receiving)


def test_missing_secret_is_reported(managed: Any, tmp_path: Path) -> None:
    with sandbox({**managed(), "DT_SIGNATURE_SECRET_ID": "absent"}, tmp_path, FUNCTION_URL) as receiving:
        assert post(receiving).status == 503
        [line] = receiving.wait_for_lines(1)
        assert line["reason"].startswith("secret_unavailable: ResourceNotFoundException. ")


# Whatever comes.


# Prints the process's internal state on a signal.
INTROSPECTIVE = """
import gc, signal

signal.signal(signal.SIGUSR1, lambda *_: print("collector", gc.isenabled(), gc.get_freeze_count() > 10_000, flush=True))
"""


@pytest.fixture(scope="module")
def ready(moto: MotoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A function with valid settings, for the tests that can share one."""
    folder = tmp_path_factory.mktemp("function")
    (folder / "sitecustomize.py").write_text(INTROSPECTIVE)
    environ = {
        "DT_SIGNATURE_SECRET": SECRET,
        "DT_TABLE": create_table(moto.client("dynamodb"), EVENTS_KEYS),
        "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT))),
    }
    with sandbox({**moto.environment, **environ}, folder, FUNCTION_URL) as receiving:
        yield receiving


TEXT = st.text(st.characters(), max_size=20)
SCALAR = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
JSON = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
MEMBERS = ["version", "rawPath", "headers", "multiValueHeaders", "requestContext", "body", "isBase64Encoded", "path"]


@given(event=JSON)
@settings(max_examples=50)
def test_any_invocation_event_has_a_result(ready: Sandbox, event: Any) -> None:
    """An error is a 502. Behind a Function URL a result without a status is a 200."""
    assert ready.invoke(event)["statusCode"] == 405


@given(name=st.sampled_from([*AWS_FRONT_DOORS]), changes=st.dictionaries(st.sampled_from(MEMBERS), JSON, min_size=1))
@settings(max_examples=50)
def test_any_value_of_an_event_member_has_a_result(ready: Sandbox, name: str, changes: dict[str, Any]) -> None:
    content = fresh_body()
    event = AWS_FRONT_DOORS[name].event("POST", "/", list(signed(content).items()), content)
    result = ready.invoke(copy.deepcopy(event) | changes)
    assert result["statusCode"] in (200, 401, 405)
    assert type(result["body"]) is str


def memory(pid: int) -> int:
    """Return what a process has in memory, in KiB."""
    found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc: memory is looked up where Linux shows it")
@pytest.mark.long
def test_no_memory_leak_in_a_thousand_deliveries(ready: Sandbox) -> None:
    pid = ready.process.pid
    for _ in range(100):
        post(ready)
    before = memory(pid)
    for count in range(1000):
        assert post(ready, secret=SECRET if count % 2 else FORGED).status == (200 if count % 2 else 401)
    assert memory(pid) - before < 2048


def test_garbage_collector_is_enabled_after_the_imports(ready: Sandbox) -> None:
    """It is disabled during the imports, and their objects are frozen afterwards."""
    post(ready)
    ready.process.send_signal(signal.SIGUSR1)
    post(ready)
    assert "collector True True" in ready.output().splitlines()


# AWS away.


def test_sandbox_recovers_after_an_aws_outage(tmp_path: Path) -> None:
    with moto_server() as server:
        create_table(server.client("dynamodb"), EVENTS_KEYS, "events")
        environ = {**server.environment, "DT_SIGNATURE_SECRET": SECRET, "DT_TABLE": "events"}
        with sandbox(environ, tmp_path, FUNCTION_URL) as receiving:
            assert outcome(post(receiving)) == STORED
            server.kill()
            content = fresh_body()
            started = time.monotonic()
            assert post(receiving, content).status == 503
            assert time.monotonic() - started < 8
            assert receiving.wait_for_lines(2)[-1]["reason"] == "EndpointConnectionError"
            server.restart()
            assert post(receiving, content).status == 503
            assert receiving.wait_for_lines(3)[-1]["reason"] == "ResourceNotFoundException"
            create_table(server.client("dynamodb"), EVENTS_KEYS, "events")
            assert [outcome(post(receiving, content)) for _ in range(2)] == [STORED, DUPLICATE]
            assert [item["body"] for item in items(server.client("dynamodb"), "events")] == [content]
