"""A look-up, a message and a mark by boto3."""

import os

import boto3

from bench.peers.signed import verified

_queue = boto3.client("sqs")
_table = boto3.client("dynamodb")


def handle(token: str, body: bytes) -> None:
    """Store one delivery."""
    document = verified(token, body)
    key = {"key": {"S": document["event"]["eventId"]}}
    if "Item" in _table.get_item(TableName="seen", Key=key, ConsistentRead=True):
        return
    _queue.send_message(QueueUrl=os.environ["DT_QUEUE_URL"], MessageBody=body.decode())
    _table.put_item(TableName="seen", Item=key)
