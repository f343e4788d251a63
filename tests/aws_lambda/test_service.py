"""Calls to AWS by botocore's real client: failed conditions, credentials and options. Faults are in faults.py."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aws_lambda.service import call, client
from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT
from tests.support.aws import environment
from tests.support.loopback import fault, in_turn, loopback, success
from tests.support.processes import ROOT


@pytest.mark.parametrize("failures", [0, 2])
def test_failed_condition_returns_an_empty_answer(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [*[fault("InternalServerError", 500)] * failures, fault("ConditionalCheckFailedException")]
    with loopback(in_turn(*replies)) as server:
        for name, value in environment(server.url).items():
            monkeypatch.setenv(name, value)
        dynamodb = client("dynamodb")
        assert call(dynamodb.put_item, time.monotonic() + DEADLINE, TableName="t", Item={}) == {}
        assert len(server.calls) == failures + 1


def test_missing_credentials_are_reported_and_nothing_is_sent(tmp_path: Path) -> None:
    """In a subprocess, because the session caches credentials."""
    program = (
        "import time\n"
        "from aws_lambda.service import call, client\n"
        "from core.stores.contract import StoreUnavailableError\n"
        "try:\n"
        "    call(client('dynamodb').put_item, time.monotonic() + 8, TableName='t', Item={})\n"
        "except StoreUnavailableError as error:\n"
        "    print(error.reason)\n"
    )
    with loopback(in_turn(success())) as server:
        environ = environment(server.url)
        del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
        environ |= {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
        environ["HOME"] = str(tmp_path)
        found = subprocess.run(
            [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=30, check=False
        )
        assert (found.stdout, found.stderr) == ("NoCredentialsError\n", "")
        assert server.calls == []


def test_clients_have_short_timeouts_and_no_retry_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    for name in ("dynamodb", "sqs", "secretsmanager"):
        config = client(name).meta.config
        assert (config.connect_timeout, config.read_timeout) == (1, 2)
        assert config.retries == {"mode": "standard", "total_max_attempts": 1}
        assert config.tcp_keepalive is True
    assert ATTEMPT == 3
