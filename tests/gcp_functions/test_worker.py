"""The worker as a program: repetition, dead letters, signals, and a Pub/Sub that goes away.

Google's emulator is Pub/Sub, with dead letters.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gcp_functions.pubsub import PubSubQueue
from gcp_functions.service import connect
from tests.gcp_functions.grpc_front import PubSubFront
from tests.support.deliveries import body
from tests.support.events import event, soon
from tests.support.google import Emulator, PubSub, call, emulator
from tests.support.processes import ROOT, Program
from tests.support.proxy import Mode, Proxy

# A changed example, as users write: it takes a while, and fails for some events.
OWN = """
import os, time

from gcp_functions.worker import main

def process(event):
    print("began", event.event_id, flush=True)
    time.sleep(float(os.environ["SECONDS"]))
    if "poison" in event.event_id:
        raise ValueError("a secret")
    print("processed", event.event_id, flush=True)

main([], process)
"""

Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a worker for a subscription, and kill it after the test."""
    (tmp_path / "own.py").write_text(OWN)
    with contextlib.ExitStack() as stack:

        def start(host: str, subscription: str, seconds: float = 0, module: str = "own") -> Program:
            environ = {"PUBSUB_EMULATOR_HOST": host, "DT_SUBSCRIPTION": subscription, "SECONDS": str(seconds)}
            program = Program(module, environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}, tmp_path)
            stack.callback(program.close)
            stack.callback(program.stop, signal.SIGKILL)
            return program

        yield start


class Work:
    """A topic and a subscription with dead letters after 5 deliveries, the fewest that there are.

    Attributes:
        subscription: The full name.
        letters: The topic of the dead letters, and its subscription.
    """

    def __init__(self, server: Emulator) -> None:
        self._host = server.host
        self._topic, self.letters = PubSub(server.host), PubSub(server.host)
        self.subscription = f"projects/tests/subscriptions/w{uuid.uuid4().hex}"
        policy = {"deadLetterTopic": self.letters.topic, "maxDeliveryAttempts": 5}
        settings = {"topic": self._topic.topic, "ackDeadlineSeconds": 10, "deadLetterPolicy": policy}
        call(self._host, "PUT", self.subscription, settings)

    def send(self, *names: str) -> None:
        """Publish events with these ids."""
        for name in names:
            PubSubQueue(connect("", self._host), self._topic.topic).send(event(body(eventId=name)), soon(30))

    def publish(self, **message: Any) -> None:
        """Publish something else."""
        self._topic.publish(message)

    def left(self) -> list[str]:
        """Take what is left in the subscription, and return the ids."""
        pull = {"maxMessages": 1000, "returnImmediately": True}
        answer = call(self._host, "POST", f"{self.subscription}:pull", pull)
        return [each["message"]["attributes"]["eventId"] for each in answer.get("receivedMessages", [])]


@pytest.fixture
def work(pubsub: Emulator) -> Work:
    return Work(pubsub)


def said(program: Program, word: str) -> list[str]:
    return [line.split()[1] for line in program.output().splitlines() if line.startswith(f"{word} ")]


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def numbered(count: int) -> list[str]:
    return [f"e{number}" for number in range(count)]


def test_kill_in_the_middle_of_a_batch_loses_no_event(pubsub: Emulator, work: Work, start: Start) -> None:
    work.send(*numbered(20))
    first = start(pubsub.host, work.subscription, seconds=0.2)
    wait_until(lambda: len(said(first, "processed")) >= 7)
    first.stop(signal.SIGKILL)
    done = said(first, "processed")
    second = start(pubsub.host, work.subscription)
    wait_until(lambda: {*done, *said(second, "processed")} == {*numbered(20)})
    # What was acknowledged does not come again.
    assert len(said(second, "processed")) < 20


def test_sigterm_finishes_the_event_and_gives_back_those_that_have_not_begun(
    pubsub: Emulator, work: Work, start: Start
) -> None:
    """Seen in the calls: the emulator delivers what is given back to the stream that was just cancelled."""
    front = PubSubFront(pubsub.host)
    try:
        work.send(*numbered(20))
        program = start(front.host, work.subscription, seconds=0.3)
        wait_until(lambda: len(said(program, "began")) == 3)
        began = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - began < 10
        done = said(program, "processed")
        assert done == said(program, "began"), "the event that had begun was finished"
        given_back = {ack_id for ack_id, seconds in front.deadlines().items() if seconds[-1] == 0}
        assert len(front.acknowledged()) == len(done)
        assert len(given_back) == 20 - len(done)
        assert not given_back & front.acknowledged()
        assert "Traceback" not in program.output()
    finally:
        front.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_an_idle_worker_within_seconds(
    pubsub: Emulator, work: Work, start: Start, number: signal.Signals
) -> None:
    work.send("e1")
    program = start(pubsub.host, work.subscription)
    wait_until(lambda: said(program, "processed"))
    began = time.monotonic()
    assert program.stop(number) == 0
    assert time.monotonic() - began < 10
    assert program.output() == "began e1\nprocessed e1\n"


def test_failing_event_becomes_a_dead_letter_while_the_others_go_on(pubsub: Emulator, work: Work, start: Start) -> None:
    work.send("poison", "e1")
    work.publish(data="eA==", attributes={"parsed": "false", "theirs": "yes"})
    program = start(pubsub.host, work.subscription)
    wait_until(lambda: said(program, "processed") == ["e1"])
    work.send("e2")
    wait_until(lambda: said(program, "processed") == ["e1", "e2"])
    letters: set[str] = set()

    def has_both() -> bool:
        letters.update(letter.get("eventId") or letter["theirs"] for letter in work.letters.messages())
        return len(letters) == 2

    wait_until(has_both)
    assert letters == {"poison", "yes"}
    assert said(program, "began").count("poison") == 5
    assert "could not be processed: ValueError" in program.output()
    assert "was not published by the receiver" in program.output()
    assert "a secret" not in program.output()
    assert program.stop() == 0
    assert not work.left()


def test_worker_goes_on_when_pubsub_is_back(pubsub: Emulator, work: Work, start: Start) -> None:
    proxy = Proxy(pubsub.port)
    try:
        program = start(f"127.0.0.1:{proxy.port}", work.subscription, seconds=0.2)
        work.send(*numbered(5))
        # It has the events, and cannot acknowledge them.
        wait_until(lambda: said(program, "began"))
        proxy.set(Mode.REFUSE)
        time.sleep(2)
        assert program.process.poll() is None
        proxy.set(Mode.PASS)
        work.send("later")
        wait_until(lambda: {*said(program, "processed")} == {"later", *numbered(5)}, 120)
        assert program.stop() == 0
    finally:
        proxy.close()


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.SILENT])
def test_sigterm_ends_a_worker_that_cannot_acknowledge(pubsub: Emulator, work: Work, start: Start, mode: Mode) -> None:
    proxy = Proxy(pubsub.port)
    try:
        program = start(f"127.0.0.1:{proxy.port}", work.subscription, seconds=0.5)
        work.send(*numbered(5))
        wait_until(lambda: said(program, "began"))
        proxy.set(mode)
        began = time.monotonic()
        assert program.stop() == 0
        assert time.monotonic() - began < 20
        assert "Traceback" not in program.output()
    finally:
        proxy.close()


def test_worker_that_starts_first_waits_for_pubsub(start: Start) -> None:
    with emulator("pubsub") as server:
        work = Work(server)
        work.send("e1")
        server.freeze()
        program = start(server.host, work.subscription)
        time.sleep(3)
        server.thaw()
        wait_until(lambda: said(program, "processed") == ["e1"])


def test_readings_are_printed(pubsub: Emulator, work: Work, start: Start) -> None:
    work.send("e1")
    program = start(pubsub.host, work.subscription, module="gcp_functions.worker")
    wait_until(program.output)
    assert program.output() == "emucdd6ef2eu277bo8f52vg temperature 27 °C\n"


def test_help_has_examples() -> None:
    program = subprocess.run(
        [sys.executable, "-m", "gcp_functions.worker", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "examples:\n  DT_SUBSCRIPTION=" in program.stdout


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"DT_SUBSCRIPTION": ""}, "DT_SUBSCRIPTION is not set: the subscription, which the deployment prints as"),
        ({"DT_SUBSCRIPTION": "events"}, "DT_SUBSCRIPTION must have the form projects/PROJECT/subscriptions/"),
        ({"DT_SUBSCRIPTION": "projects/tests/subscriptions/none"}, "Pub/Sub refuses projects/tests/subscriptions/none"),
        ({"PUBSUB_EMULATOR_HOST": ""}, "No Google Cloud credentials: DefaultCredentialsError. Run `gcloud auth"),
    ],
)
def test_wrong_setting_is_one_sentence(pubsub: Emulator, tmp_path: Path, change: dict[str, str], sentence: str) -> None:
    environ = {"PUBSUB_EMULATOR_HOST": pubsub.host, "DT_SUBSCRIPTION": "projects/tests/subscriptions/s"}
    environ |= {"NO_GCE_CHECK": "true", "HOME": str(tmp_path)} | change
    program = Program("gcp_functions.worker", {name: value for name, value in environ.items() if value}, tmp_path)
    assert program.process.wait(30) == 1
    assert program.output().startswith(sentence)
    assert len(program.output().splitlines()) == 1
    program.close()
