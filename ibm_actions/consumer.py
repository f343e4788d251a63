"""An example of a consumer that follows the changes of every database, and processes each event.

Replace `process`. An event is processed at least once: after a crash a consumer repeats its batch, and Cloudant may
report a document twice (https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-changes-feed). An event that fails
`MAX_ATTEMPTS` times is a dead letter: the log has its key, and its document stays.
"""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from core.environment import Environment, SettingsError
from core.event import Event
from core.log import Log
from core.readings import readings
from core.receiver import DEADLINE
from core.stores.contract import StoreUnavailableError
from core.text import printable
from ibm_actions.cloudant import read_document
from ibm_actions.databases import Databases, select, touches
from ibm_actions.service import Service, cause_of
from ibm_actions.wiring import build_databases, build_service

BATCH = 100
MAX_ATTEMPTS = 5
IDLE_SECONDS = 5.0
# Older databases are read only once in this many rounds, because few events arrive that late.
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
    """Process one event; raise if that failed. Replace this with your own code."""
    for reading in readings(event):
        value = reading.text if reading.value is None else f"{reading.value:.10g}"
        print(printable(f"{reading.device_id} {reading.quantity} {value} {reading.unit or ''}"), flush=True)


class Consumer:
    """A named position in each database's changes, stored in that database.

    Args:
        cloudant: The instance.
        databases: Lists the databases.
        name: Consumers with different names each see every event; do not run two with the same name.
        log: Gets errors.
        process: Called with each event.
    """

    def __init__(
        self, cloudant: Service, databases: Databases, name: str, log: Log, process: Process = process
    ) -> None:
        self._cloudant = cloudant
        self._databases = databases
        self._checkpoint = f"_local/consumer-{quote(name, safe='')}"
        self._log = log
        self._process = process

    def run(self, since: datetime, stopping: threading.Event) -> None:
        """Process until ``stopping`` is set; finish the current batch first.

        Args:
            since: Events that arrived earlier are skipped.
            stopping: Set it to end.
        """
        idle = 0
        while not stopping.is_set():
            found = self._round(since, stopping, is_whole=idle % OLD_EVERY == 0)
            if not any(found):
                # Databases that could not be read are retried in the next round, however old they are.
                idle += None not in found
                stopping.wait(IDLE_SECONDS)

    def _round(self, since: datetime, stopping: threading.Event, *, is_whole: bool) -> list[int | None]:
        """Process a batch of each database; return its number of changes, None if it could not be read."""
        try:
            names = self._databases.names(time.monotonic() + DEADLINE)
        except StoreUnavailableError as error:
            self._log.notice("WARNING", f"The databases cannot be read ({error.reason}); trying again.")
            return [None]
        now = datetime.now(UTC)
        first, last = f"{now - LATE:%Y-%m}", f"{now + timedelta(days=1):%Y-%m}"
        # Databases of past periods: only changes after the first look are processed.
        whole = select(names, since)
        return [
            self._take(name, since if name in whole else None, stopping)
            for name in names
            if (is_whole or touches(name, first, last)) and not stopping.is_set()
        ]

    def _take(self, name: str, since: datetime | None, stopping: threading.Event) -> int | None:
        database = self._databases.full_name(name)
        try:
            return self._take_batch(f"/{database}", since, stopping)
        except StoreUnavailableError as error:
            self._log.notice("WARNING", f"{database} cannot be read ({error.reason}); trying again.")
            return None

    def _take_batch(self, database: str, since: datetime | None, stopping: threading.Event) -> int:
        place = self._call("GET", f"{database}/{self._checkpoint}", missing={})
        begin = place.get("since", "0" if since else "now")
        query = urlencode({"include_docs": "true", "limit": BATCH, "since": begin})
        found = self._call("GET", f"{database}/_changes?{query}", missing={"results": []})
        changes = found.get("results")
        if type(changes) is not list:
            raise StoreUnavailableError("HTTP 200")
        for change in changes:
            document = change.get("doc") or {}
            if "key" in document and not self._process_one(document, since, stopping):
                return 0
        if "last_seq" in found and (changes or begin == "now"):
            self._call("PUT", f"{database}/{self._checkpoint}", {**place, "since": found["last_seq"]})
        return len(changes)

    def _process_one(self, document: Mapping[str, Any], since: datetime | None, stopping: threading.Event) -> bool:
        """Return whether to continue: False if stopped while an event still fails."""
        try:
            event = read_document(document)
        except ValueError:
            self._log.notice("ERROR", f"The document {document.get('_id')} is no event.")
            return True
        if since and event.received_at < since:
            return True
        for attempt in range(MAX_ATTEMPTS):
            if attempt and stopping.wait(2 ** (attempt - 1)):
                return False
            try:
                self._process(event)
                return True
            except Exception as error:
                self._log.notice("ERROR", f"{event.key} could not be processed: {type(error).__name__}")
        self._log.notice("ERROR", f"{event.key} is a dead letter after {MAX_ATTEMPTS} attempts.")
        return True

    def _call(self, method: str, path: str, document: object = None, missing: Any = None) -> dict[str, Any]:
        status, answer = self._cloudant.call(method, path, time.monotonic() + DEADLINE, document)
        if status == 404 and missing is not None:
            return dict(missing)
        if status not in (200, 201):
            raise StoreUnavailableError(cause_of(status, answer))
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
    parser.add_argument(
        "--since", help="pass over what arrived before this month, such as 2026-01; last month if left out"
    )
    asked = parser.parse_args()
    try:
        since = datetime.fromisoformat(f"{asked.since}-01T00:00:00Z") if asked.since else datetime.now(UTC) - LATE
    except ValueError:
        parser.error("--since must be a month, such as 2026-01")
    stopping = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        # On a thread: the interrupted code may hold the event's lock.
        signal.signal(name, lambda *_: threading.Thread(target=stopping.set).start())
    try:
        environment = Environment(os.environ)
        cloudant = build_service(environment)
        consumer = Consumer(cloudant, build_databases(environment, cloudant), asked.name, Log())
    except SettingsError as error:
        sys.exit(str(error))
    consumer.run(since, stopping)


if __name__ == "__main__":
    # Some terminals cannot show the degree sign.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    main()
