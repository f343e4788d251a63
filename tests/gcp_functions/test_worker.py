"""The worker as a program, on Google's emulator of Pub/Sub: repetition, dead letters, signals, and an outage."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gcp_functions.pubsub import PubSubQueue
from gcp_functions.service import connect
from tests.support.events import soon
from tests.support.google import Emulator, PubSub, call
from tests.support.processes import ROOT
from tests.support.proxy import Mode, Proxy
from tests.support.workers import Start, named, said, starting, wait_until

pytestmark = pytest.mark.long

Behind = Callable[[Emulator], Proxy]


# Ten minutes otherwise; Pub/Sub refuses less than 10 s.
SETUP = "worker.HIDDEN = 10"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path, "gcp_functions", SETUP) as start:
        yield start


def at(host: str, subscription: str) -> dict[str, str]:
    return {"PUBSUB_EMULATOR_HOST": host, "DT_SUBSCRIPTION": subscription}


@pytest.fixture
def there(pubsub: Emulator) -> PubSub:
    return PubSub(pubsub.host)


def send(pubsub: Emulator, there: PubSub, *names: str) -> None:
    queue = PubSubQueue(connect("", pubsub.host), there.topic)
    for name in names:
        queue.send(named(name), soon())


def test_kill_in_the_middle_loses_no_event(pubsub: Emulator, there: PubSub, start: Start) -> None:
    names = [f"e{number}" for number in range(30)]
    send(pubsub, there, *names)
    first = start(at(pubsub.host, there.subscription), seconds=0.1)
    wait_until(lambda: len(said(first, "processed")) >= 15)
    first.stop(signal.SIGKILL)
    second = start(at(pubsub.host, there.subscription))
    wait_until(lambda: {*said(first, "processed")[:10], *said(second, "processed")} == set(names))
    # The batch that was killed comes again, and none that was finished.
    assert set(said(second, "processed")) == {*names} - {*said(first, "processed")[:10]}


def test_sigterm_finishes_the_batch_and_acknowledges_what_was_processed(
    pubsub: Emulator, there: PubSub, start: Start
) -> None:
    names = [f"e{number}" if number % 5 else f"poison{number}" for number in range(40)]
    send(pubsub, there, *names)
    program = start(at(pubsub.host, there.subscription), seconds=0.1)
    wait_until(lambda: len(said(program, "began")) >= 3)
    assert program.stop() == 0
    processed = said(program, "processed")
    assert 3 <= len(said(program, "began")) <= 10  # of a batch, which may have less
    found = [str(one["eventId"]) for one in there.messages()]
    assert sorted([*found, *processed]) == sorted(names)
    assert "Traceback" not in program.output()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_an_idle_worker(pubsub: Emulator, there: PubSub, start: Start, number: signal.Signals) -> None:
    send(pubsub, there, "e1")
    program = start(at(pubsub.host, there.subscription))
    wait_until(lambda: said(program, "processed"))
    assert program.stop(number) == 0
    assert "Traceback" not in program.output()


def test_failing_event_becomes_a_dead_letter_while_the_others_go_on(
    pubsub: Emulator, there: PubSub, start: Start
) -> None:
    letters = PubSub(pubsub.host)
    # The fewest deliveries that there are. The emulator has no retry policy, so they follow at once.
    policy = {"deadLetterTopic": letters.topic, "maxDeliveryAttempts": 5}
    subscription = f"{there.subscription}-dead"
    settings = {"topic": there.topic, "ackDeadlineSeconds": 10, "deadLetterPolicy": policy}
    call(pubsub.host, "PUT", subscription, settings)
    send(pubsub, there, "poison", "e1")
    there.publish({"data": "dGhlaXJz", "attributes": {"parsed": "false", "eventId": "theirs"}})
    program = start(at(pubsub.host, subscription))
    wait_until(lambda: said(program, "processed") == ["e1"])
    send(pubsub, there, "e2")
    wait_until(lambda: said(program, "processed") == ["e1", "e2"])
    dead: set[str] = set()

    def has_both() -> bool:
        dead.update(str(one["eventId"]) for one in letters.messages())
        return len(dead) == 2

    wait_until(has_both)
    assert dead == {"poison", "theirs"}
    assert said(program, "began").count("poison") == 5
    assert "a secret" not in program.output()
    assert "not written by the receiver" in program.output()


def test_worker_goes_on_when_pubsub_is_back(pubsub: Emulator, there: PubSub, start: Start, proxy: Behind) -> None:
    between = proxy(pubsub)
    send(pubsub, there, *(f"e{number}" for number in range(5)))
    program = start(at(f"127.0.0.1:{between.port}", there.subscription), seconds=0.2)
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
    program = start(at(f"127.0.0.1:{between.port}", there.subscription), seconds=1)
    wait_until(lambda: said(program, "began"))
    between.set(mode)
    began = time.monotonic()
    assert program.stop() == 0
    assert time.monotonic() - began < 28
    assert "Traceback" not in program.output()


def test_readings_are_printed(pubsub: Emulator, there: PubSub, start: Start) -> None:
    send(pubsub, there, "e1")
    program = start(at(pubsub.host, there.subscription), module="gcp_functions.worker")
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
