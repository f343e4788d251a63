"""Promise 5 on Google Cloud: an instance killed at any moment costs at most a retry, never an event.

Google's emulators lose their data when they are killed, so they are frozen instead.
"""

import os
import signal
from pathlib import Path

import pytest

from tests.support.deliveries import SECRET
from tests.support.google import Emulator, Firestore, PubSub, emulator
from tests.support.processes import ROOT, Program, running
from tests.support.senders import KILLS, SENDERS, kill_often, outcome, sending, store_outage

pytestmark = pytest.mark.long

# gunicorn's worker would live on for a moment without the process that started it: the whole group is to die at once.
SITECUSTOMIZE = "import os\nos.setsid()\n"


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


def kill(program: Program) -> None:
    os.killpg(program.process.pid, signal.SIGKILL)


@pytest.mark.parametrize("store", ["firestore", "pubsub"])
def test_function_killed_under_load(store: str, pubsub: Emulator, firestore: Emulator, tmp_path: Path) -> None:
    topic, database = PubSub(pubsub.host), Firestore(firestore.host)
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    environ = environment(store, topic, database, pubsub, firestore)
    environ["PYTHONPATH"] = os.pathsep.join((str(tmp_path), str(ROOT)))
    ledger = kill_often(lambda: running("functions_framework", environ, tmp_path), kill)
    _, too_many = outcome(ledger, bodies(store, topic, database))
    # A kill between the send and the mark costs one duplicate of each request in flight.
    assert too_many <= (0 if store == "firestore" else KILLS * SENDERS)


@pytest.mark.parametrize("store", ["firestore", "pubsub"])
def test_google_frozen_under_load(store: str, tmp_path: Path) -> None:
    with emulator("pubsub") as pubsub, emulator("firestore") as firestore:
        topic, database = PubSub(pubsub.host), Firestore(firestore.host)
        environ = environment(store, topic, database, pubsub, firestore)
        frozen = firestore if store == "firestore" else pubsub
        with running("functions_framework", environ, tmp_path) as program, sending(lambda: program) as ledger:
            store_outage(ledger, frozen.freeze, frozen.thaw)
        _, too_many = outcome(ledger, bodies(store, topic, database))
        # The service may have stored an attempt that timed out: one more duplicate for each attempt in flight.
        assert too_many <= (0 if store == "firestore" else SENDERS * 3)
