"""The decision table through every adapter, by real requests to the real program."""

import json
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.contract.adapter import Adapter
from tests.contract.adapters import ADAPTERS, ONE_DOOR_EACH, SERVERS
from tests.support.deliveries import ORGANIZATION, SECRET, body, fresh_body, hs256, raw_token, signed
from tests.support.es256 import JWKS, es256
from tests.support.processes import ROOT, Answer

HS256 = {"DT_SIGNATURE_SECRET": SECRET}
# For what happens behind the front door, which is the same whichever it is.
behind_one_door = pytest.mark.parametrize("platform", ONE_DOOR_EACH, indirect=True)


@pytest.fixture(params=ADAPTERS)
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Start an adapter with the environment given; stop it after the test."""
    with ExitStack() as stack:

        def start(**environ: str) -> Adapter:
            return stack.enter_context(ADAPTERS[request.param](environ or HS256, tmp_path, request))

        yield start


@pytest.fixture
def adapter(platform: Any) -> Adapter:
    started: Adapter = platform()
    return started


def post(adapter: Adapter, content: bytes, headers: dict[str, str] | None = None) -> Answer:
    return adapter.receiving.request("POST", "/events", signed(content) if headers is None else headers, content)


def is_acknowledged(answer: Answer, outcome: str) -> bool:
    return (answer.status, answer.headers["event-outcome"], answer.body) == (200, outcome, b"")


def problem(answer: Answer) -> tuple[int, str]:
    """Return the status and the type of an RFC 9457 problem; assert that it has no secret."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(answer.body)
    assert document.keys() == {"type", "title", "status"}
    assert document["status"] == answer.status
    return answer.status, document["type"].rsplit(":", 1)[1]


def last_line(adapter: Adapter, count: int = 1) -> dict[str, Any]:
    """Return the last log line, once there are ``count``: one for each request."""
    lines = adapter.receiving.wait_for_lines(count)
    assert len(lines) == count
    return lines[-1]


def test_stored_then_already_stored(adapter: Adapter) -> None:
    content = fresh_body()
    assert is_acknowledged(post(adapter, content), "stored")
    assert adapter.bodies() == [content]
    assert is_acknowledged(post(adapter, content), adapter.again)
    assert adapter.bodies() == [content]
    line = last_line(adapter, 2)
    assert (line["severity"], line["outcome"], line["status"]) == ("INFO", adapter.again, 200)
    assert line["key"].endswith(".temperature.emucdd6ef2eu277bo8f52vg")
    assert line["signedBy"] == "hs256:0"


STRANGE = {
    "unknown type": (body(eventType="pollen"), "unknown event type"),
    "fields missing": (body(eventId=None), "no eventId"),
    "not JSON": (b"hello", "not JSON"),
    "not UTF-8": (b"\xff\x00", "not JSON"),
    "lone surrogate": (b'{"event":{"eventId":"\\ud800"}}', "no eventType"),
    "nested": (b"[" * 200_000, "not JSON"),
    "numbers": (b'{"event":{"eventType":"touch","data":[1e999,NaN]}}', "not JSON"),
    "duplicate keys": (b'{"event":{"eventType":"touch"},"event":{}}', "duplicate keys"),
    "empty": (b"", "not JSON"),
}


def test_signed_but_unparsable_is_stored_and_marked(adapter: Adapter) -> None:
    for count, (content, fault) in enumerate(STRANGE.values(), 1):
        assert is_acknowledged(post(adapter, content), "stored"), content[:50]
        line = last_line(adapter, count)
        assert (line["unparsed"], line["outcome"]) == (fault, "stored")
    assert sorted(adapter.bodies()) == sorted(content for content, _ in STRANGE.values())


@behind_one_door
def test_filtered_event_is_acknowledged_and_not_stored(platform: Any) -> None:
    adapter = platform(**HS256, DT_EVENT_TYPES="touch", DT_PROJECT_ID="ccol8iuk9smqiha4e8l0")
    assert is_acknowledged(post(adapter, fresh_body()), "dropped")
    kept = body(eventType="touch", data={"touch": {}})
    assert is_acknowledged(post(adapter, kept), "stored")
    elsewhere = kept.replace(b"ccol8iuk9smqiha4e8l0", b"another")
    assert is_acknowledged(post(adapter, elsewhere), "dropped")
    assert adapter.bodies() == [kept]
    # An unparsed event may be wanted.
    unreadable = b'{"event":{"eventType":"temperature","data":NaN}}'
    assert is_acknowledged(post(adapter, unreadable), "stored")
    assert sorted(adapter.bodies()) == sorted([kept, unreadable])
    # One line for each, and a warning at the first drop.
    last_line(adapter, 5)
    lines = adapter.receiving.wait_for_lines(5)
    assert [line.get("outcome") for line in lines] == [None, "dropped", "stored", "dropped", "stored"]
    assert "temperature" in lines[0]["message"]
    assert (lines[4]["severity"], lines[4]["unparsed"]) == ("INFO", "not JSON")


CONTENT = body()
NOW = int(time.time())
REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "no header": ({}, "missing"),
    "empty header": ({"X-Dt-Signature": ""}, "signature"),
    "another secret": ({"X-Dt-Signature": hs256(CONTENT, "another secret, which is long enough too")}, "signature"),
    "another body": ({"X-Dt-Signature": hs256(b"{}")}, "checksum"),
    "expired": ({"X-Dt-Signature": hs256(CONTENT, iat=NOW - 9000, exp=NOW - 5400)}, "expired"),
    "from the future": ({"X-Dt-Signature": hs256(CONTENT, iat=NOW + 86_400, exp=NOW + 90_000)}, "not_yet_valid"),
    "no exp": ({"X-Dt-Signature": hs256(CONTENT, exp=None)}, "claims"),
    "alg none": ({"X-Dt-Signature": raw_token({"alg": "none"}, {"exp": NOW + 60, "iat": NOW})}, "signature"),
    "HS512": ({"X-Dt-Signature": raw_token({"alg": "HS512"}, {"exp": NOW + 60}, b"x" * 64)}, "signature"),
    "a long token": ({"X-Dt-Signature": "e" * 102_400}, "too_long"),
    "a token of the other scheme": ({"X-Dt-Signature": es256(CONTENT)}, "signature"),
    "the other scheme's header": ({"DT-Asymmetric-Signature": hs256(CONTENT)}, "algorithm"),
    "another organization": ({"DT-Asymmetric-Signature": es256(CONTENT, sub="another")}, "organization"),
    "one of two wrong": (
        {"X-Dt-Signature": hs256(CONTENT), "DT-Asymmetric-Signature": es256(b"{}")},
        "checksum",
    ),
}


def test_unverified_requests_all_get_the_same_answer(platform: Any) -> None:
    adapter = platform(**HS256, DT_ORGANIZATION_ID=ORGANIZATION, DT_JWKS=JWKS)
    answers = []
    for count, (name, (headers, reason)) in enumerate(REFUSED.items(), 1):
        answer = post(adapter, CONTENT, {key: value[: adapter.longest_header] for key, value in headers.items()})
        assert problem(answer) == (401, "unverified"), name
        # gunicorn says the time.
        answers.append((answer.body, {**answer.headers, "date": None}))
        line = last_line(adapter, count)
        assert (line["severity"], line["outcome"], line["reason"]) == ("WARNING", "refused", reason), name
    # Every refusal is the same, so a sender learns nothing from it.
    assert all(answer == answers[0] for answer in answers)
    assert adapter.bodies() == []
    # The next signed delivery is accepted, by either scheme.
    assert is_acknowledged(post(adapter, CONTENT), "stored")
    assert is_acknowledged(post(adapter, CONTENT, {"DT-Asymmetric-Signature": es256(CONTENT)}), adapter.again)


def test_large_bodies_are_refused_before_they_are_hashed(adapter: Adapter) -> None:
    largest = body(padding="x" * (262_144 - len(body(padding=""))))
    assert len(largest) == 262_144
    assert is_acknowledged(post(adapter, largest), "stored")
    assert problem(post(adapter, largest + b" ")) == (413, "too-large")
    assert problem(post(adapter, b"x" * 307_200)) == (413, "too-large")
    assert last_line(adapter, 3)["reason"] == "too_large"
    assert adapter.bodies() == [largest]


def test_only_post_delivers(adapter: Adapter) -> None:
    assert adapter.receiving.request("GET", "/healthz").status == 200
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = adapter.receiving.request(method, "/events", signed(CONTENT), b"" if method == "GET" else CONTENT)
        assert problem(answer) == (405, "method-not-allowed")
        assert answer.headers["allow"] == "POST"
    assert adapter.receiving.request("HEAD", "/events").status == 405
    assert adapter.bodies() == []


@behind_one_door
def test_unavailable_keys_are_503(platform: Any) -> None:
    # A port without a listener stands in for an outage of DT's identity server.
    adapter = platform(DT_ORGANIZATION_ID=ORGANIZATION, DT_ISSUER="http://127.0.0.1:9/data-connector")
    answer = post(adapter, CONTENT, {"DT-Asymmetric-Signature": es256(CONTENT)})
    assert problem(answer) == (503, "unavailable")
    line = last_line(adapter)
    assert line["severity"] == "ERROR"
    assert "DT_JWKS" in line["reason"]


@behind_one_door
def test_store_outage_then_recovery(adapter: Adapter) -> None:
    content = fresh_body()
    adapter.block()
    started = time.monotonic()
    answer = post(adapter, content)
    assert time.monotonic() - started < 8
    assert problem(answer) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) > 0
    line = last_line(adapter)
    assert (line["severity"], line["outcome"]) == ("ERROR", "failed")
    assert line["reason"]
    adapter.unblock()
    assert is_acknowledged(post(adapter, content), "stored")
    assert adapter.bodies() == [content]


# Python runs a module of this name before the program, to inject a bug and change nothing else.
SITECUSTOMIZE = """
import core.receiver

def parse(verified, received_at):
    raise ZeroDivisionError(verified.body)

core.receiver.parse = parse
"""


@behind_one_door
def test_unexpected_exception_is_500_without_its_text(platform: Any, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    adapter = platform(**HS256, PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT))))
    for count in (1, 2):
        assert problem(post(adapter, CONTENT)) == (500, "internal-error")
        line = last_line(adapter, count)
        assert (line["severity"], line["outcome"], line["reason"]) == ("ERROR", "failed", "bug")
        assert line["traceback"][0] == "ZeroDivisionError"
        assert any("sitecustomize.py" in place for place in line["traceback"])
    assert "eventId" not in adapter.receiving.output()
    assert adapter.bodies() == []


@behind_one_door
def test_unsigned_policy_logs_a_warning(platform: Any) -> None:
    adapter = platform(DT_SIGNATURE_POLICY="unsigned")
    assert "anybody" in last_line(adapter)["message"]
    assert is_acknowledged(post(adapter, CONTENT, {}), "stored")
    assert last_line(adapter, 2)["signedBy"] == "nobody"


def test_no_secret_token_or_body_is_logged(platform: Any) -> None:
    adapter = platform(**HS256, DT_ORGANIZATION_ID=ORGANIZATION, DT_JWKS=JWKS)
    post(adapter, CONTENT)
    for headers, _ in REFUSED.values():
        post(adapter, CONTENT, {key: value[: adapter.longest_header] for key, value in headers.items()})
    adapter.receiving.wait_for_lines(1 + len(REFUSED))
    output = adapter.receiving.output()
    for hidden in (SECRET, "eyJ", "Møterom", "M\\u00f8terom", "samples", "checksum_sha256"):
        assert hidden not in output


@behind_one_door
def test_concurrent_deliveries(adapter: Adapter) -> None:
    contents = [fresh_body() for _ in range(200)]
    refused: list[bytes] = []
    answers: list[Answer] = []

    def send(some: list[bytes]) -> None:
        for content in some:
            answer = post(adapter, content)
            if answer.status == 503:
                refused.append(content)
            else:
                answers.append(answer)

    threads = [threading.Thread(target=send, args=(contents[at::20],)) for at in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Sent again, as DT does: on a busy machine the store may be too slow for so many.
    answers += [post(adapter, content) for content in refused]
    duplicates = sum(is_acknowledged(answer, "duplicate") for answer in answers)
    assert sum(is_acknowledged(answer, "stored") for answer in answers) + duplicates == len(contents)
    assert duplicates <= len(refused)
    bodies = adapter.bodies()
    assert sorted(set(bodies)) == sorted(contents)
    assert len(bodies) <= len(contents) + len(refused)


@pytest.mark.parametrize("name", ONE_DOOR_EACH)
def test_unusable_secret_is_an_error_with_its_reason(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    unusable = {"DT_SIGNATURE_SECRET": json.dumps([f"{SECRET}\n", json.dumps([SECRET])])}
    if name in SERVERS:
        # It does not start, so the release before it stays.
        with pytest.raises(AssertionError) as ended, ADAPTERS[name](unusable, tmp_path, request):
            pass
        said = str(ended.value)
    else:
        with ADAPTERS[name](unusable, tmp_path, request) as adapter:
            assert problem(post(adapter, fresh_body()))[0] == 503
            line = last_line(adapter)
            assert line["severity"] == "ERROR"
            said = adapter.receiving.output()
    assert "DT_SIGNATURE_SECRET has a line end (number 0)" in said
    assert "DT_SIGNATURE_SECRET holds an array in an array (number 1)" in said
    assert SECRET not in said
