"""An example of a worker that processes the events of the queue; several may run concurrently.

Replace `process`. At least once: a message is completed, or deleted, only after its event was processed, so a crash
repeats up to a batch.

Service Bus: a message is locked while it is processed, and its lock is renewed for up to `LONGEST` seconds. The message
of an event that failed is abandoned, and comes again after the batch. After as many deliveries as the queue's
MaxDeliveryCount allows, 10 in infra/, Service Bus moves it to the queue's dead letters.

Azure Storage: a message is hidden for `HIDDEN` seconds, within which its batch must be processed, or it comes twice.
After `core.worker.MAX_ATTEMPTS` deliveries it is moved to the queue ``NAME-poison``, which is made if need be: Azure
Storage itself has no dead letters.

A message that the receiver did not send is treated as one that failed.

SIGTERM and SIGINT: the worker finishes its batch, acknowledges only what was processed, and exits with 0, within 6 s if
there is no batch. If the service fails, the worker logs that and tries again.
"""

import argparse
import asyncio
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from azure.core.exceptions import ResourceNotFoundError
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import AutoLockRenewer, ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError
from azure.storage.queue import LinearRetry, QueueClient, QueueMessage

from azure_functions.wiring import ACCOUNT, NAMESPACE, address_of
from core.environment import Environment, SettingsError
from core.event import Event
from core.log import Log
from core.worker import MAX_ATTEMPTS, Process, attempt, print_readings, stop_on_signals
from readers import ReaderError
from readers.azure import OPTIONS, identity, reading
from readers.rows import FOREIGN
from readers.service_bus import connect
from readers.service_bus import event_of as event_of_service_bus
from readers.storage_queue import event_of as event_of_storage

BATCH = 10
# Seconds for which the lock of a message is renewed.
LONGEST = 3600.0
# Seconds for which Azure Storage hides received messages.
HIDDEN = 300
# Seconds to wait for messages, which SIGTERM does not end; and for an answer.
_WAIT = 5.0
_ANSWER = 10.0
_CLOSE = 5.0
# Seconds until failed events come again, and until the service is called again after it failed, at most.
_RETRY = 2
_LONGEST_PAUSE = 30
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


class Worker(Protocol):
    """Processes one batch at a time."""

    def step(self) -> bool:
        """Receive and process a batch; return whether to continue at once.

        Raises:
            ReaderError: The service failed.
        """

    def close(self) -> None:
        """Close the connection."""


class ServiceBusWorker:
    """Processes messages of a Service Bus queue.

    Args:
        address: As in `readers.service_bus.connect`.
        queue: The queue.
        process: Called with each event, on a thread. Raises if that failed.
        log: Gets failures.
    """

    def __init__(self, address: str, queue: str, process: Process, log: Log) -> None:
        self._address, self._queue = address, queue
        self._process, self._log = process, log
        self._runner = asyncio.Runner()
        self._client: ServiceBusClient | None = None
        self._receiver: ServiceBusReceiver | None = None
        self._renewer: AutoLockRenewer | None = None

    def step(self) -> bool:
        """Process a batch; see `Worker`."""
        try:
            with reading(f"the queue {self._queue}", _SERVICE_BUS_ROLE):
                return self._runner.run(self._step())
        except ReaderError:
            self._runner.run(self._disconnect())
            raise

    def close(self) -> None:
        """Close the connection."""
        self._runner.run(self._disconnect())
        self._runner.close()

    async def _step(self) -> bool:
        async with asyncio.timeout(_WAIT + _ANSWER):
            if self._receiver is None:
                self._client = await connect(self._address)
                self._renewer = AutoLockRenewer(max_lock_renewal_duration=LONGEST)
                self._receiver = self._client.get_queue_receiver(self._queue, auto_lock_renewer=self._renewer)
            messages = await self._receiver.receive_messages(BATCH, max_wait_time=_WAIT)
        return all([await self._finish(self._receiver, message) for message in messages])

    async def _finish(self, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage) -> bool:
        event = event_of_service_bus(message)
        # On a thread, so that the locks of the batch can be renewed.
        is_processed = await asyncio.to_thread(_is_processed, event, self._process, self._log)
        try:
            async with asyncio.timeout(_ANSWER):
                await (receiver.complete_message if is_processed else receiver.abandon_message)(message)
        except MessageLockLostError:
            self._log.notice("WARNING", f"{event.key} took longer than its lock, and comes again.")
        return is_processed

    async def _disconnect(self) -> None:
        with suppress(Exception):  # a connection that failed may not close
            async with asyncio.timeout(_CLOSE):
                if self._renewer:
                    await self._renewer.close()
                if self._client:
                    await self._client.close()
        self._client = self._receiver = self._renewer = None


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
        self._hidden = hidden

    def step(self) -> bool:
        """Process a batch; see `Worker`."""
        with reading(f"the queue {self._queue.queue_name}", _STORAGE_ROLE):
            messages = list(self._queue.receive_messages(max_messages=BATCH, visibility_timeout=self._hidden))
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
        if count <= MAX_ATTEMPTS and _is_processed(event_of_storage(message), self._process, self._log):
            self._queue.delete_message(message)
        elif count >= MAX_ATTEMPTS:
            self._bury(message)
        else:
            self._queue.update_message(message, visibility_timeout=_RETRY)

    def _bury(self, message: QueueMessage) -> None:
        try:
            self._dead_letters.send_message(message.content, time_to_live=-1)
        except ResourceNotFoundError:
            self._dead_letters.create_queue()
            self._dead_letters.send_message(message.content, time_to_live=-1)
        self._queue.delete_message(message)


def _is_processed(event: Event, process: Process, log: Log) -> bool:
    if event.fault == FOREIGN:
        log.notice("ERROR", f"Message {event.key} is {FOREIGN}, and is left to become a dead letter.")
        return False
    return attempt(process, event, log)


def run(worker: Worker, stopping: threading.Event, log: Log) -> None:
    """Process until ``stopping`` is set, and finish the batch then.

    Raises:
        ReaderError: The first call failed, so probably a setting is wrong.
    """
    is_busy, has_worked, pause = True, False, 1
    while not stopping.is_set():
        try:
            is_busy, has_worked, pause = worker.step(), True, 1
        except ReaderError as error:
            if not has_worked:
                raise
            log.notice("WARNING", f"{error} The worker tries again in {pause} s.")
            stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            if not is_busy:
                stopping.wait(_RETRY)


def build(environment: Environment, process: Process, log: Log, hidden: int) -> Worker:
    """Build the worker of the store that DT_STORE names.

    Raises:
        SettingsError: A setting is missing or wrong.
    """
    store = environment.one_of("DT_STORE", "service_bus", "storage_queue")
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
