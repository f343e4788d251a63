"""An example of a consumer: follows what is stored, month by month, and does something with each event.

Replace `process`. An event is processed at least once: a consumer that dies half-way begins its batch again, and
Cloudant may tell of a document twice (https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-changes-feed). One that fails
`MAX_ATTEMPTS` times is a dead letter: the log has its key, and its document stays where it is.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from core.event import Event
from core.log import Log
from core.readings import readings
from core.receiver import DEADLINE
from core.settings import SettingsError
from core.store import StoreUnavailable
from ibm_actions.cloudant import UNDATED, read_document
from ibm_actions.environment import build_service, database_prefix
from ibm_actions.history import months
from ibm_actions.rest import Service, cause_of

BATCH = 100
MAX_ATTEMPTS = 5
IDLE_SECONDS = 5.0
# Months before this time are looked at only in one of so many rounds: hardly an event comes so late.
LATE = timedelta(days=35)
OLD_EVERY = 60
_EXAMPLES = """\
examples:
  python -m ibm_actions.consumer
  python -m ibm_actions.consumer --name second --since 2026-01

It takes the receiver's settings: DT_CLOUDANT, and DT_CLOUDANT_API_KEY on your desk. See ibm_actions/README.md.
"""

Process = Callable[[Event], None]


def process(event: Event) -> None:
    """Do what you want done with one event; raise if it could not be done."""
    for reading in readings(event):
        value = reading.text if reading.value is None else reading.value
        print(reading.device_id, reading.quantity, value, reading.unit or "", flush=True)


class Consumer:
    """One place in the changes of each database, kept in that database, under a name.

    Args:
        cloudant: The instance.
        prefix: As in `ibm_actions.cloudant.CloudantStore`.
        name: Consumers of different names see each event each; do not run two of one name.
        log: For what goes wrong.
        process: Called with each event.
    """

    def __init__(self, cloudant: Service, prefix: str, name: str, log: Log, process: Process = process) -> None:
        self._cloudant = cloudant
        self._prefix = prefix
        self._checkpoint = f"_local/consumer-{quote(name, safe='')}"
        self._log = log
        self._process = process

    def run(self, since: datetime, stopping: threading.Event) -> None:
        """Process until ``stopping`` is set; the batch at hand is finished first.

        Args:
            since: Events of this month are the first.
            stopping: Set it to end.
        """
        idle = 0
        while not stopping.is_set():
            now = datetime.now(UTC)
            first = since if idle % OLD_EVERY == 0 else max(since, now - LATE)
            found = [
                self._take(month, stopping)
                for month in [*months(first, now + timedelta(days=1)), UNDATED]
                if not stopping.is_set()
            ]
            if not any(found):
                # What could not be read is tried in the next round, however old it is.
                idle += None not in found
                stopping.wait(IDLE_SECONDS)

    def _take(self, month: str, stopping: threading.Event) -> int | None:
        """Process a batch; return how many changes were in it, None if that could not be told."""
        database = f"/{self._prefix}-{month}"
        try:
            return self._take_batch(database, stopping)
        except StoreUnavailable as error:
            self._log.notice("WARNING", f"{database[1:]} cannot be read ({error.cause}); trying again.")
            return None

    def _take_batch(self, database: str, stopping: threading.Event) -> int:
        place = self._call("GET", f"{database}/{self._checkpoint}", missing={})
        since = {"since": place["since"]} if "since" in place else {}
        query = urlencode({"include_docs": "true", "limit": BATCH, **since})
        changes = self._call("GET", f"{database}/_changes?{query}", missing={"results": []})
        for change in changes["results"]:
            document = change.get("doc") or {}
            if "key" in document and not self._process_one(document, stopping):
                return 0
        if changes["results"]:
            self._call("PUT", f"{database}/{self._checkpoint}", {**place, "since": changes["last_seq"]})
        return len(changes["results"])

    def _process_one(self, document: dict[str, Any], stopping: threading.Event) -> bool:
        """Return whether to go on: not if it is to end while an event could not be processed."""
        for attempt in range(MAX_ATTEMPTS):
            if attempt and stopping.wait(2 ** (attempt - 1)):
                return False
            try:
                self._process(read_document(document))
                return True
            except Exception as error:
                self._log.notice("ERROR", f"{document['key']} could not be processed: {type(error).__name__}")
        self._log.notice("ERROR", f"{document['key']} is a dead letter after {MAX_ATTEMPTS} attempts.")
        return True

    def _call(self, method: str, path: str, document: object = None, missing: Any = None) -> dict[str, Any]:
        status, answer = self._cloudant.call(method, path, time.monotonic() + DEADLINE, document)
        if status == 404 and missing is not None:
            return dict(missing)
        if status not in (200, 201):
            raise StoreUnavailable(cause_of(status, answer))
        return dict(answer)


def main() -> None:
    """Process until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m ibm_actions.consumer",
        description="Print the readings of each event that is stored, as soon as it is.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", default="example", help="consumers of different names see each event each")
    parser.add_argument("--since", help="the first month, such as 2026-01; last month if left out")
    asked = parser.parse_args()
    try:
        since = datetime.fromisoformat(f"{asked.since}-01T00:00:00Z") if asked.since else datetime.now(UTC) - LATE
    except ValueError:
        parser.error("--since must be a month, such as 2026-01")
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        # On a thread, because the event's lock may be held right where the signal interrupts.
        signal.signal(name, lambda *_: threading.Thread(target=stopping.set).start())
    try:
        consumer = Consumer(build_service(os.environ), database_prefix(os.environ), asked.name, Log())
    except SettingsError as error:
        sys.exit(str(error))
    consumer.run(since, stopping)


if __name__ == "__main__":
    # JSON allows lone surrogates, which no terminal does.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    main()
