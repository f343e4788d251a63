"""Tables, queues and secrets in the stand-ins for AWS, and their contents."""

import base64
import os
import uuid
from typing import Any

import botocore.session
from botocore.loaders import create_loader

REGION = "eu-north-1"
# As in aws_lambda/template.yaml; tests/aws_lambda/test_template.py compares the two.
EVENTS_KEYS = {"device": "HASH", "timestampKey": "RANGE"}
SEEN_KEYS = {"key": "HASH"}


def environment(url: str) -> dict[str, str]:
    """Return the environment for AWS's clients and tools to use only that address."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


# Keeps what it has read: a description of a service takes a tenth of a second to read.
_loader = create_loader()


def session() -> Any:
    """Return a botocore session, with credentials that every stand-in takes."""
    made = botocore.session.Session()
    made.register_component("data_loader", _loader)
    made.set_credentials("test", "test")
    return made


def create_table(dynamodb: Any, keys: dict[str, str], name: str | None = None) -> str:
    """Create a table, and return its name."""
    name = name or f"t{uuid.uuid4().hex}"
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in keys.items()],
    )
    return name


def sqs_client(url: str) -> Any:
    """Return a client of the SQS at that address."""
    return session().create_client("sqs", region_name=REGION, endpoint_url=url)


def create_queue(sqs: Any, fifo: bool = False) -> str:
    """Create a queue, and return its URL."""
    name = f"q{uuid.uuid4().hex}{'.fifo' if fifo else ''}"
    url: str = sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true"} if fifo else {})["QueueUrl"]
    return url


def items(dynamodb: Any, table: str) -> list[dict[str, Any]]:
    """Return all items of a table in order of arrival, as plain values."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True)
    found = [
        {name: next(iter(value.values())) for name, value in item.items()} for page in pages for item in page["Items"]
    ]
    return sorted(found, key=lambda item: str(item.get("receivedAt")))


def messages(sqs: Any, queue: str) -> list[dict[str, Any]]:
    """Take all messages from a queue; each has its attributes, and ``body`` in bytes."""
    found = []
    while received := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]).get(
        "Messages"
    ):
        for message in received:
            attributes = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
            encoded = message["Body"]
            body = base64.b64decode(encoded) if attributes.get("encoding") == "base64" else encoded.encode()
            found.append({**attributes, "body": body, "parsed": attributes["parsed"] == "true"})
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return found
