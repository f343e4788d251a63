"""Events in Pub/Sub."""

import base64

from core.event import Event
from core.stores.contract import StoreUnavailableError
from gcp_functions.service import Service

URL = "https://pubsub.googleapis.com"


class PubSubQueue:
    """One message per event: the data is the bytes that DT signed, the attributes are the event's fields.

    Durable: publish answers when the message is on disk in more than one zone
    (https://cloud.google.com/pubsub/architecture). Its answer must have the message's id.
    Unique: only with `core.stores.dedup.Deduplicated`; each message carries its event's key.
    Answers: everything else is `StoreUnavailableError` with Google's code, after retries if the service was busy or the
    network failed. Nothing is batched or queued here, so a failure affects one event only.

    Args:
        pubsub: Pub/Sub.
        topic: Its full name, ``projects/PROJECT/topics/TOPIC``.
        is_ordered: Whether a message's ordering key is its device's id.
    """

    def __init__(self, pubsub: Service, topic: str, is_ordered: bool = False) -> None:
        self._pubsub = pubsub
        self._path = f"/v1/{topic}:publish"
        self._is_ordered = is_ordered

    def send(self, event: Event, deadline: float) -> None:
        """Publish ``event``; see `core.stores.contract.Queue`."""
        message: dict[str, object] = {
            "data": base64.b64encode(event.body).decode(),
            "attributes": event.attributes() | {"parsed": "true" if event.parsed else "false"},
        }
        if self._is_ordered:
            message["orderingKey"] = event.device_id or "-"
        answer = self._pubsub.call("POST", self._path, deadline, {"messages": [message]}) or {}
        if not answer.get("messageIds"):
            raise StoreUnavailableError("no messageIds")
