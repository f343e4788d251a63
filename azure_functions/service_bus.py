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

# What another attempt does not mend.
_FINAL = (
    exceptions.MessageSizeExceededError,
    exceptions.MessagingEntityDisabledError,
    exceptions.MessagingEntityNotFoundError,
    exceptions.ServiceBusAuthenticationError,
    exceptions.ServiceBusAuthorizationError,
    exceptions.ServiceBusQuotaExceededError,
)
# Bytes. The standard tier takes 256 KiB, the properties included:
# https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas
_MAX_BODY = 200_000
# Seconds. Service Bus ends a connection on which nothing was said for 240.
_MAX_IDLE = 180.0
# Seconds. The SDK puts a token's successor when a tenth of its life is left, and a send that meets this waits for it
# without a bound. A token of a connection string lasts an hour, an identity's longer.
_MAX_AGE = 1800.0
# Seconds for the parting words to a connection that failed, which are part of the attempt.
_CLOSE = 0.5
_SEND = ATTEMPT - _CLOSE
# Events on their way at once, as many as infra/main.bicep has an instance take; the others wait. Before a broker that
# says nothing there would be hundreds, each with a connection, and opening so many has the loop miss their deadlines.
_AT_ONCE = 16


class _Connection:
    """One connection and its sender, which takes one message at a time."""

    def __init__(self, client: ServiceBusClient, queue: str) -> None:
        self._client = client
        # No task that says something now and then: it would be one more user of the connection.
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
            pass  # whatever it is, this connection is not used again


class ServiceBusStore:
    """One message per event: its body the bytes that DT signed, its application properties the event's fields.

    Durable: the broker settles a message once it is stored
    (https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement).
    Unique: by its id, which is the event's key, in a queue made with duplicate detection, for as long as its window
    (https://learn.microsoft.com/azure/service-bus-messaging/duplicate-detection). The broker accepts a second copy and
    drops it, so that it cannot be told from the first: it is STORED too.
    Answers: everything but accepted is `StoreUnavailableError` with the SDK's class for it, after another try unless
    that is of no use. There is a connection for each event at the same time, 16 at most; one that failed is closed, and
    not used again.

    A body above 200,000 bytes is compressed, and the property ``encoding`` says so; DT's measure below 4,000.

    Args:
        connect: Makes a client.
        queue: The name of the queue.
    """

    def __init__(self, connect: Callable[[], ServiceBusClient], queue: str) -> None:
        self._connect = connect
        self._queue = queue
        # The first is made at once, though not opened, so that what is wrong with its address is said at the start.
        self._idle = [self._new()]
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def open(self) -> None:
        """Do nothing: a connection is opened by its first event."""

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
            # Where one connection failed, others that were open may have failed with it.
            connection = await self._take() if cause is None else self._new()
            try:
                # The SDK has a time-out too, which it does not keep where it meets something unforeseen.
                async with asyncio.timeout(_SEND):
                    await connection.sender.send_messages(message, timeout=_SEND)
            except Exception as error:  # the SDK's own, and what its insides raise of a broken peer
                await connection.close()
                # To the SDK, a token that could not be fetched is an error like any other.
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
        # The one that was used last. If that is of no use any more, those below it are not worth a look either.
        if self._idle and self._idle[-1].is_fresh():
            return self._idle.pop()
        stale, self._idle = self._idle, []
        await asyncio.gather(*(connection.close() for connection in stale))
        return self._new()

    def _new(self) -> _Connection:
        return _Connection(self._connect(), self._queue)


def connector(service_bus: str, client_id: str | None) -> Callable[[], ServiceBusClient]:
    """Return what makes a client.

    Args:
        service_bus: The namespace's host name, which is logged in to as the function; or a connection string.
        client_id: As in `azure_functions.identity.managed_identity`.
    """
    # Its own retries know of no deadline; `core.service.attempts` does.
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
