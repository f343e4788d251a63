"""The Heroku app against a real PostgreSQL."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from core.event import Event, parse_stored
from core.receiver import DEADLINE
from core.stores.contract import Outcome
from core.worker import MAX_ATTEMPTS
from heroku import release
from heroku.postgres import NotDurableError, PostgresStore
from tests.heroku.programs import run_module
from tests.support import postgres as postgresql
from tests.support.deliveries import SECRET, body, fresh_body, signed
from tests.support.ports import free_port
from tests.support.postgres import Postgres, execute
from tests.support.processes import ROOT, Answer, Program, running

ENVIRON = {"DT_SIGNATURE_SECRET": SECRET}


def post(program: Program, content: bytes) -> Answer:
    return program.request("POST", "/", signed(content), content)


@pytest.mark.parametrize("module", ["heroku", "heroku.release", "heroku.worker"])
def test_missing_database_says_what_to_do(module: str) -> None:
    found = run_module(module, **ENVIRON)
    assert found.returncode == 1
    assert "heroku addons:create heroku-postgresql" in found.stderr
    assert "Traceback" not in found.stderr


# What a rotation by hand can set: Heroku keeps the release before one whose release phase fails.
BAD = {
    "no secret": ({"DT_SIGNATURE_SECRET": ""}, "Set DT_SIGNATURE_SECRET to"),
    "an array in an array": ({"DT_SIGNATURE_SECRET": json.dumps([SECRET, f'["{SECRET}"]'])}, "an array in an array"),
    "a line end": ({"DT_SIGNATURE_SECRET": f"{SECRET}\n"}, "has a line end"),
    "quotes": ({"DT_SIGNATURE_SECRET": f'"{SECRET}"'}, "is in quotes"),
    "another setting": (ENVIRON | {"DT_EVENT_TYPES": "temperatur"}, "Do you mean 'temperature'?"),
}


@pytest.mark.parametrize("module", ["heroku", "heroku.release"])
@pytest.mark.parametrize(("environ", "sentence"), BAD.values(), ids=BAD)
def test_bad_setting_ends_the_release_and_the_start(
    module: str, environ: dict[str, str], sentence: str, postgres: Postgres
) -> None:
    found = run_module(module, **environ, DATABASE_URL=postgres.url())
    assert found.returncode == 1
    assert "DT_" in found.stderr
    assert sentence in found.stderr
    assert SECRET not in found.stderr
    assert "Traceback" not in found.stderr


def test_unsafe_database_settings_exit_at_start(tmp_path: Path) -> None:
    with postgresql.running("fsync=off") as server:
        url = server.create_database()
        found = run_module("heroku", **ENVIRON, DATABASE_URL=url)
        assert found.returncode != 0
        assert "fsync=off" in found.stderr
        with pytest.raises(NotDurableError):
            asyncio.run(PostgresStore(url).open())


def test_commits_are_durable_whatever_the_databases_default(postgres: Postgres) -> None:
    url = postgres.create_database()
    execute(url, "ALTER ROLE postgres IN DATABASE " + url.rsplit("/", 1)[1] + " SET synchronous_commit = off")

    async def run() -> str:
        store = PostgresStore(url)
        await store.open()
        assert store._connection is not None
        value: str = await store._connection.fetchval("SHOW synchronous_commit")
        await store.close()
        return value

    assert asyncio.run(run()) == "on"


def test_unreachable_database_at_start_is_retried(tmp_path: Path) -> None:
    with postgresql.running() as server:
        url = server.create_database()
        server.stop()
        with running("heroku", {**ENVIRON, "DATABASE_URL": url}, tmp_path) as program:
            content = fresh_body()
            assert post(program, content).status == 503
            server.start()
            assert post(program, content).status == 200


def test_database_restart_costs_no_refusal(tmp_path: Path) -> None:
    with postgresql.running() as server:
        url = server.create_database()
        with running("heroku", {**ENVIRON, "DATABASE_URL": url}, tmp_path) as program:
            assert post(program, fresh_body()).status == 200
            server.stop()
            server.start()
            assert post(program, fresh_body()).status == 200


def test_tls_with_a_self_signed_certificate(postgres_with_tls: Postgres) -> None:
    """Heroku's certificates are self-signed. 127.0.0.2 is this machine, but not exempt from TLS as loopback."""
    postgres = postgres_with_tls
    name = postgres.create_database().rsplit("/", 1)[1]
    execute(postgres.url(), "CREATE ROLE heroku SUPERUSER LOGIN")
    url = postgres.url(name, "heroku", "127.0.0.2")
    # In a process of its own, because asyncpg leaves the socket of a refused connection to the garbage collector.
    connect = f"import asyncio, asyncpg; asyncio.run(asyncpg.connect('{url}?sslmode=disable'))"
    refused = subprocess.run([sys.executable, "-c", connect], capture_output=True, text=True, timeout=60, check=False)
    assert "InvalidAuthorizationSpecificationError" in refused.stderr

    async def run() -> tuple[Outcome, bool]:
        await release.migrate(url)
        store = PostgresStore(url)
        outcome = await store.put(parse_stored(body(), _now()), time.monotonic() + DEADLINE)
        assert store._connection is not None
        encrypted = await store._connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        await store.close()
        return outcome, encrypted

    assert asyncio.run(run()) == (Outcome.STORED, True)


def _now() -> datetime:
    return datetime.now(UTC)


def test_schema_may_be_applied_repeatedly_and_concurrently(postgres: Postgres) -> None:
    url = postgres.create_database()

    async def run() -> None:
        await asyncio.gather(*(release.migrate(url) for _ in range(4)))

    asyncio.run(run())
    found = run_module("heroku.release", **ENVIRON, DATABASE_URL=url)
    said = "The settings are valid, and the database has the current schema.\n"
    assert (found.returncode, found.stdout) == (0, said)


def test_idle_receiver_holds_no_lock(postgres: Postgres) -> None:
    """A release alters the table while the old dyno runs, and must not wait for its next event."""
    url = postgres.create_database()

    async def run() -> None:
        store = PostgresStore(url)
        await store.open()
        await asyncio.wait_for(_execute(url, "ALTER TABLE events ADD COLUMN mine text"), 5)
        await store.put(parse_stored(body(), _now()), time.monotonic() + DEADLINE)
        await asyncio.wait_for(_execute(url, "ALTER TABLE events DROP COLUMN mine"), 5)
        assert await store.put(parse_stored(body(), _now()), time.monotonic() + DEADLINE) == Outcome.DUPLICATE
        await store.close()

    asyncio.run(run())


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


def test_graceful_shutdown_answers_requests_in_flight(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.create_database()
    contents = [fresh_body() for _ in range(5)]
    answers: list[Answer] = []

    async def hold(program: Program) -> None:
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.execute("LOCK TABLE events")
            for content in contents:
                threading.Thread(target=lambda content=content: answers.append(post(program, content))).start()
            await asyncio.sleep(0.4)
            program.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.4)
            assert answers == []
        await connection.close()

    with running("heroku", {**ENVIRON, "DATABASE_URL": url}, tmp_path) as program:
        asyncio.run(hold(program))
        assert program.process.wait(20) == 0
    assert [answer.status for answer in answers] == [200] * 5
    assert len(execute(url, "SELECT FROM events")) == 5


def put_all(url: str, contents: list[bytes]) -> None:
    async def run() -> None:
        store = PostgresStore(url)
        await asyncio.gather(*(store.put(parse_stored(each, _now()), time.monotonic() + DEADLINE) for each in contents))
        await store.close()

    asyncio.run(run())


def wait_until(url: str, condition: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not execute(url, f"SELECT {condition} AS met")[0]["met"]:
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


def test_two_workers_share_the_rows_and_shut_down(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.create_database()
    put_all(url, [body(eventId=f"event{number}") for number in range(300)])
    workers = [Program("heroku.worker", {"DATABASE_URL": url}, tmp_path) for _ in range(2)]
    wait_until(url, "NOT EXISTS (SELECT FROM events WHERE processed_at IS NULL)")
    put_all(url, [fresh_body()])
    wait_until(url, "NOT EXISTS (SELECT FROM events WHERE processed_at IS NULL)")
    outputs = []
    for worker in workers:
        assert worker.stop() == 0
        outputs.append(worker.output())
        worker.close()
    lines = "".join(outputs).splitlines()
    # Each row was processed by one of them, once.
    assert lines == ["emucdd6ef2eu277bo8f52vg temperature 27 °C"] * 301


def test_worker_prints_no_terminal_control_characters(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.create_database()
    state = "\x1b[2J\x9b31m\u202eOPEN\ud800\0"
    content = body(eventType="contact", data={"contact": {"state": "STATE"}})
    put_all(url, [content.replace(b'"STATE"', json.dumps(state).encode())])
    worker = Program("heroku.worker", {"DATABASE_URL": url}, tmp_path)
    wait_until(url, "NOT EXISTS (SELECT FROM events WHERE processed_at IS NULL)")
    assert worker.stop() == 0
    assert worker.output() == "emucdd6ef2eu277bo8f52vg state ?[2J?31m?OPEN\ufffd\ufffd \n"
    worker.close()


def test_row_that_cannot_be_processed_becomes_a_dead_letter(postgres: Postgres) -> None:
    from core.log import Log
    from heroku import worker

    url = postgres.create_database()
    put_all(url, [body(eventId="good"), body(eventId="bad")])
    processed: list[str | None] = []

    def process(event: Event) -> None:
        if event.event_id == "bad":
            raise ValueError("a secret")
        processed.append(event.event_id)

    async def run() -> list[int]:
        connection = await asyncpg.connect(url)
        counts = []
        for _ in range(MAX_ATTEMPTS + 1):
            counts.append(await worker.process_batch(connection, Log(), process))
            await connection.execute("UPDATE events SET retry_at = now()")
        await connection.close()
        return counts

    assert asyncio.run(run()) == [2, *[1] * (MAX_ATTEMPTS - 1), 0]
    assert processed == ["good"]
    [bad] = execute(url, "SELECT event_id, attempts FROM events WHERE processed_at IS NULL")
    assert (bad["event_id"], bad["attempts"]) == ("bad", MAX_ATTEMPTS)


@pytest.mark.long
def test_short_outage_of_what_processing_needs_makes_no_dead_letter(postgres: Postgres, tmp_path: Path) -> None:
    """Two full batches, so that the worker never idles."""
    url = postgres.create_database()
    put_all(url, [body(eventId=f"event{number}") for number in range(100)])
    (tmp_path / "own.py").write_text(
        "import asyncio, os\nfrom heroku import worker\n"
        "asyncio.run(worker.work(os.environ['DATABASE_URL'], lambda event: os.stat('up')))\n"
    )
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    program = Program("own", {"DATABASE_URL": url, "PYTHONPATH": path}, tmp_path)
    # Longer than five attempts took when they followed at once.
    wait_until(url, "(SELECT min(attempts) FROM events) >= 3", 60)
    (tmp_path / "up").touch()
    wait_until(url, "NOT EXISTS (SELECT FROM events WHERE processed_at IS NULL)", 120)
    assert execute(url, "SELECT max(attempts) AS most FROM events")[0]["most"] < MAX_ATTEMPTS
    assert program.stop() == 0
    program.close()


@pytest.mark.parametrize("table", ["", "CREATE TABLE events (id int)"])
def test_worker_on_a_database_that_is_not_the_receivers_ends_with_a_sentence(postgres: Postgres, table: str) -> None:
    url = postgres.create_database()
    execute(url, "DROP TABLE events CASCADE")
    if table:
        execute(url, table)
    found = run_module("heroku.worker", DATABASE_URL=url)
    assert found.returncode == 1
    assert found.stderr.startswith("The worker cannot use the database: ")
    assert "Undefined" in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_worker_that_never_reaches_its_database_ends_with_a_sentence() -> None:
    found = run_module("heroku.worker", DATABASE_URL=f"postgres://u:hidden@127.0.0.1:{free_port()}/d")
    assert found.returncode == 1
    assert found.stderr.startswith("The worker cannot use the database: ")
    assert "hidden" not in found.stderr


def test_worker_reconnects_to_the_database(tmp_path: Path) -> None:
    with postgresql.running() as server:
        url = server.create_database()
        worker = Program("heroku.worker", {"DATABASE_URL": url}, tmp_path)
        put_all(url, [fresh_body()])
        wait_until(url, "NOT EXISTS (SELECT FROM events WHERE processed_at IS NULL)")
        server.kill()
        server.start()
        put_all(url, [fresh_body()])
        wait_until(url, "NOT EXISTS (SELECT FROM events WHERE processed_at IS NULL)")
        assert worker.stop() == 0
        worker.close()


def test_app_json() -> None:
    app = json.loads((ROOT / "heroku" / "app.json").read_text())
    assert app["env"]["DT_SIGNATURE_SECRET"]["generator"] == "secret"
    assert [addon["plan"].split(":")[0] for addon in app["addons"]] == ["heroku-postgresql"]
    procfile = dict(line.split(": ", 1) for line in (ROOT / "heroku" / "Procfile").read_text().splitlines())
    assert procfile.keys() == {"release", "web", "worker"} >= app["formation"].keys()
    assert (ROOT / "heroku" / ".python-version").read_text() == "3.13\n"
