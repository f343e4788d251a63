"""The worker as a program, on Google's emulator of Pub/Sub: repetition, failures and signals.

The emulator has no dead-letter policy: a test shows that a failing event is given back, none that Pub/Sub moves it.
"""

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
from gcp_functions.pubsub import PubSubQueue
from gcp_functions.service import connect
from tests.support.deliveries import body
from tests.support.events import event, soon
from tests.support.google import Emulator, PubSub
from tests.support.processes import ROOT, Program

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


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a worker for a subscription, and kill it after the test."""
    (tmp_path / "own.py").write_text(OWN)
    with contextlib.ExitStack() as stack:

        def start(host: str, subscription: str, seconds: float = 0) -> Program:
            environ = {
                "PUBSUB_EMULATOR_HOST": host,
                "DT_SUBSCRIPTION": subscription,
                "SECONDS": str(seconds),
                "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT))),
            }
            program = Program("own", environ, tmp_path)
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


def test_failing_event_comes_again_while_the_others_go_on(pubsub: Emulator, there: PubSub, start: Start) -> None:
    send(pubsub, there, "poison", "e1")
    there.publish({"data": "dGhlaXJz"})
    program = start(pubsub.host, there.subscription)
    wait_until(lambda: said(program, "processed") == ["e1"])
    send(pubsub, there, "e2")
    wait_until(lambda: said(program, "processed") == ["e1", "e2"])
    wait_until(lambda: said(program, "began").count("poison") > 2)
    assert "a secret" not in program.output()
    assert "not written by the receiver" in program.output()


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, "DT_SUBSCRIPTION"),
        ({"DT_SUBSCRIPTION": "projects/tests/subscriptions/none"}, "Cannot find the subscription"),
    ],
)
def test_wrong_setting_is_one_sentence(
    pubsub: Emulator, environ: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PUBSUB_EMULATOR_HOST": pubsub.host}
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
