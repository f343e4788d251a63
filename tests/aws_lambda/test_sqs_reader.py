"""What only the reader of SQS has: how it leaves a queue, and what it makes of each message.

moto stands in for SQS, and fauxqs for a FIFO queue. A server of the tests gives the answers that those do not.
"""

import base64
import json
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from aws_lambda.sqs import SqsQueue
from core.event import Event
from readers.query import Query
from readers.rows import FOREIGN
from readers.sources import open_reader
from readers.sqs import event_of, region_of
from tests.aws_lambda.reading import before, failure, timed
from tests.support.aws import REGION, create_queue, sqs_client
from tests.support.deliveries import body
from tests.support.events import POLLEN, event, soon
from tests.support.loopback import Call, Loopback, Reply, fault, loopback, success
from tests.support.moto import MotoServer
from tests.support.processes import ROOT, spawn


@pytest.mark.parametrize("url", ["sqs:dt-receiver-events", "sqs:", "sqs://q"])
def test_queue_is_named_by_its_url(url: str) -> None:
    assert failure(url).startswith("Name the queue by its URL: sqs:https://sqs.REGION.amazonaws.com/ACCOUNT/NAME.")


def numbers(sqs: Any, queue: str) -> tuple[int, int]:
    """Count the messages that consumers can receive, and those that are hidden."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


@pytest.fixture
def sqs(moto: MotoServer, aws: Any) -> Any:
    return aws(moto.url)("sqs")


@pytest.fixture
def queue(sqs: Any) -> str:
    """A queue with 25 events."""
    url = create_queue(sqs)
    for minutes in range(25):
        SqsQueue(sqs, url).send(timed(minutes), soon())
    return url


def test_reader_says_that_reading_counts(queue: str) -> None:
    with open_reader(f"sqs:{queue}") as reader:
        assert reader.is_queue
        assert reader.receiving
        assert "counts as a delivery" in reader.receiving
        assert "FIFO" not in reader.receiving


def test_limit_receives_no_more_than_a_batch_too_many(sqs: Any, queue: str) -> None:
    with open_reader(f"sqs:{queue}") as reader:
        assert len(list(reader.events(Query(limit=12)))) == 12
    assert numbers(sqs, queue) == (25, 0)
    received = [
        message["Attributes"]["ApproximateReceiveCount"]
        for _ in range(3)
        for message in sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, MessageSystemAttributeNames=["ApproximateReceiveCount"]
        )["Messages"]
    ]
    # This time is counted too.
    assert sorted(received) == ["1"] * 5 + ["2"] * 20


def test_messages_are_given_back_after_an_error(moto: MotoServer, sqs: Any, queue: str, aws: Any) -> None:
    """The second receive call fails."""
    count = 0

    def failing(call: Call) -> Reply | None:
        nonlocal count
        count += call.operation == "ReceiveMessage"
        return fault("AccessDeniedException") if count > 1 and call.operation == "ReceiveMessage" else None

    with loopback(before(moto, failing)) as server:
        aws(server.url)
        assert failure(f"sqs:{queue}").startswith("AWS denies reading the queue")
    assert count == 2
    assert numbers(sqs, queue) == (25, 0)


def test_messages_are_given_back_after_an_interrupt(moto: MotoServer, sqs: Any, queue: str) -> None:
    program = (
        "import sys; from readers.sources import open_reader; from readers.query import Query\n"
        "with open_reader(sys.argv[1]) as reader: list(reader.events(Query()))"
    )
    process = spawn([sys.executable, "-c", program, f"sqs:{queue}"], cwd=ROOT, env=moto.environment)
    deadline = time.monotonic() + 30
    # All are received, and it waits for more.
    while numbers(sqs, queue) != (0, 25):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == -signal.SIGINT
    assert numbers(sqs, queue) == (25, 0)


REFUSALS = [
    (fault("AccessDeniedException"), "AWS denies reading the queue"),
    (success(Failed=[{"Id": "0", "Code": "InternalError", "SenderFault": False}]), "SQS answers InternalError."),
]


@pytest.mark.parametrize(("refusal", "begin"), REFUSALS, ids=["all", "some"])
def test_messages_that_could_not_be_given_back_are_mentioned(refusal: Reply, begin: str, aws: Any) -> None:
    message = {"MessageId": "m", "ReceiptHandle": "r", "Body": "text"}

    answers = [success(Messages=[message]), success()]

    def answering(call: Call) -> Reply:
        return answers.pop(0) if call.operation == "ReceiveMessage" else refusal

    with loopback(answering) as server:
        aws(server.url)
        sentence = failure("sqs:http://127.0.0.1/1/q")
    assert sentence.startswith(begin)
    assert sentence.endswith("could not be given back; consumers see them again within 5 minutes.")


@pytest.fixture
def busy(aws: Any) -> Iterator[Loopback]:
    """A queue that always has another message, sent a minute after it was received first."""
    began = datetime.now(UTC).timestamp()

    def answering(call: Call) -> Reply:
        if call.operation != "ReceiveMessage":
            return success()
        number = len(server.calls)
        sent = {"SentTimestamp": str(int((began + 60 * (number > 3)) * 1000))}
        return success(Messages=[{"MessageId": f"{number}", "ReceiptHandle": "r", "Body": "text", "Attributes": sent}])

    with loopback(answering) as server:
        aws(server.url)
        yield server


def test_queue_that_never_is_empty_is_read_to_the_end(busy: Loopback) -> None:
    with open_reader("sqs:http://127.0.0.1/1/q") as reader:
        assert len(list(reader.events(Query()))) == 6


def test_too_many_messages_are_an_error(busy: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("readers.sqs._RECEIVING", -1)
    assert failure("sqs:http://127.0.0.1/1/q").startswith("The queue has more messages than could be received")


def test_fifo_queue_shows_the_next_events_of_each_device(fauxqs: str, aws: Any) -> None:
    aws(fauxqs)
    sqs = sqs_client(fauxqs)
    queue = create_queue(sqs, fifo=True)
    for minutes in (3, 2, 1):
        for device in ("a", "b"):
            SqsQueue(sqs, queue).send(timed(minutes, device=device), soon())
    with open_reader(f"sqs:{queue}") as reader:
        assert reader.receiving
        assert reader.receiving.endswith("Of a FIFO queue only the next few events of each device can be seen.")
        for _ in range(2):
            assert {(one.device_id, one.event_id) for one in reader.events(Query())} == {("a", "e3"), ("b", "e3")}
    assert numbers(sqs, queue) == (6, 0)


def from_pipe(one: Event, **changes: object) -> dict[str, Any]:
    document = {**one.attributes(), "bodyBase64": base64.b64encode(one.body).decode(), **changes}
    return {"MessageId": "m", "Body": json.dumps(document)}


@pytest.mark.parametrize("content", [body(), POLLEN, b"", b"\xff"])
def test_message_of_the_pipe_is_its_event(content: bytes) -> None:
    one = event(content)
    # The template says of which the pipe makes what it does of a missing field.
    for missing in ({}, {"deviceId": None}, {"deviceId": ""}):
        assert event_of(from_pipe(one, **missing)) == one


@pytest.mark.parametrize(
    "message",
    [
        {"Body": "text"},
        {"Body": "{}"},
        {"Body": "7"},
        {"Body": "[" * 100_000},
        {"Body": "text", "MessageAttributes": {"key": {"StringValue": "k", "DataType": "String"}}},
        {"Body": "text", "MessageAttributes": {"key": {"BinaryValue": b"k", "DataType": "Binary"}}},
        from_pipe(event(), bodyBase64=7),
        from_pipe(event(), bodyBase64="é"),
        from_pipe(event(), receivedAt="yesterday"),
        from_pipe(event(), key=None),
    ],
)
def test_other_message_is_foreign(message: dict[str, Any]) -> None:
    assert event_of({"MessageId": "m"} | message).fault == FOREIGN


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/q", "eu-west-1"),
        ("https://sqs-fips.us-east-1.amazonaws.com/123456789012/q", "us-east-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q", "cn-north-1"),
        ("https://sqs.eu-west-1.api.aws/123456789012/q", "eu-west-1"),
        ("http://127.0.0.1:4566/1/q", None),
    ],
)
def test_region_is_that_of_the_queue(url: str, region: str | None) -> None:
    assert region_of(url) == region != REGION
