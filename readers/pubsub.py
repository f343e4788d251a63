"""Reads a subscription of the receiver on Google Cloud: one for consumers, or that of the dead letters.

Credentials: see `readers.gcp`. The role is Pub/Sub Subscriber (``roles/pubsub.subscriber``).
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from google.api_core.exceptions import DeadlineExceeded, InvalidArgument
from google.cloud.pubsub_v1 import SubscriberClient

from core.event import Event
from readers import ReaderError
from readers.contract import Reader
from readers.gcp import TIMEOUT, asked, reading
from readers.query import Query
from readers.rows import foreign, stored

_URL = re.compile(r"pubsub:(projects/[^/\s]+/subscriptions/[A-Za-z][A-Za-z0-9._~%+-]{2,254})").fullmatch
_ROLE = "roles/pubsub.subscriber"
# Messages of one call; its size and that of their ids are below the limits: https://cloud.google.com/pubsub/quotas
_BATCH = 1000
# Seconds to wait for a message: that none came is how Pub/Sub says that there is none.
_WAIT = 5.0
# Seconds for which consumers do not get a message, unless it is given back before.
_HIDDEN = 300
# Seconds for receiving; the rest is for giving back.
_RECEIVING = 240
# Calls in a row that return only what was published after the first call: a subscription may never be empty.
_LATE = 3


class PubSubReader(Reader):
    """Receives messages, gives all of them back, also after an error, and acknowledges none.

    If it is killed, consumers get the messages after 5 minutes.

    Args:
        client: Google's client; the reader closes it.
        subscription: Its full name.
    """

    is_queue = True
    receiving = (
        "Pub/Sub cannot show messages without delivering them: consumers do not get them until all are read and given "
        "back, and then after a pause of 10 s or more, by the retry policy; and each reading counts as a delivery, of "
        "which the dead-letter policy allows only so many (10 in the Terraform here) before a message becomes a dead "
        "letter. With ordering, only the first messages of each device can be seen."
    )

    def __init__(self, client: Any, subscription: str) -> None:
        self._client = client
        self._subscription = subscription
        self._name = f"the Pub/Sub subscription {subscription}"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def matching(self, query: Query) -> Iterator[Event]:
        """Yield the events, after all messages are given back."""
        ack_ids: dict[str, str] = {}
        try:
            found = self._received(query, ack_ids)
        finally:
            self._give_back(list(ack_ids.values()))
        return iter(found)

    def _received(self, query: Query, ack_ids: dict[str, str]) -> list[Event]:
        """Return events, and add the acknowledgement id of each message to ``ack_ids``, by message id."""
        found: list[Event] = []
        begin, deadline, late = datetime.now(UTC) + timedelta(seconds=1), time.monotonic() + _RECEIVING, 0
        is_any = query == Query(limit=query.limit)
        while late < _LATE and (not query.limit or len(found) < query.limit):
            if time.monotonic() > deadline:
                raise ReaderError(
                    f"The subscription has more messages than could be received in {_RECEIVING // 60} minutes. Read "
                    "fewer with --limit, or process them with `python -m gcp_functions.worker`."
                )
            # Not more than are wanted: each counts as a delivery.
            messages = self._pull(min(query.limit - len(found), _BATCH) if query.limit and is_any else _BATCH)
            if not messages:
                if not ack_ids:
                    self._asked(self._check)
                break
            # A message may come twice. Only its last id is valid.
            new = [each.message for each in messages if each.message.message_id not in ack_ids]
            ack_ids |= {each.message.message_id: each.ack_id for each in messages}
            self._set_deadline([each.ack_id for each in messages], _HIDDEN)
            found += filter(query.matches, map(event_of, new))
            late = late + 1 if all(each.message.publish_time > begin for each in messages) else 0
        return found

    def _pull(self, count: int) -> list[Any]:
        def pull() -> list[Any]:
            with suppress(DeadlineExceeded):
                answer = self._client.pull(
                    subscription=self._subscription, max_messages=count, retry=None, timeout=_WAIT
                )
                return list(answer.received_messages)
            return []

        return list(self._asked(pull))

    def _check(self) -> None:
        """Have Pub/Sub answer, if only that nobody has this message: silence is no empty subscription."""
        with suppress(InvalidArgument):
            self._modify(["none"], 0)

    def _set_deadline(self, ack_ids: list[str], seconds: int) -> None:
        for first in range(0, len(ack_ids), _BATCH):
            self._asked(partial(self._modify, ack_ids[first : first + _BATCH], seconds))

    def _modify(self, ack_ids: list[str], seconds: int) -> None:
        self._client.modify_ack_deadline(
            subscription=self._subscription,
            ack_ids=ack_ids,
            ack_deadline_seconds=seconds,
            retry=None,
            timeout=TIMEOUT,
        )

    def _give_back(self, ack_ids: list[str]) -> None:
        try:
            self._set_deadline(ack_ids, 0)
        except ReaderError as error:
            raise ReaderError(
                f"{error} Messages could not be given back; consumers get them within {_HIDDEN // 60} minutes."
            ) from None

    def _asked(self, call: Callable[[], Any]) -> Any:
        return asked(call, self._name, _ROLE)


def event_of(message: Any) -> Event:
    """Return the event in a message that the receiver published; `readers.rows.foreign` in any other."""
    attributes = dict(message.attributes)
    if "key" not in attributes:
        return foreign(message.message_id, message.data)
    return stored(attributes["key"], message.data, attributes.get("receivedAt"), attributes.get("signedBy"))


def open_reader(url: str) -> PubSubReader:
    """Open ``pubsub:projects/PROJECT/subscriptions/SUBSCRIPTION``."""
    found = _URL(url.rstrip("/"))
    if not found:
        raise ReaderError(
            "Name the subscription so: pubsub:projects/PROJECT/subscriptions/SUBSCRIPTION. The deployment prints it as "
            "`source`."
        )
    with reading(f"the Pub/Sub subscription {found[1]}", _ROLE):
        return PubSubReader(SubscriberClient(), found[1])
