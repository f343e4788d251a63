"""An example of a worker that processes the events of the queue; several may run concurrently.

Replace `process`. At least once: a message is deleted only after its event was processed, so a crash repeats up to a
batch. The queue's visibility timeout, 30 s unless you set another, has to be longer than a batch takes; a longer batch
comes twice.

Dead letters: an event that fails is hidden for 1, 2, 4 s and so on, and the others go on. After as
many failures as the queue's redrive policy allows, 10 in the template, SQS moves it to the queue's dead-letter queue,
as it does with a message that the receiver did not send. In a FIFO queue the later events of its device wait for it.

SIGTERM and SIGINT: the worker finishes its batch, deletes what was processed, and exits with 0, within 5 s if there is
no batch. If SQS fails, the worker logs that and tries again.

With ``DT_STORE=dynamodb``, deploy with ``Queue=yes``: a pipe then copies the table's stream into a queue, and this
worker reads its messages too. A worker on the stream itself would have to follow its shards; AWS's library for that is
the Kinesis Client Library with the DynamoDB Streams adapter, or let the stream invoke a Lambda function.
"""

import argparse
import os
from collections.abc import Sequence
from typing import Any

from core.environment import Environment, SettingsError
from core.log import Log
from core.worker import Process, print_readings, stop_on_signals, wait_after
from readers import ReaderError
from readers.aws import client, reading
from readers.sqs import event_of, region_of
from readers.worker import is_processed, run

BATCH = 10
# Seconds of a receive call without messages, which SIGTERM does not end. Idle, this is half a million calls a month,
# or 0.21 US$ (https://aws.amazon.com/sqs/pricing/).
_WAIT = 5
# Replace it: called with each event, and raises if that failed.
process: Process = print_readings
_NEEDS = "sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility"
_EXAMPLES = """\
examples:
  DT_QUEUE_URL="$(output QueueUrl)" python -m aws_lambda.worker
  DT_QUEUE_URL=https://sqs.eu-west-1.amazonaws.com/123456789012/dt-receiver-events python -m aws_lambda.worker

Credentials are those of the AWS CLI: `aws configure`, `aws sso login`, AWS_PROFILE, or the role of the machine.
They need sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility on the queue.
"""


class Worker:
    """Processes messages of one queue.

    Args:
        sqs: boto3's client.
        url: The queue; for a FIFO queue it ends in ``.fifo``.
        process: Called with each event. Raises if that failed.
        log: Gets failures.
    """

    def __init__(self, sqs: Any, url: str, process: Process, log: Log) -> None:
        self._sqs = sqs
        self._url = url
        self._process = process
        self._log = log
        self.has_received = False
        # Messages that come together fail together: in a FIFO queue, one event would make dead letters of all that
        # wait for it.
        self._batch = 1 if url.endswith(".fifo") else BATCH

    def step(self) -> bool:
        """Process a batch; see `readers.worker.Worker`."""
        messages = self._receive()
        self.has_received = True
        self._finish(messages)
        return True  # to receive is to wait

    def _receive(self) -> list[dict[str, Any]]:
        with reading(f"the queue {self._url}", _NEEDS):
            answer = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=self._batch,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
                WaitTimeSeconds=_WAIT,
            )
        return list(answer.get("Messages", []))

    def _finish(self, messages: Sequence[dict[str, Any]]) -> None:
        processed: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []
        for message in messages:
            entry = {"Id": message["MessageId"], "ReceiptHandle": message["ReceiptHandle"]}
            if is_processed(event_of(message), self._process, self._log):
                processed.append(entry)
            else:
                failures = int(message["Attributes"]["ApproximateReceiveCount"])
                failed.append(entry | {"VisibilityTimeout": wait_after(failures)})
        with reading(f"the queue {self._url}", _NEEDS):
            if processed:
                self._sqs.delete_message_batch(QueueUrl=self._url, Entries=processed)
            if failed:
                self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=failed)


def main(arguments: Sequence[str] | None = None, process: Process = process) -> None:
    """Run the worker until SIGTERM or SIGINT.

    Raises:
        SystemExit: A setting is missing or wrong, with a sentence.
    """
    argparse.ArgumentParser(
        "python -m aws_lambda.worker",
        description="Process the events of the queue that DT_QUEUE_URL names, each at least once. SIGTERM ends it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(arguments)
    stopping = stop_on_signals()
    environment = Environment(os.environ)
    url = environment.required("DT_QUEUE_URL", "the queue, which the deployment prints as QueueUrl")
    try:
        environment.check()
        sqs = client("sqs", region_of(url))
        try:
            log = Log()
            run(Worker(sqs, url, process, log), stopping, log)
        finally:
            sqs.close()
    except (SettingsError, ReaderError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
