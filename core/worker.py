"""What the workers of all adapters share: an example of processing, attempts, and stopping.

A worker takes stored events and processes each at least once. It acknowledges an event only after `Process` returned,
so a crash repeats events, and processing must be idempotent: `Event.key` identifies an event.

An event that failed comes again after `wait_after` seconds, and the others go on where the store allows it. So what
processing needs may be away for eight minutes before the first event is a dead letter.
"""

import signal
import threading
from collections.abc import Callable

from core.event import Event
from core.log import Log
from core.readings import readings
from core.text import printable

# An event that fails as often is a dead letter: each worker says where it stays.
MAX_ATTEMPTS = 10

Process = Callable[[Event], None]


def print_readings(event: Event) -> None:
    """Print the readings of an event: an example of processing."""
    for reading in readings(event):
        value = reading.text if reading.value is None else f"{reading.value:.10g}"
        print(printable(f"{reading.device_id} {reading.quantity} {value} {reading.unit or ''}"), flush=True)


def attempt(process: Process, event: Event, log: Log) -> bool:
    """Process an event; return whether that succeeded. A failure is logged without the text of the exception."""
    try:
        process(event)
    except Exception as error:
        log.notice("ERROR", f"{event.key} could not be processed: {type(error).__name__}")
        return False
    return True


def wait_after(failures: int) -> int:
    """Return the seconds until an event that failed so often comes again: 1, 2, 4 and so on, at most 256."""
    return int(2 ** min(failures - 1, 8))


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set: a worker then finishes its batch, and ends."""
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        # On a thread: the interrupted code may hold the event's lock.
        signal.signal(name, lambda *_: threading.Thread(target=stopping.set).start())
    return stopping
