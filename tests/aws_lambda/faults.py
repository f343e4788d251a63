"""How AWS fails, by botocore's client of DynamoDB."""

import pytest

from aws_lambda.service import call, client
from tests.contract.fault import SECRET, Cloud, Write
from tests.support.aws import environment
from tests.support.loopback import DROPPED, Loopback, Reply, fault, success

ITEM = {"device": {"S": "-"}, "timestampKey": {"S": "-#key"}, "body": {"B": SECRET.encode()}}
THROTTLED = (
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "Throttling",
    "ThrottlingException",
)
FINAL = (
    "AccessDeniedException",
    "ResourceNotFoundException",
    "ValidationException",
    "UnrecognizedClientException",
    "ExpiredTokenException",
    "ItemCollectionSizeLimitExceededException",
)


def connect(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Return what writes an item."""
    for name, value in environment(server.url).items():
        monkeypatch.setenv(name, value)
    put_item = client("dynamodb").put_item
    return lambda deadline: call(put_item, deadline, TableName="t", Item=ITEM)["Attributes"] == {"a": {"S": "b"}}


CAUSES = {
    "silent": "ReadTimeoutError",
    "slow": "ReadTimeoutError",
    "throttled": "RequestThrottled",
    "denied": "403",  # in moto's form
}
FAULTS = {
    "DynamoDB": Cloud(
        connect=connect,
        stored=success(Attributes={"a": {"S": "b"}}),
        retried={
            "500": (fault("InternalServerError", 500, SECRET), "InternalServerError"),
            "503": (fault("ServiceUnavailable", 503, SECRET), "ServiceUnavailable"),
            "500 without a word": (Reply(500, b""), "500"),
            "502 of a proxy": (Reply(502, SECRET.encode(), {"Content-Type": "text/html"}), "502"),
            "closed without an answer": (DROPPED, "ConnectionClosedError"),
            **{f"throttled: {code}": (fault(code, 400, SECRET), code) for code in THROTTLED},
        },
        final={
            **{code: (fault(code, 400, SECRET), code) for code in FINAL},
            "403 without a word": (Reply(403, b""), "403"),
            "400 without JSON": (Reply(400, SECRET.encode()), "400"),
        },
        unreachable="EndpointConnectionError",
        silent="ReadTimeoutError",
        trust=lambda path, monkeypatch: monkeypatch.setenv("AWS_CA_BUNDLE", path),
        threads=10,
    )
}
