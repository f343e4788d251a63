"""Events in a Service Bus queue with duplicate detection."""

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable

from azure_functions.amqp_sender import Sender, SendError, encode
from core.event import Event
from core.service.attempts import ATTEMPT, pauses
from core.stores.contract import Outcome, StoreUnavailableError

# Conditions that a retry does not change:
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-troubleshoot
_FINAL = frozenset(
    {
        "amqp:link:message-size-exceeded",
        "amqp:not-allowed",
        "amqp:not-found",
        "amqp:resource-limit-exceeded",
        "amqp:unauthorized-access",
        "com.microsoft:auth-failed",
        "com.microsoft:entity-disabled",
        "token refused: 401",
        "token refused: 403",
        "token refused: 404",
    }
)
# Bytes. The Standard tier accepts 256 KiB, including the properties:
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas
_MAX_BODY = 200_000
# Seconds. Service Bus closes a connection after 240 s without traffic.
_MAX_IDLE = 180.0
# Seconds. A token from a connection string lasts an hour, an identity's longer; no connection renews it.
_MAX_AGE = 1800.0
# Seconds before the end of a token at which it is not relied upon any more.
_MARGIN = 60.0

Connect = Callable[[], Awaitable[tuple[Sender, float]]]


class ServiceBusStore:
    """One message per event: the body is the bytes that DT signed, the application properties are the event's fields.

    Durable: the broker settles a message when it is stored
    (https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement).
    Unique: by the message id, which is the event's key, in a queue with duplicate detection, within its window
    (https://learn.microsoft.com/azure/service-bus-messaging/duplicate-detection). The broker accepts a duplicate and
    drops it without saying so: the outcome is STORED too.
    Answers: everything except accepted is `StoreUnavailableError` with the broker's condition, after retries if they
    may help. All events share one connection. After an attempt that got no answer in time, the connection gets no
    further event.

    A body above 200,000 bytes is compressed, with the property ``encoding``; DT's have less than 4,000.

    Args:
        connect: Connects to the queue; returns the sender, and when its token expires, in seconds since 1970.
    """

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._sender: Sender | None = None
        self._opening: asyncio.Task[Sender] | None = None
        # In `time.monotonic()`: when the connection was last used, and from when on it is not used any more.
        self._used = self._until = 0.0

    async def open(self) -> None:
        """Do nothing: the first event opens the connection."""

    async def close(self) -> None:
        """Close the connection."""
        if self._opening:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        if self._sender:
            self._sender.close()
        await asyncio.sleep(0)  # asyncio closes the socket now

    async def put(self, event: Event, deadline: float) -> Outcome:
        """Send ``event``; see `core.stores.contract.AsyncStore`."""
        message = _message(event)
        cause = "deadline"
        for pause in pauses(deadline):
            if pause:
                await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(ATTEMPT):
                    await self._send(message)
                return Outcome.STORED
            except SendError as error:
                cause = str(error)
                if cause in _FINAL and not error.is_of_connection:
                    break
            except Exception as error:  # there is no connection, no token, or no answer in time
                cause = type(error).__name__
        raise StoreUnavailableError(cause) from None

    async def _send(self, message: bytes) -> None:
        sender = self._sender
        now = time.monotonic()
        if sender is None or not sender.is_open or now - self._used >= _MAX_IDLE or now >= self._until:
            sender = await self._reconnected()
        self._used = now
        try:
            await sender.send(message)
        except asyncio.CancelledError:
            sender.retire()
            raise

    async def _reconnected(self) -> Sender:
        """Return a new connection, the same to all who wait for it."""
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
            # Nobody may wait for it any more when it fails.
            self._opening.add_done_callback(lambda opening: opening.cancelled() or opening.exception())
        return await asyncio.shield(self._opening)

    async def _open(self) -> Sender:
        if self._sender:
            self._sender.retire()
            self._sender = None
        async with asyncio.timeout(ATTEMPT):
            sender, expires_on = await self._connect()
        self._sender = sender
        self._used = time.monotonic()
        self._until = self._used + min(_MAX_AGE, expires_on - time.time() - _MARGIN)
        return sender


def _message(event: Event) -> bytes:
    properties: dict[str, str | bool] = {**event.attributes(), "parsed": event.parsed}
    body = event.body
    if len(body) > _MAX_BODY:
        body, properties["encoding"] = gzip.compress(body, mtime=0), "gzip"
    return encode(body, event.key, "application/json", properties)
