"""Reads the queue of the receiver in Azure Service Bus, or its dead letters.

Credentials: see `readers.azure`, or a connection string of the same namespace in SERVICEBUS_CONNECTION_STR. The role is
Azure Service Bus Data Receiver.
"""

import asyncio
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

from core.event import Event
from readers import ReaderError
from readers.azure import AsyncCredential, identity, reading, unzipped
from readers.contract import Reader
from readers.query import Query
from readers.rows import foreign, stored
from readers.sources import SOURCES

_ROLE = "Azure Service Bus Data Receiver"
_PLACE = re.compile(r"([A-Za-z0-9.-]+(?::[0-9]+)?)/([A-Za-z0-9._/$-]+)").fullmatch
# Messages of one request, which has fewer if they are large.
# https://learn.microsoft.com/azure/service-bus-messaging/message-browsing
_PAGE = 250
# Seconds for connecting and one request; the SDK itself waits for a silent server without a limit.
_TIMEOUT = 20.0
_CLOSE = 2.0


class ServiceBusReader(Reader):
    """Peeks messages, the whole queue page by page, and receives none.

    Peeked messages stay available to consumers, and their delivery counts stay as they are.

    Args:
        address: As in `connect`.
        queue: The queue.
    """

    is_queue = True

    def __init__(self, address: str, queue: str) -> None:
        self._address, self._queue = address, queue
        self._runner = asyncio.Runner()
        self._client: ServiceBusClient | None = None
        self._receiver: ServiceBusReceiver | None = None

    def close(self) -> None:
        """Close the connection."""
        with suppress(Exception):  # a connection that failed may not close
            self._runner.run(self._close())
        self._runner.close()

    def matching(self, query: Query) -> Iterator[Event]:  # noqa: ARG002 - a queue has no conditions
        """Yield the events in the order of the queue."""
        first = 1
        while True:
            with reading(f"the queue {self._queue}", _ROLE):
                messages = self._runner.run(self._peek(first))
            if not messages:
                return
            yield from map(event_of, messages)
            first = (messages[-1].sequence_number or 0) + 1

    def cost(self, query: Query) -> str | None:
        """Return what reading the whole queue costs, if not everything is wanted."""
        if replace(query, limit=0) == Query():
            return None
        return (
            f"Service Bus has no index, so all messages of the queue are read, up to {_PAGE} by a request, at 0.80 US$ "
            "a million requests beyond the 13 million in the base price "
            "(https://azure.microsoft.com/pricing/details/service-bus/)."
        )

    async def _peek(self, first: int) -> list[ServiceBusReceivedMessage]:
        async with asyncio.timeout(_TIMEOUT):
            if self._receiver is None:
                self._client = await connect(self._address)
                self._receiver = self._client.get_queue_receiver(self._queue)
            return await self._receiver.peek_messages(_PAGE, sequence_number=first)

    async def _close(self) -> None:
        if self._client:
            async with asyncio.timeout(_CLOSE):
                await self._client.close()


def event_of(message: ServiceBusReceivedMessage) -> Event:
    """Return the event in a message; `readers.rows.foreign` if the receiver did not send it."""
    body: Any = b""
    try:
        body = b"".join(message.body)
        properties = {_text(name): _text(value) for name, value in (message.application_properties or {}).items()}
        if properties.get("encoding") == "gzip":
            body = unzipped(body)
        return stored(properties["key"], body, properties.get("receivedAt"), properties.get("signedBy"))
    except (AttributeError, KeyError, TypeError, ValueError):
        return foreign(str(message.message_id or message.sequence_number), body if isinstance(body, bytes) else b"")


def _text(value: Any) -> Any:
    # The SDK gives names and texts as bytes.
    return value.decode(errors="replace") if isinstance(value, bytes) else value


async def connect(address: str) -> ServiceBusClient:
    """Return a client; with an identity, once it has a token.

    Args:
        address: The host of a namespace; or a connection string.
    """
    options: dict[str, Any] = {"retry_total": 1}
    if "=" in address:
        return ServiceBusClient.from_connection_string(address, **options)
    credential = AsyncCredential(identity())
    # Now, because the SDK would first connect, and again after each failure.
    await credential.get_token("https://servicebus.azure.net/.default")
    return ServiceBusClient(address, credential, **options)


def open_reader(url: str) -> ServiceBusReader:
    """Open ``servicebus:NAMESPACE.servicebus.windows.net/QUEUE``; the dead letters are ``QUEUE/$DeadLetterQueue``."""
    place = _PLACE(url.partition(":")[2].strip("/"))
    if place is None:
        raise ReaderError(
            f"This is not the URL of a store. It must be like {SOURCES['servicebus'].example}, without a key: that is "
            "in SERVICEBUS_CONNECTION_STR, if you use one."
        )
    namespace, queue = place.groups()
    text = os.environ.get("SERVICEBUS_CONNECTION_STR", "")
    is_for_it = re.search(f"//{re.escape(namespace)}/?(;|$)", text, re.IGNORECASE)
    return ServiceBusReader(text if is_for_it else namespace, queue)
