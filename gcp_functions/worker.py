"""An example of a worker that processes the events of a subscription; several may run concurrently.

Replace `process`. At least once: a message is acknowledged only after its event was processed, so a crash repeats up to
a batch, after `HIDDEN` seconds. A batch that takes longer comes twice.

Dead letters: an event that fails is given back, and Pub/Sub delivers it again after the subscription's delay, 10 to
600 s in the deployment. After as many deliveries as its dead-letter policy allows, 10 in the deployment, Pub/Sub moves
it to the topic of dead letters, as it does with a message that the receiver did not send.

SIGTERM and SIGINT: the worker finishes its batch, acknowledges what was processed, and exits with 0, within 6 s if
there is no batch. If Pub/Sub fails, the worker logs that and tries again.
"""

import argparse
import os
from collections.abc import Sequence
from typing import Any

from google.api_core.exceptions import DeadlineExceeded
from google.cloud.pubsub_v1 import SubscriberClient

from core.environment import Environment, SettingsError
from core.log import Log
from core.worker import Process, print_readings, stop_on_signals
from readers import ReaderError
from readers.gcp import TIMEOUT, asked, reading
from readers.pubsub import event_of
from readers.worker import is_processed, run

BATCH = 10
# Seconds for which Pub/Sub hides received messages: the longest possible.
HIDDEN = 600
# Seconds to wait for messages, which SIGTERM does not end.
_WAIT = 5.0
# Replace it: called with each event, and raises if that failed.
process: Process = print_readings
_ROLE = "roles/pubsub.subscriber on the subscription"
_EXAMPLES = """\
examples:
  python -m gcp_functions.worker projects/PROJECT/subscriptions/SUBSCRIPTION
  DT_SUBSCRIPTION=projects/PROJECT/subscriptions/SUBSCRIPTION python -m gcp_functions.worker

Credentials are those of Google's tools: `gcloud auth application-default login`, GOOGLE_APPLICATION_CREDENTIALS, or the
service account of the machine. They need the role Pub/Sub Subscriber on the subscription.
"""


class Worker:
    """Processes the messages of one subscription.

    Args:
        client: Google's client.
        subscription: Its full name.
        process: Called with each event. Raises if that failed.
        log: Gets failures.
    """

    def __init__(self, client: SubscriberClient, subscription: str, process: Process, log: Log) -> None:
        self._client = client
        self._subscription = subscription
        self._what = f"the subscription {subscription}"
        self._process = process
        self._log = log
        self.has_received = False

    def step(self) -> bool:
        """Process a batch; see `readers.worker.Worker`."""
        messages = self._pull()
        self.has_received = True
        self._finish(messages)
        return True  # to pull is to wait

    def _pull(self) -> Sequence[Any]:
        # The client's streaming pull takes more messages than it processes, and gives them back when it ends.
        request = {"subscription": self._subscription, "max_messages": BATCH}
        with reading(self._what, _ROLE):
            try:
                found = self._client.pull(request=request, timeout=_WAIT, retry=None).received_messages
            except DeadlineExceeded:
                return []
        self._delay([one.ack_id for one in found], HIDDEN)
        return list(found)

    def _finish(self, messages: Sequence[Any]) -> None:
        processed: list[str] = []
        failed: list[str] = []
        for one in messages:
            (processed if is_processed(event_of(one.message), self._process, self._log) else failed).append(one.ack_id)
        if processed:
            request = {"subscription": self._subscription, "ack_ids": processed}
            asked(lambda: self._client.acknowledge(request=request, timeout=TIMEOUT, retry=None), self._what, _ROLE)
        self._delay(failed, 0)

    def _delay(self, ack_ids: list[str], seconds: int) -> None:
        if ack_ids:
            request = {"subscription": self._subscription, "ack_ids": ack_ids, "ack_deadline_seconds": seconds}
            change = self._client.modify_ack_deadline
            asked(lambda: change(request=request, timeout=TIMEOUT, retry=None), self._what, _ROLE)


def main(arguments: Sequence[str] | None = None, process: Process = process) -> None:
    """Run the worker until SIGTERM or SIGINT.

    Raises:
        SystemExit: A setting is missing or wrong, with a sentence.
    """
    parser = argparse.ArgumentParser(
        "python -m gcp_functions.worker",
        description="Process the events of a subscription, each at least once. SIGTERM ends it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("subscription", nargs="?", help="its full name; by default DT_SUBSCRIPTION")
    subscription = parser.parse_args(arguments).subscription
    environment = Environment(os.environ)
    subscription = subscription or environment.required("DT_SUBSCRIPTION", "the full name of the subscription")
    stopping = stop_on_signals()
    try:
        environment.check()
        with reading(f"the subscription {subscription}", _ROLE):
            client = SubscriberClient()
        with client:
            log = Log()
            run(Worker(client, subscription, process, log), stopping, log)
    except (SettingsError, ReaderError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
