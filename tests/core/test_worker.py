"""What the workers of all adapters share."""

import io
import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from core.event import Event, parse_stored
from core.log import Log
from core.worker import MAX_ATTEMPTS, attempt, print_readings, stop_on_signals, wait_after
from tests.support.deliveries import body

NOW = datetime.now(UTC)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restores the handlers of the test's process."""
    names = signal.SIGTERM, signal.SIGINT
    before = [signal.getsignal(name) for name in names]
    yield
    for name, handler in zip(names, before, strict=True):
        signal.signal(name, handler)


def test_readings_are_printed_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_readings(parse_stored(body(), NOW))
    print_readings(parse_stored(body(eventType="contact", data={"contact": {"state": "\x1b[31mOPEN"}}), NOW))
    assert capsys.readouterr().out.splitlines() == [
        "emucdd6ef2eu277bo8f52vg temperature 27 °C",
        "emucdd6ef2eu277bo8f52vg state ?[31mOPEN ",
    ]


def test_failure_is_logged_without_its_text() -> None:
    def fail(event: Event) -> None:
        raise RuntimeError(f"hidden {event.device_id}")

    stream, event = io.StringIO(), parse_stored(body(), NOW)
    assert attempt(lambda _: None, event, Log(stream))
    assert not stream.getvalue()
    assert not attempt(fail, event, Log(stream))
    line = json.loads(stream.getvalue())
    assert line == {"severity": "ERROR", "message": f"{event.key} could not be processed: RuntimeError"}


def test_outage_of_eight_minutes_makes_no_dead_letter() -> None:
    waits = [wait_after(failures) for failures in range(1, MAX_ATTEMPTS)]
    assert waits[:4] == [1, 2, 4, 8]
    assert sum(waits) > 8 * 60
    assert wait_after(1_000) == 256


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_worker(name: signal.Signals, handlers: None) -> None:
    stopping = stop_on_signals()
    assert not stopping.is_set()
    os.kill(os.getpid(), name)
    assert stopping.wait(10)
