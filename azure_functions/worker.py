"""An example of a worker that processes the events of the queue; several may run concurrently.

Replace `process`. At least once: a message is completed, or deleted, only after its event was processed, so a crash
repeats a message of Service Bus, or a batch of Azure Storage.

Service Bus: one message at a time is locked, and its lock is renewed for up to `LONGEST` seconds while its event is
processed. If that fails, the message is abandoned after 1, 2, 4 s and so on, within its lock, and comes again. After as
many deliveries as the queue's MaxDeliveryCount allows, 10 in infra/, Service Bus moves it to the queue's dead letters.

Azure Storage: a batch of messages is hidden for `HIDDEN` seconds. If processing it takes longer, some come twice. A
message that failed comes again after 1, 2, 4 s and so on, and after `core.worker.MAX_ATTEMPTS` deliveries it is moved
to the queue ``NAME-poison``, which is created if missing: Azure Storage itself has no dead letters.

A message that the receiver did not send is treated as one that failed.

SIGTERM and SIGINT: the worker finishes its message or batch, acknowledges only what was processed, and exits with 0,
within 6 s if it has none. If the service fails, the worker logs that and tries again.
"""

import argparse
import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from azure.core.exceptions import ResourceNotFoundError
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError
from azure.storage.queue import LinearRetry, QueueClient, QueueMessage

from azure_functions.wiring import ACCOUNT, NAMESPACE, address_of
from core.environment import Environment, SettingsError
from core.log import Log
from core.worker import MAX_ATTEMPTS, Process, print_readings, stop_on_signals, wait_after
from readers import ReaderError
from readers.azure import OPTIONS, identity, reading
from readers.service_bus import connect
from readers.service_bus import event_of as event_of_service_bus
from readers.storage_queue import event_of as event_of_storage
from readers.worker import RETRY, is_processed, run

# Messages that are received from Azure Storage at a time.
BATCH = 10
# Seconds for which the lock of a message is renewed.
LONGEST = 3600.0
# Seconds for which Azure Storage hides received messages.
HIDDEN = 300
# Seconds to wait for messages, which SIGTERM does not end; and for an answer.
_WAIT = 5.0
_ANSWER = 10.0
_CLOSE = 5.0
# Replace it: called with each event, and raises if that failed.
process: Process = print_readings
_SERVICE_BUS_ROLE, _STORAGE_ROLE = "Azure Service Bus Data Receiver", "Storage Queue Data Contributor"
_EXAMPLES = f"""\
examples:
  DT_SERVICE_BUS=dt-receiver-a1b2c3d4e5f6g.servicebus.windows.net python -m azure_functions.worker
  DT_STORE=storage_queue DT_STORAGE=dta1b2c3d4e5f6g DT_QUEUE=events python -m azure_functions.worker

The settings are the receiver's. Instead of a name, DT_SERVICE_BUS and DT_STORAGE may be a connection string. With a
name, the identity is that of `az login`, AZURE_CLIENT_ID, or the machine; on the queue it needs the role
{_SERVICE_BUS_ROLE}, or {_STORAGE_ROLE}.
"""


class ServiceBusWorker:
    """Processes messages of a Service Bus queue, one at a time.

    The locks are renewed here, because the SDK's AutoLockRenewer mixes up the numbers of concurrent requests, and the
    broker then closes the connection (azure-servicebus 7.15.0).

    Args:
        address: As in `readers.service_bus.connect`.
        queue: The queue.
        process: Called with each event, on a thread. Raises if that failed.
        log: Gets failures.
    """

    def __init__(self, address: str, queue: str, process: Process, log: Log) -> None:
        self._address, self._queue = address, queue
        self._process, self._log = process, log
        self.has_received = False
        self._runner = asyncio.Runner()
        self._client: ServiceBusClient | None = None
        self._receiver: ServiceBusReceiver | None = None
        # Messages that failed, and when to abandon them: Service Bus delivers an abandoned message at once.
        self._failed: list[tuple[float, ServiceBusReceivedMessage]] = []

    def step(self) -> bool:
        """Process a message; see `readers.worker.Worker`."""
        try:
            with reading(f"the queue {self._queue}", _SERVICE_BUS_ROLE):
                self._runner.run(self._step())
        except ReaderError:
            self._failed.clear()
            self._runner.run(self._disconnect())
            raise
        return True

    def close(self) -> None:
        """Abandon what failed, and close the connection."""
        self._runner.run(self._disconnect())
        self._runner.close()

    async def _step(self) -> None:
        async with asyncio.timeout(_WAIT + _ANSWER):
            if self._receiver is None:
                self._client = await connect(self._address)
                self._receiver = self._client.get_queue_receiver(self._queue)
            await self._abandon(self._receiver, time.monotonic())
            messages = await self._receiver.receive_messages(1, max_wait_time=RETRY if self._failed else _WAIT)
        self.has_received = True
        for message in messages:
            if await self._is_processed(self._receiver, message):
                await self._settle(self._receiver.complete_message, message)
            else:
                # Within its lock.
                wait = min(wait_after((message.delivery_count or 0) + 1), _until_renewal(message))
                self._failed.append((time.monotonic() + wait, message))

    async def _is_processed(self, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> bool:
        event = event_of_service_bus(message)
        work = asyncio.create_task(asyncio.to_thread(is_processed, event, self._process, self._log))
        end = time.monotonic() + LONGEST
        try:
            while not (await asyncio.wait({work}, timeout=_until_renewal(message)))[0]:
                if time.monotonic() < end:
                    async with asyncio.timeout(_ANSWER):
                        await receiver.renew_message_lock(message)
        except MessageLockLostError:
            pass  # `_settle` finds it out too
        finally:
            await asyncio.wait({work})
        return work.result()

    async def _abandon(self, receiver: ServiceBusReceiver, until: float) -> None:
        for failed in [failed for failed in self._failed if failed[0] <= until]:
            self._failed.remove(failed)
            await self._settle(receiver.abandon_message, failed[1])

    async def _settle(
        self, settle: Callable[[ServiceBusReceivedMessage], Awaitable[None]], message: ServiceBusReceivedMessage
    ) -> None:
        try:
            async with asyncio.timeout(_ANSWER):
                await settle(message)
        except MessageLockLostError:
            self._log.notice("WARNING", f"The lock of message {message.message_id} ended, and it comes again.")

    async def _disconnect(self) -> None:
        with suppress(Exception):  # a connection that failed may not close
            async with asyncio.timeout(_CLOSE):
                if self._receiver:
                    await self._abandon(self._receiver, math.inf)
                if self._client:
                    await self._client.close()
        self._client = self._receiver = None


def _until_renewal(message: ServiceBusReceivedMessage) -> float:
    end = message.locked_until_utc
    return max((end - datetime.now(UTC)).total_seconds() / 2, 1) if end else 1


class StorageQueueWorker:
    """Processes messages of a queue of Azure Storage.

    Args:
        queue: The SDK's client of the queue.
        dead_letters: That of the queue for dead letters.
        process: Called with each event. Raises if that failed.
        log: Gets failures.
        hidden: Seconds for which received messages are hidden.
    """

    def __init__(
        self, queue: QueueClient, dead_letters: QueueClient, process: Process, log: Log, hidden: int = HIDDEN
    ) -> None:
        self._queue, self._dead_letters = queue, dead_letters
        self._process, self._log = process, log
        self.has_received = False
        self._hidden = hidden

    def step(self) -> bool:
        """Process a batch; see `readers.worker.Worker`."""
        with reading(f"the queue {self._queue.queue_name}", _STORAGE_ROLE):
            messages = list(self._queue.receive_messages(max_messages=BATCH, visibility_timeout=self._hidden))
            self.has_received = True
            for message in messages:
                self._finish(message)
        return bool(messages)

    def close(self) -> None:
        """Close the connections."""
        self._queue.close()
        self._dead_letters.close()

    def _finish(self, message: QueueMessage) -> None:
        count = message.dequeue_count or 0
        # A worker that died of it may have had it as often.
        if count <= MAX_ATTEMPTS and is_processed(event_of_storage(message), self._process, self._log):
            self._queue.delete_message(message)
        elif count >= MAX_ATTEMPTS:
            self._bury(message)
        else:
            self._queue.update_message(message, visibility_timeout=wait_after(count))

    def _bury(self, message: QueueMessage) -> None:
        try:
            self._dead_letters.send_message(message.content, time_to_live=-1)
        except ResourceNotFoundError:
            self._dead_letters.create_queue()
            self._dead_letters.send_message(message.content, time_to_live=-1)
        self._queue.delete_message(message)


def build(environment: Environment, process: Process, log: Log, hidden: int) -> ServiceBusWorker | StorageQueueWorker:
    """Build the worker of the store that DT_STORE names.

    Raises:
        SettingsError: A setting is missing or wrong.
    """
    store = environment.one_of("DT_STORE", "service_bus", "storage_queue")
    environment.check()
    queue = environment.get("DT_QUEUE", "events")
    if store == "service_bus":
        address = address_of(environment, "DT_SERVICE_BUS", "the host name of the Service Bus namespace", NAMESPACE)
        environment.check()
        return ServiceBusWorker(address, queue, process, log)
    address = address_of(environment, "DT_STORAGE", "the name of the storage account", ACCOUNT)
    environment.check()
    with reading(f"the queue {queue}", _STORAGE_ROLE):
        return StorageQueueWorker(_queue(address, queue), _queue(address, f"{queue}-poison"), process, log, hidden)


def _queue(address: str, name: str) -> QueueClient:
    options = {"retry_policy": LinearRetry(backoff=1, retry_total=1), **OPTIONS}
    if "=" in address:
        return QueueClient.from_connection_string(address, name, **options)
    return QueueClient(f"https://{address}.queue.core.windows.net", name, credential=identity(), **options)


def main(arguments: Sequence[str] | None = None, process: Process = process) -> None:
    """Run the worker until SIGTERM or SIGINT.

    Raises:
        SystemExit: A setting is missing or wrong, with a sentence.
    """
    parser = argparse.ArgumentParser(
        "python -m azure_functions.worker",
        description="Process the events of the queue that DT_STORE and DT_QUEUE name, each at least once. SIGTERM "
        "ends it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--visibility-timeout",
        type=int,
        default=HIDDEN,
        metavar="SECONDS",
        help="how long Azure Storage hides a received batch (default: %(default)s)",
    )
    hidden = parser.parse_args(arguments).visibility_timeout
    stopping, log = stop_on_signals(), Log()
    try:
        worker = build(Environment(os.environ), process, log, hidden)
        try:
            run(worker, stopping, log)
        finally:
            worker.close()
    except (SettingsError, ReaderError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
