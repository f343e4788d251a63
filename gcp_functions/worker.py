"""An example of a worker that processes the events of a subscription: replace `core.worker.print_readings`.

At least once: a message is acknowledged only after its event was processed, so a crash repeats the events that were not
acknowledged. Google's client extends the deadline of those that it has, for up to an hour. Events are processed one
after the other; to process several at a time, run several workers.

Dead letters: an event that fails is given back, and the others go on. Pub/Sub delivers it again after a pause, by the
subscription's retry policy. After as many deliveries as its dead-letter policy allows, 10 with the Terraform here,
Pub/Sub moves it to the dead-letter topic, as it does with a message that the receiver did not publish. In a
subscription with ordering, the later events of its device wait for it.

SIGTERM and SIGINT: the worker finishes the event that it processes, gives back those that it has not begun, and exits
with 0, within seconds. If Pub/Sub is not available, Google's client connects again until it is.

With ``DT_STORE=firestore`` there is no subscription: use Firestore's triggers (gcp_functions/README.md).
"""

import argparse
import os
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.cloud.pubsub_v1 import SubscriberClient
from google.cloud.pubsub_v1.subscriber.scheduler import ThreadScheduler
from google.cloud.pubsub_v1.types import FlowControl

from core.environment import Environment, SettingsError
from core.event import Event, parse_stored, read_time
from core.log import Log
from core.worker import Process, attempt, print_readings, stop_on_signals

# Messages that the worker has at a time.
BATCH = 10
# Seconds for the last acknowledgements, for which Google's client tries for minutes.
_STOPPING = 5.0
_FORM = "projects/PROJECT/subscriptions/SUBSCRIPTION"
_EXAMPLES = """\
examples:
  DT_SUBSCRIPTION="$(output subscription)" python -m gcp_functions.worker
  DT_SUBSCRIPTION=projects/my-project/subscriptions/dt-receiver-events python -m gcp_functions.worker

The subscription takes `subscription = true` in Terraform. Credentials are those of `gcloud auth application-default
login`, GOOGLE_APPLICATION_CREDENTIALS or the machine's service account, with the role Pub/Sub Subscriber.
"""


def work(subscriber: Any, subscription: str, process: Process, log: Log, stopping: threading.Event) -> None:
    """Process until ``stopping`` is set, and finish the event that is being processed then.

    Args:
        subscriber: Google's client, which is closed at the end.
        subscription: Its full name.
        process: Called with each event. Raises if that failed.
        log: Gets failures.
        stopping: Ends the worker.

    Raises:
        google.api_core.exceptions.GoogleAPICallError: Pub/Sub refuses the subscription.
    """
    processing = threading.Lock()

    def handle(message: Any) -> None:
        with processing:
            _handle(message, process, log)

    with subscriber:
        received = subscriber.subscribe(
            subscription,
            handle,
            flow_control=FlowControl(max_messages=BATCH),
            scheduler=ThreadScheduler(ThreadPoolExecutor(1)),
            await_callbacks_on_shutdown=True,
        )
        # It ends by itself only if Pub/Sub refuses.
        received.add_done_callback(lambda _: stopping.set())
        stopping.wait()
        received.cancel()
        with processing:
            pass  # the event is finished
        try:
            received.result(_STOPPING)
        except TimeoutError:
            log.notice("WARNING", "Pub/Sub does not answer. Events that could not be acknowledged come again.")


def _handle(message: Any, process: Process, log: Log) -> None:
    event = _event_of(message)
    if event is None:
        log.notice(
            "ERROR",
            f"Message {message.message_id} was not published by the receiver, and is left to become a dead letter.",
        )
    if event and attempt(process, event, log):
        message.ack()
    else:
        message.nack()


def _event_of(message: Any) -> Event | None:
    attributes = message.attributes
    received_at = read_time(attributes.get("receivedAt"))
    if received_at is None or "key" not in attributes:
        return None
    event = parse_stored(message.data, received_at, attributes.get("signedBy") or "unknown")
    return replace(event, key=attributes["key"])


def main(arguments: Sequence[str] | None = None, process: Process = print_readings) -> None:
    """Run the worker until SIGTERM or SIGINT.

    Raises:
        SystemExit: A setting is missing or wrong, or Pub/Sub refuses; with a sentence.
    """
    argparse.ArgumentParser(
        "python -m gcp_functions.worker",
        description="Process the events of the subscription that DT_SUBSCRIPTION names, each at least once. SIGTERM "
        "ends it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(arguments)
    stopping = stop_on_signals()
    try:
        subscription = _subscription(Environment(os.environ))
        work(SubscriberClient(), subscription, process, Log(), stopping)
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    except GoogleAuthError as error:
        raise SystemExit(
            f"No Google Cloud credentials: {type(error).__name__}. Run `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS."
        ) from None
    except GoogleAPICallError as error:
        raise SystemExit(
            f"Pub/Sub refuses {subscription}: {type(error).__name__}. Check its name, and that your account has the "
            "role Pub/Sub Subscriber on it."
        ) from None


def _subscription(environment: Environment) -> str:
    name = environment.required("DT_SUBSCRIPTION", "the subscription, which the deployment prints as `subscription`")
    if name and not re.fullmatch("projects/[^/]+/subscriptions/[^/]+", name):
        environment.faults.append(f"DT_SUBSCRIPTION must have the form {_FORM}.")
    environment.check()
    return name


if __name__ == "__main__":
    main()
