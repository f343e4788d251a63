"""A conditional put by boto3."""

import boto3
from botocore.exceptions import ClientError

from bench.peers.signed import verified

_table = boto3.client("dynamodb")


def handle(token: str, body: bytes) -> None:
    """Store one delivery."""
    document = verified(token, body)
    item = {
        "device": {"S": document["metadata"]["deviceId"]},
        "sort": {"S": document["event"]["eventId"]},
        "body": {"B": body},
    }
    try:
        _table.put_item(TableName="events", Item=item, ConditionExpression="attribute_not_exists(device)")
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
