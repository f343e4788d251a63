"""Promise 5 on IBM Cloud: a kill at any moment costs at most a retry, never an event."""

import base64
import signal
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.couchdb import CouchDb, Events, couchdb
from tests.support.deliveries import SECRET
from tests.support.ibm import ibm_function
from tests.support.processes import Program, running
from tests.support.senders import KILLS, kill_often, outcome, sending, store_outage

pytestmark = pytest.mark.long

Fault = Callable[[CouchDb], tuple[Callable[[], None], Callable[[], None]]]
Start = Callable[[], AbstractContextManager[Program]]
PROGRAMS = ["function", "application"]


def starting(program: str, server: CouchDb, events: Events, folder: Path) -> Start:
    environ = {
        "DT_CLOUDANT": f"http://{server.login or 'user:password'}@127.0.0.1:{server.port}",
        "DT_DATABASE_PREFIX": events.prefix,
        "DT_SIGNATURE_SECRET": SECRET,
    }
    if program == "function":
        return lambda: ibm_function("Code Engine", environ, folder)
    return lambda: running("ibm_actions.app", environ, folder)


def kill(program: Program) -> None:
    program.process.send_signal(signal.SIGKILL)


def bodies(events: Events) -> list[bytes]:
    return [document["body"] for document in events.documents()]


@pytest.mark.parametrize("program", PROGRAMS)
def test_receiver_killed_under_load(program: str, couchdb: CouchDb, tmp_path: Path) -> None:
    events = Events(couchdb)
    ledger = kill_often(starting(program, couchdb, events, tmp_path), kill)
    _, too_many = outcome(ledger, bodies(events))
    assert too_many == 0
    # The database of the first event was created once, despite the kills.
    assert len(events.databases()) == 1


def test_receiver_killed_at_the_database_limit(tmp_path: Path) -> None:
    """Another database takes the events, and every new receiver finds them there."""
    with couchdb("user:password", limit=1) as server:
        events = Events(server)
        start = starting("application", server, events, tmp_path)
        other = f"{events.prefix}-2023"
        asked = urllib.request.Request(f"{server.url}/{other}?partitioned=true", method="PUT")
        asked.add_header("Authorization", f"Basic {base64.b64encode(server.login.encode()).decode()}")
        urllib.request.urlopen(asked, timeout=30).close()
        senders = kill_often(start, kill, (KILLS + 3) // 4)
        acknowledged, too_many = outcome(senders, bodies(events))
        assert acknowledged > 0
        assert too_many == 0
        assert events.databases() == [other]


def frozen(server: CouchDb) -> tuple[Callable[[], None], Callable[[], None]]:
    return server.freeze, server.thaw


def killed(server: CouchDb) -> tuple[Callable[[], None], Callable[[], None]]:
    return server.kill, server.start


@pytest.mark.parametrize("fault", [frozen, killed])
@pytest.mark.parametrize("program", PROGRAMS)
def test_cloudant_outage_under_load(
    program: str, fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault is frozen:
        # Longer than three attempts, or the last of them may be answered.
        monkeypatch.setattr("tests.support.senders.AWAY", 7.5)
    with couchdb("user:password") as server:
        events = Events(server)
        with starting(program, server, events, tmp_path)() as started, sending(lambda: started) as ledger:
            store_outage(ledger, *fault(server))
        _, too_many = outcome(ledger, bodies(events))
        assert too_many == 0
        assert ledger.statuses[503] > 0
