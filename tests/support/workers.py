"""Workers as programs: an example as users change it, and what it says."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from core.event import Event
from tests.support.deliveries import body
from tests.support.events import DEVICE, event
from tests.support.processes import ROOT, Program

# It takes a while, and fails for some events.
_OWN = """
import os, sys, time

from {adapter} import worker

{setup}

def process(event):
    print("began", event.event_id, flush=True)
    time.sleep(float(os.environ["SECONDS"]))
    if "poison" in event.event_id:
        raise ValueError("a secret")
    print("processed", event.event_id, flush=True)

worker.main(sys.argv[1:] or {arguments!r}, process)
"""

# Called with the variables, the seconds that processing takes, and the module if it is not the changed example.
Start = Callable[..., Program]


@contextmanager
def starting(folder: Path, adapter: str, setup: str = "", arguments: tuple[str, ...] = ()) -> Iterator[Start]:
    """Give a function that starts a worker, and kill all that were started at the end.

    Args:
        folder: Where the changed example is written.
        adapter: Whose worker.
        setup: Lines before it runs.
        arguments: Of the changed example.
    """
    (folder / "own.py").write_text(_OWN.format(adapter=adapter, setup=setup, arguments=list(arguments)))
    with contextlib.ExitStack() as stack:

        def start(environ: Mapping[str, str], seconds: float = 0, module: str = "own") -> Program:
            path = os.pathsep.join((str(folder), str(ROOT)))
            program = Program(module, {**environ, "SECONDS": str(seconds), "PYTHONPATH": path}, folder)
            stack.callback(program.close)
            stack.callback(program.stop, signal.SIGKILL)
            return program

        yield start


def named(name: str, device: str = DEVICE) -> Event:
    """Return an event with this id; one with ``poison`` in it fails."""
    return event(body(eventId=name).replace(DEVICE.encode(), device.encode()))


def said(program: Program, word: str) -> list[str]:
    """Return the ids behind a word in the output: ``began`` or ``processed``."""
    return [line.split()[1] for line in program.output().splitlines() if line.startswith(word)]


def wait_until(condition: Callable[[], object], seconds: float = 90) -> None:
    """Return when the condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
