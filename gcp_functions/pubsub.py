"""Events in Pub/Sub."""

import base64

from core.event import Event
from core.stores.contract import StoreUnavailableError
from gcp_functions.service import Service

URL = "https://pubsub.googleapis.com"


class PubSubQueue:
    """One message per event: its data the bytes that DT signed, its attributes the event's fields.

    Durable: publish answers once the message is on disk in more than one zone
    (https://cloud.google.com/pubsub/architecture), and answers with its id, which is asked for.
    Unique: not by itself, hence `core.stores.dedup.Deduplicated`; each message carries its event's key.
    Answers: `StoreUnavailableError` with Google's code for all but that, after another try if the service was busy or
    the network failed. There is no batch and no queue of ours, so a failure is one event's and leaves nothing behind.

    Args:
        pubsub: Pub/Sub.
        topic: Its full name, ``projects/PROJECT/topics/TOPIC``.
        is_ordered: Whether the messages of one device have its id as their ordering key.
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
