"""An example of a worker that follows the changes of every database, and processes each event.

Replace `process`. At least once: the worker stores its position in each database only after a batch was processed, so a
crash repeats up to a batch, and Cloudant may report a document again
(https://cloud.ibm.com/docs/Cloudant?topic=Cloudant-changes-feed). The position is the document
``_local/consumer-NAME``. Workers with different names each process every event; do not run two with the same name.

Dead letters: an event that fails `core.worker.MAX_ATTEMPTS` times, 1, 2, 4 s and so on apart, is named in the log,
and its document stays in the database. The later events wait for it until then. A document that the receiver did not
write is named in the log, and skipped.

SIGTERM and SIGINT: the worker finishes its batch, stores its position, and exits with 0, within seconds if there is no
batch. If an event fails at that moment, the position is not stored, and the next start begins the batch again. If
Cloudant fails, the worker logs that and tries again.
"""

import argparse
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from ibm_cloud_sdk_core.authenticators import (
    Authenticator,
    BasicAuthenticator,
    ContainerAuthenticator,
    IAMAuthenticator,
)

from core.environment import Environment, SettingsError
from core.event import Event
from core.log import Log
from core.worker import MAX_ATTEMPTS, Process, attempt, print_readings, stop_on_signals, wait_after
from ibm_actions.wiring import Cloudant, read_cloudant, read_databases
from readers import ReaderError
from readers.ibm import Instance, events_of, select, touches
from readers.rows import FOREIGN

BATCH = 100
IDLE_SECONDS = 5.0
# Older databases are read only once in this many rounds, because few events arrive that late.
LATE = timedelta(days=35)
OLD_EVERY = 60
# Replace it: called with each event, and raises if that failed.
process: Process = print_readings
_EXAMPLES = """\
examples:
  python -m ibm_actions.worker
  python -m ibm_actions.worker --name second --since 2026-01

The settings are the receiver's: DT_CLOUDANT, and on your desk DT_CLOUDANT_API_KEY, a key with the role Writer on the
instance. See ibm_actions/README.md.
"""


class Worker:
    """Processes the changes of a receiver's databases.

    Args:
        instance: The instance of Cloudant.
        prefix: What the names of the databases begin with.
        name: The worker's, under which its positions are stored.
        process: Called with each event. Raises if that failed.
        log: Gets failures.
    """

    def __init__(self, instance: Instance, prefix: str, name: str, process: Process, log: Log) -> None:
        self._instance = instance
        self._prefix = prefix
        self._checkpoint = f"consumer-{name}"
        self._process = process
        self._log = log

    def run(self, since: datetime, stopping: threading.Event) -> None:
        """Process until ``stopping`` is set, and finish the batch then.

        Args:
            since: Events that arrived earlier are skipped.
            stopping: Set it to end.

        Raises:
            ReaderError: The first call failed, so probably a setting is wrong.
        """
        names = self._instance.names(self._prefix)
        idle = 0
        while not stopping.is_set():
            try:
                found = self._round(names, since, stopping, is_whole=idle % OLD_EVERY == 0)
                if not any(found):
                    # Databases that could not be read are tried again in the next round, however old they are.
                    idle += None not in found
                    stopping.wait(IDLE_SECONDS)
                names = self._instance.names(self._prefix)
            except ReaderError as error:
                self._log.notice("WARNING", f"{error} The worker tries again.")
                stopping.wait(IDLE_SECONDS)

    def _round(
        self, names: list[str], since: datetime, stopping: threading.Event, *, is_whole: bool
    ) -> list[int | None]:
        """Process a batch of each database; return its number of changes, None if it could not be read."""
        now = datetime.now(UTC)
        first, last = f"{now - LATE:%Y-%m}", f"{now + timedelta(days=1):%Y-%m}"
        # Databases of past periods: only changes after the first look are processed.
        whole = select(names, since)
        return [
            self._take(f"{self._prefix}-{name}", since if name in whole else None, stopping)
            for name in names
            if (is_whole or touches(name, first, last)) and not stopping.is_set()
        ]

    def _take(self, database: str, since: datetime | None, stopping: threading.Event) -> int | None:
        try:
            return self._take_batch(database, since, stopping)
        except ReaderError as error:
            self._log.notice("WARNING", f"{database}: {error} The worker tries again.")
            return None

    def _take_batch(self, database: str, since: datetime | None, stopping: threading.Event) -> int:
        client, ask = self._instance.client, self._instance.ask
        # Without the header, CouchDB calls its answer plain text, and the SDK does not parse it.
        json = "application/json"
        place = ask("_id", client.get_local_document, database, self._checkpoint, accept=json, missing={})
        begin = place.get("since", "0" if since else "now")
        nothing: dict[str, Any] = {"results": []}
        found = ask(
            "results", client.post_changes, database, since=begin, limit=BATCH, include_docs=True, missing=nothing
        )
        changes = found["results"]
        for event in events_of([change.get("doc") for change in changes]):
            if not self._process_one(event, since, stopping):
                return 0
        if "last_seq" in found and (changes or begin == "now"):
            position = {**place, "since": found["last_seq"]}
            ask("ok", client.put_local_document, database, self._checkpoint, position)
        return len(changes)

    def _process_one(self, event: Event, since: datetime | None, stopping: threading.Event) -> bool:
        """Return whether to continue: False if stopped while an event still fails."""
        if event.fault == FOREIGN:
            self._log.notice("ERROR", f"The document {event.key} is {FOREIGN}, and is skipped.")
            return True
        if since and event.received_at < since:
            return True
        for failures in range(MAX_ATTEMPTS):
            if failures and stopping.wait(wait_after(failures)):
                return False
            if attempt(self._process, event, self._log):
                return True
        self._log.notice("ERROR", f"{event.key} is a dead letter after {MAX_ATTEMPTS} attempts.")
        return True


def connect(cloudant: Cloudant) -> Instance:
    """Return the instance that the receiver's settings name.

    Raises:
        ReaderError: IBM's SDK refuses the credentials.
    """
    try:
        # The worker itself tries again: a call must not hold up SIGTERM.
        return Instance(cloudant.address, _authenticator(cloudant), "Writer", is_patient=False)
    except ValueError:
        raise ReaderError(
            "IBM's SDK refuses the credentials: they may not begin or end with a brace or a quote."
        ) from None


def _authenticator(cloudant: Cloudant) -> Authenticator:
    if cloudant.user:
        return BasicAuthenticator(unquote(cloudant.user), unquote(cloudant.password))
    if cloudant.profile:
        return ContainerAuthenticator(iam_profile_id=cloudant.profile, url=cloudant.iam)
    return IAMAuthenticator(cloudant.api_key, url=cloudant.iam)


def main(arguments: Sequence[str] | None = None, process: Process = process) -> None:
    """Run the worker until SIGTERM or SIGINT.

    Raises:
        SystemExit: A setting is missing or wrong, with a sentence.
    """
    parser = argparse.ArgumentParser(
        "python -m ibm_actions.worker",
        description="Process the events in the databases at DT_CLOUDANT as they arrive, each at least once. SIGTERM "
        "ends it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--name", default="example", help="workers with different names each process every event")
    parser.add_argument("--since", help="skip what arrived before this month, such as 2026-01; last month if left out")
    given = parser.parse_args(arguments)
    try:
        since = datetime.fromisoformat(f"{given.since}-01T00:00:00Z") if given.since else datetime.now(UTC) - LATE
    except ValueError:
        parser.error("--since must be a month, such as 2026-01")
    stopping, environment = stop_on_signals(), Environment(os.environ)
    try:
        prefix, _ = read_databases(environment)
        instance = connect(read_cloudant(environment))
        try:
            Worker(instance, prefix, given.name, process, Log()).run(since, stopping)
        finally:
            instance.close()
    except (SettingsError, ReaderError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
