"""The worker as a program, on Google's emulator of Pub/Sub: repetition, dead letters, signals, and an outage."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.event import Event
from core.worker import MAX_ATTEMPTS
from gcp_functions.pubsub import PubSubQueue
from gcp_functions.service import connect
from tests.support.deliveries import body
from tests.support.events import event, soon
from tests.support.google import Emulator, PubSub, call
from tests.support.processes import ROOT, Program
from tests.support.proxy import Mode, Proxy

# A changed example, as users write: it takes a while, and fails for some events.
OWN = """
import os, time

from gcp_functions import worker

# Ten minutes otherwise; less than 10 s is refused.
worker.HIDDEN = 10

def process(event):
    print("began", event.event_id, flush=True)
    time.sleep(float(os.environ["SECONDS"]))
    if "poison" in event.event_id:
        raise ValueError("a secret")
    print("processed", event.event_id, flush=True)

worker.main([], process)
"""

Start = Callable[..., Program]
Behind = Callable[[Emulator], Proxy]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a worker for a subscription, and kill it after the test."""
    (tmp_path / "own.py").write_text(OWN)
    with contextlib.ExitStack() as stack:

        def start(host: str, subscription: str, seconds: float = 0, module: str = "own") -> Program:
            environ = {
                "PUBSUB_EMULATOR_HOST": host,
                "DT_SUBSCRIPTION": subscription,
                "SECONDS": str(seconds),
                "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))),
            }
            program = Program(module, environ, tmp_path)
            stack.callback(program.close)
            stack.callback(program.stop, signal.SIGKILL)
            return program

        yield start


@pytest.fixture
def there(pubsub: Emulator) -> PubSub:
    return PubSub(pubsub.host)


def named(name: str) -> Event:
    return event(body(eventId=name))


def send(pubsub: Emulator, there: PubSub, *names: str) -> None:
    queue = PubSubQueue(connect("", pubsub.host), there.topic)
    for name in names:
        queue.send(named(name), soon())


def said(program: Program, word: str) -> list[str]:
    return [line.split()[1] for line in program.output().splitlines() if line.startswith(word)]


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_kill_in_the_middle_loses_no_event(pubsub: Emulator, there: PubSub, start: Start) -> None:
    names = [f"e{number}" for number in range(30)]
    send(pubsub, there, *names)
    first = start(pubsub.host, there.subscription, seconds=0.1)
    wait_until(lambda: len(said(first, "processed")) >= 15)
    first.stop(signal.SIGKILL)
    second = start(pubsub.host, there.subscription)
    wait_until(lambda: {*said(first, "processed")[:10], *said(second, "processed")} == set(names))
    # The batch that was killed comes again, and none that was finished.
    assert set(said(second, "processed")) == {*names} - {*said(first, "processed")[:10]}


def test_sigterm_finishes_the_batch_and_acknowledges_what_was_processed(
    pubsub: Emulator, there: PubSub, start: Start
) -> None:
    names = [f"e{number}" if number % 5 else f"poison{number}" for number in range(40)]
    send(pubsub, there, *names)
    program = start(pubsub.host, there.subscription, seconds=0.1)
    wait_until(lambda: len(said(program, "began")) >= 3)
    assert program.stop() == 0
    processed = said(program, "processed")
    assert len(said(program, "began")) == 10
    found = [str(one["eventId"]) for one in there.messages()]
    assert sorted([*found, *processed]) == sorted(names)
    assert "Traceback" not in program.output()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_an_idle_worker(pubsub: Emulator, there: PubSub, start: Start, number: signal.Signals) -> None:
    send(pubsub, there, "e1")
    program = start(pubsub.host, there.subscription)
    wait_until(lambda: said(program, "processed"))
    assert program.stop(number) == 0
    assert "Traceback" not in program.output()


def test_failing_event_becomes_a_dead_letter_while_the_others_go_on(
    pubsub: Emulator, there: PubSub, start: Start
) -> None:
    letters = PubSub(pubsub.host)
    # The fewest deliveries that there are. The emulator has no retry policy, so they follow at once.
    policy = {"deadLetterTopic": letters.topic, "maxDeliveryAttempts": MAX_ATTEMPTS}
    subscription = f"{there.subscription}-dead"
    settings = {"topic": there.topic, "ackDeadlineSeconds": 10, "deadLetterPolicy": policy}
    call(pubsub.host, "PUT", subscription, settings)
    send(pubsub, there, "poison", "e1")
    there.publish({"data": "dGhlaXJz", "attributes": {"parsed": "false", "eventId": "theirs"}})
    program = start(pubsub.host, subscription)
    wait_until(lambda: said(program, "processed") == ["e1"])
    send(pubsub, there, "e2")
    wait_until(lambda: said(program, "processed") == ["e1", "e2"])
    dead: set[str] = set()

    def has_both() -> bool:
        dead.update(str(one["eventId"]) for one in letters.messages())
        return len(dead) == 2

    wait_until(has_both)
    assert dead == {"poison", "theirs"}
    assert said(program, "began").count("poison") == MAX_ATTEMPTS
    assert "a secret" not in program.output()
    assert "not written by the receiver" in program.output()


def test_worker_goes_on_when_pubsub_is_back(pubsub: Emulator, there: PubSub, start: Start, proxy: Behind) -> None:
    between = proxy(pubsub)
    send(pubsub, there, *(f"e{number}" for number in range(5)))
    program = start(f"127.0.0.1:{between.port}", there.subscription, seconds=0.2)
    # It has the events, and cannot acknowledge them.
    wait_until(lambda: said(program, "began"))
    between.set(Mode.REFUSE)
    wait_until(lambda: "tries again" in program.output())
    between.set(Mode.PASS)
    send(pubsub, there, "later")
    wait_until(lambda: {*said(program, "processed")} == {"later", *(f"e{number}" for number in range(5))})
    assert program.stop() == 0
    # What was not acknowledged comes again.
    wait_until(lambda: {one["eventId"] for one in there.messages()} <= {f"e{number}" for number in range(5)})


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.SILENT])
def test_sigterm_ends_a_worker_that_cannot_acknowledge(
    pubsub: Emulator, there: PubSub, start: Start, proxy: Behind, mode: Mode
) -> None:
    between = proxy(pubsub)
    send(pubsub, there, "e1")
    program = start(f"127.0.0.1:{between.port}", there.subscription, seconds=1)
    wait_until(lambda: said(program, "began"))
    between.set(mode)
    began = time.monotonic()
    assert program.stop() == 0
    assert time.monotonic() - began < 28
    assert "Traceback" not in program.output()


def test_readings_are_printed(pubsub: Emulator, there: PubSub, start: Start) -> None:
    send(pubsub, there, "e1")
    program = start(pubsub.host, there.subscription, module="gcp_functions.worker")
    wait_until(program.output)
    assert program.output() == "emucdd6ef2eu277bo8f52vg temperature 27 °C\n"


def test_help_has_examples() -> None:
    command = [sys.executable, "-m", "gcp_functions.worker", "--help"]
    program = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "examples:\n  python -m gcp_functions.worker projects/" in program.stdout


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, "DT_SUBSCRIPTION"),
        ({"DT_SUBSCRIPTION": "projects/p/subscriptions/s", "PUBSUB_EMULATOR_HOST": ""}, "No Google Cloud credentials"),
        ({"DT_SUBSCRIPTION": "projects/tests/subscriptions/none"}, "Cannot find the subscription"),
    ],
)
def test_wrong_setting_is_one_sentence(
    pubsub: Emulator, environ: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PUBSUB_EMULATOR_HOST": pubsub.host}
    basics |= {"HOME": str(tmp_path), "NO_GCE_CHECK": "true"}
    done = subprocess.run(
        [sys.executable, "-m", "gcp_functions.worker"],
        env=basics | environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
