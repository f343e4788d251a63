"""The keys of sent events, in DynamoDB."""

from datetime import UTC, datetime, timedelta
from typing import Any

from aws_lambda.service import call


class DynamoDbSeenKeys:
    """One item per event key.

    Durable: as in `aws_lambda.dynamodb.DynamoDbStore`. Reads are consistent, so a key is found directly after it was
    marked.

    Args:
        client: boto3's client for DynamoDB.
        table: The table: partition key ``key``, time to live ``expiresAt``.
        keep_days: Days after which a key may be deleted; 0 keeps it for ever.
    """

    def __init__(self, client: Any, table: str, keep_days: int) -> None:
        self._get, self._put = client.get_item, client.put_item
        self._table = table
        self._keep = timedelta(days=keep_days)

    def contains(self, key: str, deadline: float) -> bool:
        """Return whether ``key`` was marked; see `core.stores.contract.SeenKeys`."""
        found = call(self._get, deadline, TableName=self._table, Key={"key": {"S": key}}, ConsistentRead=True)
        return dict(found.get("Item") or {}).get("key") == {"S": key}

    def mark(self, key: str, deadline: float) -> None:
        """Remember ``key``; see `core.stores.contract.SeenKeys`."""
        item = {"key": {"S": key}}
        if self._keep:
            item["expiresAt"] = {"N": str(int((datetime.now(UTC) + self._keep).timestamp()))}
        call(self._put, deadline, TableName=self._table, Item=item)
