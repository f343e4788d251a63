"""Promise 5: a crash at any point costs at most a duplicate, never an event.

Kill -9 ends the process, not the machine, and the kernel keeps its writes. So these tests do not show that COMMIT waits
for the disk; SQLite and PostgreSQL guarantee it with the settings that their tests assert.
"""

import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.support import postgres as postgresql
from tests.support.deliveries import SECRET
from tests.support.ledger import Ledger
from tests.support.load import Connection, Load
from tests.support.postgres import Postgres, execute
from tests.support.processes import Program
from tests.support.senders import KILLS, LIMIT, outcome

pytestmark = pytest.mark.long

ENVIRON = {"DT_SIGNATURE_SECRET": SECRET}


def kill_often(module: str, environ: dict[str, str], folder: Path) -> Ledger:
    """Kill the program at random moments under load, from its first instruction on; then let it finish."""
    ports: list[int] = []
    load = Load(Ledger(LIMIT), lambda: Connection(lambda: ports[-1]))
    for number in range(KILLS):
        program = Program(module, environ, folder)
        ports.append(program.port)
        if number % 4 == 0:
            load.start()
            time.sleep(random.uniform(0, 0.6))
        else:
            program.wait_until_ready()
            load.start()
            time.sleep(random.uniform(0, 0.2))
        program.stop(signal.SIGKILL)
        load.stop()
        program.close()
    # Some was acknowledged, and some cut off.
    assert load.ledger.sent > load.ledger.acknowledged > 0
    program = Program(module, environ, folder)
    program.wait_until_ready()
    ports.append(program.port)
    load.finish()
    assert program.stop() == 0
    program.close()
    return load.ledger


def is_all_there_once(ledger: Ledger, bodies: list[bytes]) -> None:
    assert outcome(ledger, bodies) == (ledger.sent, 0)
    assert len(bodies) == ledger.sent


def test_local_killed_under_load(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    ledger = kill_often("local", {**ENVIRON, "DT_DATABASE": str(path)}, tmp_path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    is_all_there_once(ledger, [row[0] for row in connection.execute("SELECT body FROM events")])
    connection.close()


def test_heroku_killed_under_load(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.create_database()
    ledger = kill_often("heroku", {**ENVIRON, "DATABASE_URL": url}, tmp_path)
    is_all_there_once(ledger, [row["body"] for row in execute(url, "SELECT body FROM events")])


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_postgres_outage_under_load(fault: str, tmp_path: Path) -> None:
    """The database goes, again and again; the app stays, answers 503 meanwhile, and comes back by itself."""
    with postgresql.running() as server:
        url = server.create_database()
        program = Program("heroku", {**ENVIRON, "DATABASE_URL": url}, tmp_path)
        program.wait_until_ready()
        load = Load(Ledger(LIMIT), lambda: Connection(lambda: program.port))
        load.start()
        for _ in range(3):
            time.sleep(random.uniform(0.3, 0.6))
            refused = load.ledger.statuses[503]
            if fault == "killed":
                server.kill()
                time.sleep(0.5)
                server.start()
            else:
                server.signal(signal.SIGSTOP)
                time.sleep(4)
                server.signal(signal.SIGCONT)
            assert load.ledger.statuses[503] > refused
        load.stop()
        assert program.stop() == 0
        program.close()
        acknowledged, twice = outcome(load.ledger, [row["body"] for row in execute(url, "SELECT body FROM events")])
        assert acknowledged > 100
        assert twice == 0
