"""What the workers on the vendors' clients share: the loop, and messages that are not ours."""

import threading
from typing import Protocol

from core.event import Event
from core.log import Log
from core.worker import Process, attempt
from readers import ReaderError
from readers.rows import FOREIGN

# Seconds until the next step if there was nothing to do.
RETRY = 2
# Seconds until the service is called again after it failed, at most.
_LONGEST_PAUSE = 30


class Worker(Protocol):
    """Processes one message, or one batch, at a time.

    Attributes:
        has_received: Whether the service has answered, so that the settings are right.
    """

    has_received: bool

    def step(self) -> bool:
        """Receive and process what there is; return whether to continue at once.

        Raises:
            ReaderError: The service failed.
        """


def run(worker: Worker, stopping: threading.Event, log: Log) -> None:
    """Process until ``stopping`` is set, and finish what was received then.

    Raises:
        ReaderError: The first call failed, so probably a setting is wrong.
    """
    pause = 1
    while not stopping.is_set():
        try:
            is_busy = worker.step()
        except ReaderError as error:
            if not worker.has_received:
                raise
            log.notice("WARNING", f"{error} The worker tries again in {pause} s.")
            stopping.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        else:
            pause = 1
            if not is_busy:
                stopping.wait(RETRY)


def is_processed(event: Event, process: Process, log: Log) -> bool:
    """Process the event of a message; return whether to acknowledge it. A message that is not ours is a failure."""
    if event.fault == FOREIGN:
        log.notice("ERROR", f"Message {event.key} is {FOREIGN}, and is left to become a dead letter.")
        return False
    return attempt(process, event, log)
