"""Events in a Service Bus queue with duplicate detection."""

import asyncio
import gzip
import time
from collections.abc import Callable
from typing import Any

from azure_functions.identity import AsyncCredential, ManagedIdentityError, managed_identity
from azure_functions.sdk import ServiceBusClient, ServiceBusMessage, ServiceBusSender, exceptions
from core.event import Event
from core.service.attempts import ATTEMPT, async_attempts
from core.stores.contract import Outcome, StoreUnavailableError

# Errors that a retry does not fix.
_FINAL = (
    exceptions.MessageSizeExceededError,
    exceptions.MessagingEntityDisabledError,
    exceptions.MessagingEntityNotFoundError,
    exceptions.ServiceBusAuthenticationError,
    exceptions.ServiceBusAuthorizationError,
    exceptions.ServiceBusQuotaExceededError,
)
# Bytes. The Standard tier accepts 256 KiB, including the properties:
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas
_MAX_BODY = 200_000
# Seconds. Service Bus closes a connection after 240 s without traffic.
_MAX_IDLE = 180.0
# Seconds. The SDK renews a token when a tenth of its life is left, and a concurrent send waits for that without a
# limit. A token from a connection string lasts an hour, an identity's longer.
_MAX_AGE = 1800.0
# Seconds to close a failed connection; this is part of the attempt.
_CLOSE = 0.5
_SEND = ATTEMPT - _CLOSE
# Concurrent events, the number that infra/main.bicep sends to an instance; others wait. With a silent broker there
# would be hundreds, each with a connection, and opening so many makes the loop miss their deadlines.
_AT_ONCE = 16


class _Connection:
    """One connection and its sender, which takes one message at a time."""

    def __init__(self, client: ServiceBusClient, queue: str) -> None:
        self._client = client
        # No keep-alive task: it would use the connection concurrently.
        self.sender: ServiceBusSender = client.get_queue_sender(queue, keep_alive=0)
        self.made = self.used = time.monotonic()

    def is_fresh(self) -> bool:
        now = time.monotonic()
        return now - self.used < _MAX_IDLE and now - self.made < _MAX_AGE

    async def close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE):
                await self._client.close()
        except Exception:
            pass  # after any error, the connection is not used again


class ServiceBusStore:
    """One message per event: the body is the bytes that DT signed, the application properties are the event's fields.

    Durable: the broker settles a message when it is stored
    (https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement).
    Unique: by the message id, which is the event's key, in a queue with duplicate detection, within its window
    (https://learn.microsoft.com/azure/service-bus-messaging/duplicate-detection). The broker accepts a duplicate and
    drops it without saying so: the outcome is STORED too.
    Answers: everything except accepted is `StoreUnavailableError` with the SDK's error class, after retries if they may
    help. Each concurrent event has a connection, 16 at most; a failed one is closed, and not used again.

    A body above 200,000 bytes is compressed, with the property ``encoding``; DT's have less than 4,000.

    Args:
        connect: Creates a client.
        queue: The name of the queue.
    """

    def __init__(self, connect: Callable[[], ServiceBusClient], queue: str) -> None:
        self._connect = connect
        self._queue = queue
        # The first client is created now, but not opened, so that an invalid address is reported at the start.
        self._idle = [self._new()]
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def open(self) -> None:
        """Do nothing: the first event opens a connection."""

    async def close(self) -> None:
        """Close the connections."""
        while self._idle:
            await self._idle.pop().close()

    async def put(self, event: Event, deadline: float) -> Outcome:
        """Send ``event``; see `core.stores.contract.AsyncStore`."""
        try:
            async with asyncio.timeout(deadline - ATTEMPT - time.monotonic()):
                await self._places.acquire()
        except TimeoutError:
            raise StoreUnavailableError("deadline") from None
        try:
            return await self._put(event, deadline)
        finally:
            self._places.release()

    async def _put(self, event: Event, deadline: float) -> Outcome:
        message = _message(event)
        cause = None
        async for _ in async_attempts(deadline):
            # If one connection failed, the other open ones may have failed too.
            connection = await self._take() if cause is None else self._new()
            try:
                # The SDK's own time-out does not cover unexpected protocol states.
                async with asyncio.timeout(_SEND):
                    await connection.sender.send_messages(message, timeout=_SEND)
            except Exception as error:  # the SDK's errors, and internal ones about a faulty peer
                await connection.close()
                # The SDK treats a token that could not be fetched as any other error.
                inner = getattr(error, "inner_exception", None)
                cause = type(inner if isinstance(inner, ManagedIdentityError) else error).__name__
                if isinstance(error, _FINAL):
                    break
            else:
                connection.used = time.monotonic()
                self._idle.append(connection)
                return Outcome.STORED
        raise StoreUnavailableError(cause or "deadline")

    async def _take(self) -> _Connection:
        # The most recently used one. If it has expired, so have those below it.
        if self._idle and self._idle[-1].is_fresh():
            return self._idle.pop()
        stale, self._idle = self._idle, []
        await asyncio.gather(*(connection.close() for connection in stale))
        return self._new()

    def _new(self) -> _Connection:
        return _Connection(self._connect(), self._queue)


def connector(service_bus: str, client_id: str | None) -> Callable[[], ServiceBusClient]:
    """Return a function that creates a client.

    Args:
        service_bus: The namespace's host name, used with the function's identity; or a connection string.
        client_id: As in `azure_functions.identity.managed_identity`.
    """
    # The SDK's retries have no deadline; `core.service.attempts` has one.
    options: dict[str, Any] = {"retry_total": 0}
    if "=" in service_bus:
        return lambda: ServiceBusClient.from_connection_string(service_bus, **options)
    credential = AsyncCredential(managed_identity(client_id))
    return lambda: ServiceBusClient(service_bus, credential, **options)


def _message(event: Event) -> ServiceBusMessage:
    properties: dict[Any, Any] = {**event.attributes(), "parsed": event.parsed}
    body = event.body
    if len(body) > _MAX_BODY:
        body, properties["encoding"] = gzip.compress(body, mtime=0), "gzip"
    return ServiceBusMessage(
        body, message_id=event.key, content_type="application/json", application_properties=properties
    )
