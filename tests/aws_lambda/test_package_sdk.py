"""AWS's SDK as `make package-aws` changes it does what the unchanged one does, with nothing else installed."""

import os
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from tests.aws_lambda.test_package import PYTHON, make, unpack
from tests.support.aws import environment
from tests.support.loopback import DROPPED, Call, Reply, fault, loopback, success
from tests.support.processes import ROOT

pytestmark = [
    pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="the package is for Lambda's Python, 3.13"),
    pytest.mark.long,
]

# Every deferred import but those that write documentation, which the package's reduced models change.
PROGRAM = r"""
import sys, time
from datetime import datetime
from aws_lambda.service import call, client
from core.stores.contract import StoreUnavailableError

dynamodb, secrets, sqs = client("dynamodb"), client("secretsmanager"), client("sqs")
for table in ("stored", "exists", "throttled", "failed", "dropped", "denied"):
    try:
        answer = call(dynamodb.put_item, time.monotonic() + 60, TableName=table, Item={"a": {"B": b"x"}})
        print(table, answer.get("Attributes"))
    except StoreUnavailableError as error:
        print(table, error)
print(call(dynamodb.get_item, time.monotonic() + 60, TableName="stored", Key={"key": {"S": "k"}}).get("Item"))
print(call(sqs.send_message, time.monotonic() + 60, QueueUrl=sys.argv[1] + "/q", MessageBody="x")["MessageId"])
secret = call(secrets.get_secret_value, time.monotonic() + 60, SecretId="x")
print(secret["SecretString"], secret["CreatedDate"].timestamp())

import boto3, botocore.session
from boto3.compat import TRANSFER_CONFIG_SUPPORTS_CRT, TransferConfig
from botocore.paginate import PaginatorModel
from botocore.utils import parse_timestamp
from botocore.waiter import WaiterModel, create_waiter_with_client
import urllib3.http2

print(TRANSFER_CONFIG_SUPPORTS_CRT, TransferConfig().max_request_concurrency)
for text in ("2026-11-21T10:58:35Z", "Sat, 21 Nov 2026 10:58:35 GMT", "1795258715", 1795258715.5):
    print(parse_timestamp(text).timestamp())
WAITER = {"operation": "GetItem", "delay": 0, "maxAttempts": 2, "acceptors": [
    {"state": "success", "matcher": "path", "argument": "Item.a.S", "expected": "b"}]}
create_waiter_with_client("There", WaiterModel({"version": 2, "waiters": {"There": WAITER}}), dynamodb).wait(
    TableName="stored", Key={"key": {"S": "k"}})
dynamodb._cache["page_config"] = {"GetItem": {"input_token": "t", "output_token": "Next", "result_key": "Item"}}
print(list(dynamodb.get_paginator("get_item").paginate(TableName="stored", Key={})) != [])
try:
    urllib3.http2.inject_into_urllib3()
except ImportError as error:
    print("no h2")
session = boto3.Session(profile_name="process")
print(session.get_credentials().get_frozen_credentials()[:2])
for attempt in (lambda: boto3.client("nothing"), lambda: boto3.client("dynamodb").nothing):
    try:
        attempt()
    except Exception as error:
        print(type(error).__name__)
"""
EARLY = """
import sys
from aws_lambda.service import client
client("dynamodb"), client("secretsmanager")
later = {"s3transfer", "dateutil.parser", "subprocess", "botocore.docs.service", "boto3.docs.service"}
print(sorted(later & set(sys.modules)))
"""
LACKS = """
import boto3
from aws_lambda.service import client
dynamodb = client("dynamodb")
for attempt in (
    lambda: dynamodb.query,
    lambda: dynamodb.get_paginator("query"),
    lambda: dynamodb.get_waiter("table_exists"),
    lambda: boto3.resource("dynamodb"),
    lambda: boto3.client("s3"),
):
    try:
        attempt()
    except Exception as error:
        print(" ".join(str(error).split()))
print("put_item" in str(dynamodb.put_item.__doc__))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(make(), tmp_path_factory.mktemp("sdk") / "task")


def printed(path: str, program: str, environ: dict[str, str], *arguments: str) -> list[str]:
    done = subprocess.run(
        [*PYTHON, "-c", program, *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONWARNINGS": "error", **environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def answers(path: str, folder: Path) -> tuple[list[str], list[str]]:
    """Return what the program prints, and the operations that it calls; its credentials are a container's."""
    config = folder / "config"
    keys = '{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": "2099-01-01T00:00:00Z"}'
    (folder / "keys.json").write_text(keys)
    config.write_text(f"[profile process]\ncredential_process = cat {folder / 'keys.json'}\n")
    seen: Counter[str] = Counter()

    def answer(call: Call) -> Reply | None:
        if call.path == "/credentials":
            document = {"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}
            return success(**document)
        assert call.headers["x-amz-security-token"] == "t"
        table = str(call.parameters.get("TableName"))
        seen[table] += 1
        match call.operation, table, seen[table]:
            case _, "exists", _:
                return fault("ConditionalCheckFailedException")
            case _, "throttled", 1 | 2:
                return fault("ThrottlingException")
            case _, "failed", 1:
                return fault("InternalServerError", 500)
            case _, "dropped", 1:
                return DROPPED
            case _, "denied", _:
                return fault("AccessDeniedException")
            case "GetSecretValue", _, _:
                return success(SecretString="s", CreatedDate=1795258715.25)
            case "SendMessage", _, _:
                return success(MessageId="m")
        return success(Attributes={"a": {"S": "b"}}, Item={"a": {"S": "b"}})

    with loopback(answer) as server:
        environ = environment(server.url) | {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/credentials",
            "AWS_CONFIG_FILE": str(config),
        }
        del environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"]
        lines = printed(path, PROGRAM, environ, server.url)
        return lines, [call.operation or call.path for call in server.calls]


def test_it_calls_and_answers_as_the_unchanged_sdk(package: Path, tmp_path: Path) -> None:
    unchanged = os.pathsep.join((str(ROOT), sysconfig.get_paths()["purelib"]))
    lines, calls = answers(str(package), tmp_path)
    assert (lines, calls) == answers(unchanged, tmp_path)
    assert lines[:6] == [
        "stored {'a': {'S': 'b'}}",
        "exists None",
        "throttled {'a': {'S': 'b'}}",
        "failed {'a': {'S': 'b'}}",
        "dropped {'a': {'S': 'b'}}",
        "denied AccessDeniedException",
    ]


def test_a_start_does_not_import_what_comes_later(package: Path) -> None:
    assert printed(str(package), EARLY, environment("http://127.0.0.1:9")) == ["[]"]


def test_what_the_package_lacks_is_an_error_that_says_so(package: Path) -> None:
    lines = printed(str(package), LACKS, environment("http://127.0.0.1:9"))
    query, paginator, waiter, resource, service, has_documentation = lines
    assert "'query'" in query
    assert "'query'" in paginator
    assert "'describe_table'" in waiter
    assert all("SERVICES in tools/lambda_zip.py" in line for line in (query, paginator, waiter))
    assert "boto3.client('dynamodb')" in resource
    assert "Unknown service: 's3'" in service
    assert has_documentation == "True"
