"""Reads a Pub/Sub subscription of the receiver on Google Cloud.

Credentials: see `readers.gcp`. The role is Pub/Sub Subscriber (``roles/pubsub.subscriber``) on the subscription.
"""

import re
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from google.cloud.pubsub_v1 import SubscriberClient

from core.event import Event, read_time
from readers import ReaderError
from readers.contract import Reader
from readers.gcp import TIMEOUT, asked, reading
from readers.query import Query
from readers.rows import foreign, stored

_URL = re.compile(r"pubsub:(projects/[^/\s]+/subscriptions/[^/\s]+)").fullmatch
_ROLE = "roles/pubsub.subscriber on the subscription"
# Seconds for which a received message is hidden from consumers, unless it is given back before: the longest possible.
_HIDDEN = 600
# Seconds for receiving; the rest is for giving back.
_RECEIVING = 300
_BATCH = 1_000
# Empty answers in a row: Pub/Sub may answer without messages although it has some.
_EMPTY = 3


class PubSubReader(Reader):
    """Receives messages, gives all of them back, also after an error, and acknowledges none.

    If it is killed, the messages are visible again after 10 minutes.

    Args:
        client: Google's client; the reader closes it.
        subscription: Its full name.
    """

    is_queue = True
    receiving = (
        "Pub/Sub gives out messages and takes them back: consumers do not see them until all are read, and each "
        "reading counts as a delivery, of which the dead-letter policy allows only so many (10 in the deployment) "
        "before a message becomes a dead letter."
    )

    def __init__(self, client: SubscriberClient, subscription: str) -> None:
        self._client = client
        self._subscription = subscription

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def matching(self, query: Query) -> Iterator[Event]:
        """Yield the events, after all messages are visible to consumers again."""
        # By message id: Pub/Sub may deliver a message twice, and only its last ack id is valid.
        received: dict[str, Any] = {}
        found: list[Event] = []
        try:
            for message in self._received(received):
                event = event_of(message)
                if query.matches(event):
                    found.append(event)
                    if len(found) == query.limit:
                        break
        finally:
            self._give_back([one.ack_id for one in received.values()])
        return iter(found)

    def _received(self, received: dict[str, Any]) -> Iterator[Any]:
        end, empty = time.monotonic() + _RECEIVING, 0
        while empty < _EMPTY:
            if time.monotonic() > end:
                raise ReaderError(
                    f"The subscription has more messages than could be received in {_RECEIVING // 60} minutes. Read "
                    "fewer with --limit, or process them with `python -m gcp_functions.worker`."
                )
            pulled = self._pull()
            empty = 0 if pulled else empty + 1
            new = [one for one in pulled if one.message.message_id not in received]
            received |= {one.message.message_id: one for one in pulled}
            if pulled:
                self._hide([one.ack_id for one in pulled], _HIDDEN)
            yield from (one.message for one in new)

    def _pull(self) -> Any:
        with warnings.catch_warnings():
            # Deprecated, because it is of no use to a worker. Without it, a call waits for the next message, and
            # an empty subscription looks like a silent network.
            warnings.simplefilter("ignore", DeprecationWarning)
            return self._ask(self._client.pull, max_messages=_BATCH, return_immediately=True).received_messages

    def _hide(self, ack_ids: list[str], seconds: int) -> None:
        self._ask(self._client.modify_ack_deadline, ack_ids=ack_ids, ack_deadline_seconds=seconds)

    def _give_back(self, ack_ids: list[str]) -> None:
        try:
            for first in range(0, len(ack_ids), _BATCH):
                self._hide(ack_ids[first : first + _BATCH], 0)
        except ReaderError as error:
            raise ReaderError(
                f"{error} Messages could not be given back; consumers see them again within {_HIDDEN // 60} minutes."
            ) from None

    def _ask(self, call: Callable[..., Any], **fields: Any) -> Any:
        request = {"subscription": self._subscription, **fields}
        what = f"the subscription {self._subscription}"
        return asked(lambda: call(request=request, timeout=TIMEOUT, retry=None), what, _ROLE)


def event_of(message: Any) -> Event:
    """Return the event in a message; `readers.rows.foreign` if the receiver did not send it.

    Args:
        message: ``google.pubsub_v1.PubsubMessage``, or a message of a subscriber's callback.
    """
    attributes = message.attributes
    if "key" not in attributes:
        return foreign(f"message {message.message_id}", message.data, read_time(attributes.get("receivedAt")))
    return stored(attributes["key"], message.data, attributes.get("receivedAt"), attributes.get("signedBy"))


def open_reader(url: str) -> PubSubReader:
    """Open ``pubsub:projects/PROJECT/subscriptions/SUBSCRIPTION``. Nothing is read yet."""
    found = _URL(url.rstrip("/"))
    if not found:
        raise ReaderError(
            "Name the subscription so: pubsub:projects/PROJECT/subscriptions/SUBSCRIPTION. The deployment prints it as "
            "`source`."
        )
    with reading(f"the subscription {found[1]}", _ROLE):
        return PubSubReader(SubscriberClient(), found[1])
