"""Heroku's app and a real PostgreSQL: faults of a shared database."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.campaign.campaign import Fault, Target
from tests.campaign.proxies import network
from tests.campaign.receiver import Receiver
from tests.support import postgres
from tests.support.deliveries import SECRET
from tests.support.ledger import Ledger
from tests.support.postgres import Postgres, execute
from tests.support.proxy import Proxy

# As in the smallest plan: https://devcenter.heroku.com/articles/heroku-postgres-plans
CONNECTIONS = 20
# Rows per read.
_PAGE = 20_000
# For two apps that get deliveries in opposite order: the rounds, and the concurrent deliveries.
_ROUNDS, _CROSSING = 5, 100


@contextmanager
def heroku(folder: Path) -> Iterator[Target]:
    """Yield ``python -m heroku`` behind a proxy, and a second one that gets some of the deliveries."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres.running(f"max_connections={CONNECTIONS}"))
        url = server.create_database()
        proxy = Proxy(server.port)
        stack.callback(proxy.close)
        through = url.replace(str(server.port), str(proxy.port))
        first, second = (
            Receiver("heroku", {"DT_SIGNATURE_SECRET": SECRET, "DATABASE_URL": it}, folder) for it in (through, url)
        )
        stack.callback(first.close)
        stack.callback(second.close)

        def cross(ledger: Ledger) -> None:
            """Send the same events in opposite order to two dynos."""
            one, other = ([app.connect() for _ in range(_CROSSING)] for app in (first, second))
            with ThreadPoolExecutor(2 * _CROSSING) as pool:
                taken = ledger.take(_ROUNDS * _CROSSING)
                for start in range(0, len(taken), _CROSSING):
                    numbers = taken[start : start + _CROSSING]
                    pairs = [*zip(numbers, numbers[::-1], strict=True)]
                    wait(
                        pool.submit(ledger.send, number, connection)
                        for place, pair in enumerate(pairs)
                        for number, connection in zip(pair, (one[place], other[place]), strict=True)
                    )
            for connection in one + other:
                connection.close()

        faults: dict[str, Fault] = {
            **_database(server, url),
            **network([proxy]),
            "two apps, opposite order": cross,
            "receiver killed": lambda _: first.restart(),
        }
        yield Target(first.connect, lambda: [_bodies(url)], faults, first.restart)


def _bodies(url: str) -> Iterator[bytes]:
    last = ""
    while rows := execute(url, f"SELECT key, body FROM events WHERE key > $1 ORDER BY key LIMIT {_PAGE}", last):
        yield from (row["body"] for row in rows)
        last = rows[-1]["key"]


def _database(server: Postgres, url: str) -> dict[str, Fault]:
    def killed(_: Ledger) -> None:
        server.kill()
        time.sleep(2)
        server.start()

    def stopped(_: Ledger) -> None:
        server.stop()
        time.sleep(2)
        server.start()

    def frozen(_: Ledger) -> None:
        server.signal(signal.SIGSTOP)
        time.sleep(10)
        server.signal(signal.SIGCONT)

    def run(statement: str, seconds: int) -> None:
        execute(url, f"DO $$ BEGIN {statement}; PERFORM pg_sleep({seconds}); END $$")

    def altered(_: Ledger) -> None:
        run("ALTER TABLE events ADD COLUMN campaign int", 5)
        execute(url, "ALTER TABLE events DROP COLUMN campaign")

    def terminated(_: Ledger) -> None:
        for _times in range(10):
            execute(
                url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            time.sleep(0.3)

    def indexed(_: Ledger) -> None:
        """A unique index by the user that accepts only 16 events."""
        since = datetime.now(UTC) + timedelta(seconds=0.1)
        execute(url, f"CREATE UNIQUE INDEX of_the_user ON events (right(event_id, 1)) WHERE received_at > '{since}'")
        time.sleep(4)
        execute(url, "DROP INDEX of_the_user")

    def swallowed(_: Ledger) -> None:
        """A trigger by the user that drops half of the rows, without an error."""
        execute(
            url,
            "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF hashtext(NEW.key) % 2 = 0 THEN RETURN NULL; END IF; RETURN NEW; END $$",
        )
        execute(url, "CREATE TRIGGER swallow BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION swallow()")
        time.sleep(4)
        execute(url, "DROP FUNCTION swallow CASCADE")

    return {
        "PostgreSQL killed": killed,
        "PostgreSQL stopped": stopped,
        "PostgreSQL frozen": frozen,
        "table locked": lambda _: run("LOCK TABLE events IN ACCESS EXCLUSIVE MODE", 10),
        "table altered": altered,
        "backends terminated": terminated,
        "unique index of the user's": indexed,
        "trigger of the user's": swallowed,
    }
