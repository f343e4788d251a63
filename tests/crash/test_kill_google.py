"""Promise 5 on Google Cloud: an instance that dies at any moment costs a second delivery at most, never an event.

Google's emulators lose all that they have when they are killed, so they are frozen instead.
"""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.support.deliveries import SECRET, fresh_body, signed
from tests.support.google import Emulator, Firestore, PubSub, emulator
from tests.support.processes import ROOT, Program, running

KILLS = 20
SENDERS = 4
FROZEN = 4.0
# gunicorn's worker would live on for a moment without the process that started it: the whole group is to die at once.
SITECUSTOMIZE = "import os\nos.setsid()\n"


class Sender(threading.Thread):
    """Sends as DT does: one event after the other, and each until it is acknowledged, by whatever server there is."""

    def __init__(self, server: Callable[[], Program]) -> None:
        super().__init__()
        self._server = server
        self._is_over = threading.Event()
        self.acknowledged: list[bytes] = []
        self.refused = 0
        self.odd: list[int] = []
        self.waiting: bytes | None = None

    def run(self) -> None:
        while not self._is_over.is_set():
            self.waiting = self.waiting or fresh_body()
            try:
                status = self._server().request("POST", "/", signed(self.waiting), self.waiting).status
            except (OSError, HTTPException):  # it is dead, or dies
                time.sleep(0.002)
                continue
            if status == 200:
                self.acknowledged.append(self.waiting)
                self.waiting = None
            elif status == 503:
                self.refused += 1
            else:
                self.odd.append(status)

    def stop(self) -> None:
        self._is_over.set()
        self.join()


def outcome(senders: list[Sender], stored: list[bytes]) -> tuple[int, int]:
    """Return how many events were acknowledged and how many copies there are too many; no event may be missing."""
    acknowledged = {content for sender in senders for content in sender.acknowledged}
    waiting = {sender.waiting for sender in senders if sender.waiting}
    copies = Counter(stored)
    assert acknowledged <= copies.keys()
    # What was on its way at the end may be there too.
    assert copies.keys() <= acknowledged | waiting
    assert [sender.odd for sender in senders] == [[]] * len(senders)
    return len(acknowledged), copies.total() - len(copies)


def acknowledged_by(senders: list[Sender]) -> int:
    return sum(len(sender.acknowledged) for sender in senders)


def wait_for(senders: list[Sender], count: int) -> None:
    """Return once so many events are acknowledged."""
    deadline = time.monotonic() + 20
    while acknowledged_by(senders) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def environment(
    store: str, topic: PubSub, database: Firestore, pubsub: Emulator, firestore: Emulator
) -> dict[str, str]:
    return {
        "FUNCTION_SOURCE": str(ROOT / "gcp_functions" / "main.py"),
        "FUNCTION_TARGET": "receive",
        "DT_SIGNATURE_SECRET": SECRET,
        "DT_STORE": store,
        "DT_TOPIC": topic.topic,
        "DT_FIRESTORE": database.database,
        "PUBSUB_EMULATOR_HOST": pubsub.host,
        "FIRESTORE_EMULATOR_HOST": firestore.host,
    }


def bodies(store: str, topic: PubSub, database: Firestore) -> list[bytes]:
    return [each["body"] for each in (database.documents() if store == "firestore" else topic.messages())]


@contextmanager
def sending(server: Callable[[], Program]) -> Iterator[list[Sender]]:
    senders = [Sender(server) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        yield senders
    finally:
        for sender in senders:
            sender.stop()


@pytest.mark.parametrize("store", ["firestore", "pubsub"])
def test_the_function_killed_under_load(store: str, pubsub: Emulator, firestore: Emulator, tmp_path: Path) -> None:
    topic, database = PubSub(pubsub.host), Firestore(firestore.host)
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    environ = environment(store, topic, database, pubsub, firestore)
    environ["PYTHONPATH"] = os.pathsep.join((str(tmp_path), str(ROOT)))
    programs: list[Program] = []
    begun = threading.Event()

    def current() -> Program:
        begun.wait()
        return programs[-1]

    with sending(current) as senders:
        try:
            for _ in range(KILLS):
                with running("functions_framework", environ, tmp_path) as program:
                    programs.append(program)
                    begun.set()
                    time.sleep(random.uniform(0.0, 0.3))
                    os.killpg(program.process.pid, signal.SIGKILL)
                    program.process.wait()
        finally:
            begun.set()
    acknowledged, too_many = outcome(senders, bodies(store, topic, database))
    assert acknowledged > KILLS
    # One second copy of each request at hand for each death between the sending and the mark.
    assert too_many <= (0 if store == "firestore" else KILLS * SENDERS)


@pytest.mark.parametrize("store", ["firestore", "pubsub"])
def test_google_frozen_under_load(store: str, tmp_path: Path) -> None:
    with emulator("pubsub") as pubsub, emulator("firestore") as firestore:
        topic, database = PubSub(pubsub.host), Firestore(firestore.host)
        environ = environment(store, topic, database, pubsub, firestore)
        frozen = firestore if store == "firestore" else pubsub
        with running("functions_framework", environ, tmp_path) as program, sending(lambda: program) as senders:
            wait_for(senders, 50)
            frozen.pause()
            time.sleep(0.2)  # what was answered already is counted
            before = acknowledged_by(senders)
            time.sleep(FROZEN)
            assert acknowledged_by(senders) == before
            frozen.resume()
            wait_for(senders, before + 50)
        _, too_many = outcome(senders, bodies(store, topic, database))
        # An attempt that timed out was taken all the same: one more copy for each attempt at hand meanwhile.
        assert too_many <= (0 if store == "firestore" else SENDERS * 3)
