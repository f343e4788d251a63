"""Events in DynamoDB."""

from datetime import timedelta
from typing import Any

from aws_lambda.service import call
from core.event import Event
from core.stores.contract import Outcome, StoreUnavailableError


class DynamoDbStore:
    """One item per event, written with a condition that its key does not exist.

    Durable: DynamoDB answers 200 when the item is written to two of three availability zones
    (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.ReadConsistency.html).
    Unique: by partition key and sort key, which depend only on the body, as long as the item exists. The device is the
    partition, and the sort key begins with the event's time, so a device's history is one query.
    Answers: ConditionalCheckFailedException means that the event exists, perhaps from an earlier attempt whose answer
    was lost. A 200 without a RequestId is not from AWS. Everything else is `StoreUnavailableError` with the service's
    code, after retries if the call was throttled, or AWS or the network failed.

    Args:
        client: boto3's client for DynamoDB.
        table: The table: partition key ``device``, sort key ``timestampKey``, time to live ``expiresAt``.
        keep_days: Days after which an item may be deleted; 0 keeps it for ever.
    """

    def __init__(self, client: Any, table: str, keep_days: int) -> None:
        self._put = client.put_item
        self._table = table
        self._keep = timedelta(days=keep_days)

    def put(self, event: Event, deadline: float) -> Outcome:
        """Write ``event`` unless it exists; see `core.stores.contract.Store`."""
        answer = call(
            self._put,
            deadline,
            TableName=self._table,
            Item=self._item(event),
            ConditionExpression="attribute_not_exists(device)",
        )
        if not answer:
            return Outcome.DUPLICATE
        if not answer["ResponseMetadata"].get("RequestId"):
            raise StoreUnavailableError("no RequestId")
        return Outcome.STORED

    def _item(self, event: Event) -> dict[str, dict[str, Any]]:
        attributes = event.attributes()
        item: dict[str, dict[str, Any]] = {name: {"S": text} for name, text in attributes.items()}
        # A key cannot be empty or missing. "-" is never a device id: those have letters and digits.
        item["device"] = {"S": event.device_id or "-"}
        item["timestampKey"] = {"S": f"{attributes.get('timestamp', '-')}#{event.key}"}
        item["parsed"] = {"BOOL": event.parsed}
        item["body"] = {"B": event.body}
        if self._keep:
            item["expiresAt"] = {"N": str(int((event.received_at + self._keep).timestamp()))}
        return item
