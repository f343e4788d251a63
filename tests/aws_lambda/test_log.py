"""The log lines of the function, and the metrics that CloudWatch extracts from them."""

import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws_lambda.log import METRICS, NAMESPACE, embedded_metrics
from core.log import Log
from tests.support.aws import EVENTS_KEYS, create_table
from tests.support.deliveries import SECRET, body, fresh_body, signed
from tests.support.front_doors import AWS_FRONT_DOORS
from tests.support.moto import MotoServer
from tests.support.proxy import Mode, Proxy
from tests.support.sandbox import Sandbox, sandbox

UNITS = {"Seconds", "Microseconds", "Milliseconds", "Bytes", "Count", "Percent", "None"}


def metrics_of(line: str) -> dict[tuple[str, ...], dict[str, float]]:
    """Return the metrics of one line by its sets of dimensions, having seen that the line follows the specification.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    pairs: list[str] = []

    def without_repeats(members: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in members]
        assert len(names) == len(set(names)), names
        pairs.extend(names)
        return dict(members)

    root = json.loads(line, object_pairs_hook=without_repeats)
    assert type(root) is dict
    assert len(line.encode()) < 1_048_576
    if "_aws" not in root:
        # Elsewhere it would be an error.
        assert not {"_aws", "CloudWatchMetrics"} & set(pairs)
        return {}
    metadata = root["_aws"]
    assert metadata.keys() == {"Timestamp", "CloudWatchMetrics"}
    assert type(metadata["Timestamp"]) is int
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for directive in metadata["CloudWatchMetrics"]:
        assert directive.keys() == {"Namespace", "Dimensions", "Metrics"}
        assert type(directive["Namespace"]) is str
        assert 1 <= len(directive["Namespace"]) <= 255
        assert len(directive["Metrics"]) <= 100
        assert directive["Dimensions"]
        for names in directive["Dimensions"]:
            assert len(names) <= 30
            for name in names:
                assert type(name) is str
                assert type(root[name]) is str
                assert 1 <= len(name) <= 250
                assert 1 <= len(root[name]) <= 1024
            dimensions = found.setdefault(tuple(names), {})
            for metric in directive["Metrics"]:
                assert metric.keys() <= {"Name", "Unit", "StorageResolution"}
                assert metric["Unit"] in UNITS
                assert 1 <= len(metric["Name"]) <= 255
                assert type(root[metric["Name"]]) in (int, float)
                dimensions[metric["Name"]] = root[metric["Name"]]
    return found


def by_function(metric: str) -> dict[tuple[str, ...], dict[str, float]]:
    return {("FunctionName",): {metric: 1}}


REFUSED = {**by_function("Refused"), ("FunctionName", "reason"): {"Refused": 1}}


@pytest.fixture
def start(moto: MotoServer, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return what starts a function whose store is behind a proxy."""
    proxy = Proxy(moto.port)
    environ = {
        **moto.environment,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        "DT_SIGNATURE_SECRET": SECRET,
        "DT_TABLE": create_table(moto.client("dynamodb"), EVENTS_KEYS),
    }
    yield lambda **changes: (sandbox({**environ, **changes}, tmp_path, AWS_FRONT_DOORS["Function URL"]), proxy)
    proxy.close()


def post(receiving: Sandbox, content: bytes, headers: dict[str, str] | None = None) -> int:
    return receiving.request("POST", "/", signed(content) if headers is None else headers, content).status


def test_each_outcome_is_one_metric_of_the_function(start: Any) -> None:
    starting, proxy = start(DT_EVENT_TYPES="temperature", AWS_LAMBDA_FUNCTION_NAME="the-function")
    content = fresh_body()
    before = int(time.time() * 1000)
    with starting as receiving:
        assert receiving.request("GET", "/healthz").status == 200
        assert [post(receiving, content), post(receiving, content)] == [200, 200]
        assert post(receiving, body(eventType="touch", data={"touch": {}})) == 200
        assert post(receiving, content, {}) == 401
        assert receiving.request("GET", "/").status == 405
        assert post(receiving, b"x" * 262_145) == 413
        proxy.set(Mode.REFUSE)
        assert post(receiving, fresh_body()) == 503
        receiving.wait_for_lines(7)
        # Every line of its output, not only those that look like JSON.
        lines = receiving.output().splitlines()
    after = int(time.time() * 1000)
    assert [json.loads(line).get("outcome") for line in lines] == [
        "health",
        "stored",
        "duplicate",
        None,  # the warning that something is dropped
        "dropped",
        "refused",
        "refused",
        "refused",
        "failed",
    ]
    assert [metrics_of(line) for line in lines] == [
        {},
        by_function("Stored"),
        by_function("Duplicate"),
        {},
        by_function("Dropped"),
        REFUSED,
        REFUSED,
        REFUSED,
        by_function("Failed"),
    ]
    roots = [json.loads(line) for line in lines if metrics_of(line)]
    assert {root["FunctionName"] for root in roots} == {"the-function"}
    assert [root["reason"] for root in roots if root["outcome"] == "refused"] == ["missing", "method", "too_large"]
    for root in roots:
        assert before <= root["_aws"]["Timestamp"] <= after
        assert root["_aws"]["CloudWatchMetrics"][0]["Namespace"] == NAMESPACE == "DataConnector"


def test_invalid_settings_and_warnings_are_logged(start: Any) -> None:
    starting, _ = start(DT_SIGNATURE_SECRET="short")
    with starting as receiving:
        assert post(receiving, body(), {}) == 401
        receiving.wait_for_lines(2)
        warning, refused = receiving.output().splitlines()
    assert "shorter" in json.loads(warning)["message"]
    assert (metrics_of(warning), metrics_of(refused)) == ({}, REFUSED)
    starting, _ = start(DT_STORE="s3")
    with starting as receiving:
        assert post(receiving, body()) == 503
        receiving.wait_for_lines(1)
        [failed] = receiving.output().splitlines()
    assert metrics_of(failed) == by_function("Failed")


def test_table_of_metrics() -> None:
    assert METRICS == {
        "stored": "Stored",
        "duplicate": "Duplicate",
        "dropped": "Dropped",
        "refused": "Refused",
        "failed": "Failed",
    }
    assert embedded_metrics("f")("health") == ""


def written(function: str, outcome: str, clock: Callable[[], float] = time.time) -> str:
    """Return the line of a request as `core.log.Log` writes it."""
    stream = io.StringIO()
    log = Log(stream, embedded_metrics(function, clock))
    log.request("INFO", outcome, status=200, seconds=0.1, size=1, reason="missing" if outcome == "refused" else None)
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    return line


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64), st.sampled_from([*METRICS, "health"])
)
def test_any_function_name_gives_a_line_of_json(function: str, outcome: str) -> None:
    line = written(function, outcome)
    metrics = metrics_of(line)
    assert bool(metrics) is (outcome in METRICS)
    assert json.loads(line).get("FunctionName", function) == function


def test_function_name_with_quotes_and_braces() -> None:
    name = 'a "quoted" \\ {name} 0}}\n'
    line = json.loads(written(name, "stored"))
    assert (line["FunctionName"], line["Stored"]) == (name, 1)


@pytest.mark.parametrize("now", [0.0009, 1_795_251_600, 1_795_251_600.9999])
def test_timestamp_is_in_whole_milliseconds(now: float) -> None:
    line = json.loads(written("f", "stored", lambda: now))
    assert line["_aws"]["Timestamp"] == int(now * 1000)
    assert type(line["_aws"]["Timestamp"]) is int


# Invalid lines that the checks above must find.
SOUND: dict[str, Any] = {
    "f": "name",
    "m": 1,
    "_aws": {
        "Timestamp": 1,
        "CloudWatchMetrics": [{"Namespace": "n", "Dimensions": [["f"]], "Metrics": [{"Name": "m", "Unit": "Count"}]}],
    },
}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"f": "name"', '"f": 1'),
        ('"f": "name"', '"g": "name"'),
        ('"f": "name"', '"f": ""'),
        ('"m": 1', '"m": "1"'),
        ('"m": 1', '"m": 1, "m": 2'),
        ('"Timestamp": 1', '"Timestamp": "1"'),
        ('"Timestamp": 1', '"Timestamp": 1.5'),
        ('"Timestamp": 1', '"time": 1'),
        ('"Namespace": "n"', '"Namespace": ""'),
        ('"Count"', '"Pieces"'),
        ('[["f"]]', '[["f", "m"]]'),
        ('"_aws"', '"aws"'),
    ],
)
def test_validator_finds_each_error(old: str, new: str) -> None:
    sound = json.dumps(SOUND)
    assert metrics_of(sound) == {("f",): {"m": 1}}
    assert old in sound
    with pytest.raises((AssertionError, KeyError)):
        metrics_of(sound.replace(old, new))
