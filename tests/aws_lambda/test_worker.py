"""The worker as a program: repetition, dead letters, signals, and an SQS that goes away.

moto stands in for SQS, and fauxqs where the order of a FIFO queue matters.
"""

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aws_lambda.sqs import SqsQueue
from core.event import Event
from tests.support.aws import environment, sqs_client
from tests.support.deliveries import body
from tests.support.events import event, soon
from tests.support.moto import MotoServer
from tests.support.processes import ROOT, Program
from tests.support.proxy import Mode, Proxy
from tests.support.workers import Start, named, said, starting, wait_until

pytestmark = pytest.mark.long

# Seconds for which moto hides a received message.
HIDDEN = 3


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path, "aws_lambda") as start:
        yield start


def at(server: str, queue: str) -> dict[str, str]:
    return environment(server) | {"DT_QUEUE_URL": queue}


def new_queue(sqs: Any, most: int = 10, **attributes: str) -> tuple[str, str]:
    """Create a queue with a dead-letter queue, as the template does; return the URL of each."""
    end = ".fifo" if "FifoQueue" in attributes else ""
    letters = sqs.create_queue(QueueName=f"d{uuid.uuid4().hex}{end}", Attributes=attributes)["QueueUrl"]
    target = sqs.get_queue_attributes(QueueUrl=letters, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    attributes |= {
        "VisibilityTimeout": str(HIDDEN),
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": most}),
    }
    return sqs.create_queue(QueueName=f"q{uuid.uuid4().hex}{end}", Attributes=attributes)["QueueUrl"], letters


def send(sqs: Any, queue: str, *events: Event) -> None:
    for one in events:
        SqsQueue(sqs, queue).send(one, soon())


def left(sqs: Any, queue: str) -> int:
    """Count the messages in a queue, also those that are received."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

    def count() -> int:
        return sum(map(int, sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"].values()))

    # Twice: moto counts a message in neither if it becomes visible just then.
    return max(count(), count())


def test_kill_in_the_middle_of_a_batch_loses_no_event(moto: MotoServer, start: Start) -> None:
    sqs = moto.client("sqs")
    queue, _ = new_queue(sqs)
    send(sqs, queue, *(named(f"e{number}") for number in range(20)))
    first = start(at(moto.url, queue), seconds=0.1)
    wait_until(lambda: len(said(first, "processed")) >= 14)
    first.stop(signal.SIGKILL)
    done = said(first, "processed")
    assert left(sqs, queue) == 10
    second = start(at(moto.url, queue))
    wait_until(lambda: not left(sqs, queue))
    assert {*done, *said(second, "processed")} == {f"e{number}" for number in range(20)}
    # The batch that was killed comes again, and none that was finished.
    assert len(said(second, "processed")) == 10


def test_sigterm_finishes_the_batch_and_deletes_only_what_was_processed(moto: MotoServer, start: Start) -> None:
    sqs = moto.client("sqs")
    queue, _ = new_queue(sqs)
    send(sqs, queue, *(named(f"e{number}" if number else "poison") for number in range(20)))
    program = start(at(moto.url, queue), seconds=0.1)
    wait_until(lambda: len(said(program, "began")) == 3)
    began = time.monotonic()
    assert program.stop() == 0
    assert time.monotonic() - began < 5
    assert len(said(program, "began")) == 10
    assert len(said(program, "processed")) == 9
    assert left(sqs, queue) == 11


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_an_idle_worker_within_seconds(moto: MotoServer, start: Start, number: signal.Signals) -> None:
    sqs = moto.client("sqs")
    queue, _ = new_queue(sqs)
    send(sqs, queue, named("e1"))
    program = start(at(moto.url, queue))
    wait_until(lambda: said(program, "processed") and not left(sqs, queue))
    began = time.monotonic()
    assert program.stop(number) == 0
    assert time.monotonic() - began < 8
    assert "Traceback" not in program.output()


def test_failing_event_becomes_a_dead_letter_while_the_others_go_on(moto: MotoServer, start: Start) -> None:
    sqs = moto.client("sqs")
    queue, letters = new_queue(sqs, most=3)
    send(sqs, queue, named("poison"), named("e1"))
    sqs.send_message(QueueUrl=queue, MessageBody="theirs")
    program = start(at(moto.url, queue))
    wait_until(lambda: said(program, "processed") == ["e1"])
    send(sqs, queue, named("e2"))
    wait_until(lambda: said(program, "processed") == ["e1", "e2"])
    wait_until(lambda: left(sqs, letters) == 2)
    assert said(program, "began").count("poison") == 3
    wait_until(lambda: not left(sqs, queue))
    assert {
        message["Body"] for message in sqs.receive_message(QueueUrl=letters, MaxNumberOfMessages=10)["Messages"]
    } == {
        "theirs",
        named("poison").body.decode(),
    }
    assert "a secret" not in program.output()
    assert "not written by the receiver" in program.output()


def test_fifo_event_that_fails_holds_up_its_device_alone(fauxqs: str, start: Start) -> None:
    sqs = sqs_client(fauxqs)
    queue, letters = new_queue(sqs, most=3, FifoQueue="true")
    send(sqs, queue, named("poison", "a"), named("a1", "a"), named("b1", "b"), named("a2", "a"), named("b2", "b"))
    program = start(at(fauxqs, queue))
    wait_until(lambda: len(said(program, "processed")) == 4)
    assert said(program, "processed") == ["b1", "b2", "a1", "a2"]
    assert said(program, "began").count("poison") == 3
    wait_until(lambda: (left(sqs, queue), left(sqs, letters)) == (0, 1))


def test_worker_goes_on_when_sqs_is_back(moto: MotoServer, start: Start) -> None:
    sqs = moto.client("sqs")
    queue, _ = new_queue(sqs)
    proxy = Proxy(moto.port)
    try:
        program = start(at(f"http://127.0.0.1:{proxy.port}", queue), seconds=0.2)
        send(sqs, queue, *(named(f"e{number}") for number in range(5)))
        # It has the events, and cannot delete them.
        wait_until(lambda: said(program, "began"))
        proxy.set(Mode.REFUSE)
        wait_until(lambda: "tries again" in program.output())
        proxy.set(Mode.PASS)
        send(sqs, queue, named("later"))
        wait_until(lambda: not left(sqs, queue))
        assert set(said(program, "processed")) == {"later", *(f"e{number}" for number in range(5))}
        assert program.stop() == 0
    finally:
        proxy.close()


def test_readings_are_printed(moto: MotoServer, start: Start) -> None:
    sqs = moto.client("sqs")
    queue, _ = new_queue(sqs)
    send(sqs, queue, event(body()))
    program = start(at(moto.url, queue), module="aws_lambda.worker")
    wait_until(lambda: not left(sqs, queue))
    assert program.output().startswith("emucdd6ef2eu277bo8f52vg temperature ")


def test_help_has_examples() -> None:
    program = subprocess.run(
        [sys.executable, "-m", "aws_lambda.worker", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "examples:\n  DT_QUEUE_URL=" in program.stdout


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"DT_QUEUE_URL": ""}, "DT_QUEUE_URL is not set: the queue, which the deployment prints as QueueUrl."),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "No AWS credentials: NoCredentialsError. Run"),
        (
            {"DT_QUEUE_URL": "http://127.0.0.1/1/never-created"},
            "Cannot find the queue http://127.0.0.1/1/never-created",
        ),
    ],
)
def test_wrong_setting_is_one_sentence(moto: MotoServer, tmp_path: Path, change: dict[str, str], sentence: str) -> None:
    environ = moto.environment | {"DT_QUEUE_URL": "http://127.0.0.1/1/q"} | change
    program = Program("aws_lambda.worker", {name: value for name, value in environ.items() if value}, tmp_path)
    assert program.process.wait(30) == 1
    assert program.output().startswith(sentence)
    assert len(program.output().splitlines()) == 1
    program.close()
