"""The local receiver as a user runs it."""

import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from local.database import Database
from tests.support.deliveries import SECRET, fresh_body, signed
from tests.support.ports import free_port
from tests.support.processes import ROOT, Answer, Program, running

ENVIRON = {"DT_SIGNATURE_SECRET": SECRET}


def post(program: Program, content: bytes, secret: str = SECRET) -> Answer:
    return program.request("POST", "/", signed(content, secret=secret), content)


def stored(path: Path) -> list[bytes]:
    connection = sqlite3.connect(path)
    found = [row[0] for row in connection.execute("SELECT body FROM events")]
    connection.close()
    return found


def run_to_its_end(environ: dict[str, str], folder: Path) -> str:
    """Run a receiver that does not start; return its message."""
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": str(free_port())}
    found = subprocess.run(
        [sys.executable, "-m", "local"], env=basics | environ, cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert found.returncode != 0
    assert "Traceback" not in found.stderr
    assert "Listening" not in found.stderr
    return found.stderr + found.stdout


def test_first_run_generates_a_secret_and_prints_what_to_try(tmp_path: Path) -> None:
    file = tmp_path / "var" / "signature-secret"
    with running("local", {}, tmp_path) as program:
        secret = file.read_text()
        assert len(secret) >= 32
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        output = program.output()
        assert secret not in output
        for command in ("make send", "make events", f"ngrok http {program.port}"):
            assert command in output
        assert post(program, fresh_body(), secret).status == 200
    with running("local", {}, tmp_path) as program:
        assert file.read_text() == secret
        assert post(program, fresh_body(), secret).status == 200
    assert len(stored(tmp_path / "var" / "events.db")) == 2


@pytest.mark.parametrize("environ", [{"DT_SIGNATURE_POLICY": "any"}, {"DT_ORGANIZATION_ID": "cvinmt9aq9sc738g6eog"}])
def test_generated_secret_is_kept_beside_other_settings(environ: dict[str, str], tmp_path: Path) -> None:
    with running("local", environ, tmp_path) as program:
        secret = (tmp_path / "var" / "signature-secret").read_text()
        assert post(program, fresh_body(), secret).status == 200


def test_configured_secret_is_used(tmp_path: Path) -> None:
    with running("local", ENVIRON, tmp_path) as program:
        assert post(program, fresh_body()).status == 200
    assert not (tmp_path / "var" / "signature-secret").exists()


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"DT_SIGNATURE_POLICY": "es256"}, "DT_ORGANIZATION_ID"),
        ({"DT_SIGNATURE_SECRET": "[1]"}, "DT_SIGNATURE_SECRET"),
        ({"PORT": "http"}, "PORT must be a number"),
        ({"PORT": "99999"}, "from 1 to 65535"),
        ({"PORT": "0"}, "from 1 to 65535"),
        ({"PORT": "\u0663"}, "from 1 to 65535"),
        ({"DT_DATABASE": "/dev/null/events.db"}, "Set DT_DATABASE"),
        ({"DT_DATABASE": "postgres://u:hidden@127.0.0.1/d"}, "DT_DATABASE is a URL"),
        ({"DT_DATABASE": "jdbc:postgresql://u:hidden@127.0.0.1/d"}, "DT_DATABASE is a URL"),
    ],
)
def test_invalid_setting_exits_at_start_with_a_message(environ: dict[str, str], sentence: str, tmp_path: Path) -> None:
    said = run_to_its_end(environ, tmp_path)
    assert sentence in said
    assert "hidden" not in said
    assert not list(tmp_path.glob("*:*"))


def test_port_in_use_is_reported(tmp_path: Path) -> None:
    with running("local", ENVIRON, tmp_path) as program:
        second = Program("local", ENVIRON, tmp_path, port=program.port)
        assert second.process.wait(20) != 0
        assert f"Port {program.port} is in use, perhaps by another receiver." in second.output()
        assert "Listening" not in second.output()
        second.close()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"not a database, but long enough for one" * 100, "is not an SQLite database"),
        (b"CREATE TABLE events (theirs)", "has tables of another program"),
        (b"CREATE VIEW events AS SELECT 1 AS key", "has tables of another program"),
    ],
)
def test_file_of_another_program_is_not_changed(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "e.db"
    if content.startswith(b"CREATE"):
        connection = sqlite3.connect(path)
        connection.execute(content.decode())
        connection.commit()
        connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    said = run_to_its_end(ENVIRON | {"DT_DATABASE": str(path)}, tmp_path)
    assert f"{path} {sentence}" in said
    assert path.read_bytes() == before


def test_welcome_has_the_commands_that_reach_it(tmp_path: Path) -> None:
    with running("local", ENVIRON | {"DT_DATABASE": "my events.db"}, tmp_path) as program:
        output = program.output()
    assert "The signature secret is in DT_SIGNATURE_SECRET." in output
    assert f"make send ARGS=http://127.0.0.1:{program.port} " in output
    assert "DT_DATABASE='my events.db' make events " in output
    assert "if DT_SIGNATURE_SECRET is set there too" in output


def test_listens_on_loopback_only(tmp_path: Path) -> None:
    with running("local", ENVIRON, tmp_path) as program:
        port = f"{program.port:04X}"
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line]
        assert f"0100007F:{port}" in listening
        assert f"00000000:{port}" not in listening


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_graceful_shutdown_answers_requests_in_flight(number: signal.Signals, tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    contents = [fresh_body() for _ in range(5)]
    answers: list[Answer] = []
    with running("local", {**ENVIRON, "DT_DATABASE": str(path)}, tmp_path) as program:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=lambda each=each: answers.append(post(program, each))) for each in contents]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        program.process.send_signal(number)
        time.sleep(0.3)
        assert answers == []
        other.execute("ROLLBACK")
        other.close()
        for thread in threads:
            thread.join()
        assert program.process.wait(20) == 0
    assert [answer.status for answer in answers] == [200] * 5
    assert sorted(stored(path)) == sorted(contents)


def test_deleted_database_is_recreated(tmp_path: Path) -> None:
    """Otherwise events would go to the deleted open file."""
    path = tmp_path / "events.db"
    with running("local", {**ENVIRON, "DT_DATABASE": str(path)}, tmp_path) as program:
        contents = [fresh_body(), fresh_body()]
        assert post(program, contents[0]).status == 200
        for file in tmp_path.glob("events.db*"):
            file.unlink()
        assert post(program, contents[1]).status == 200
        # What was in the log alone is stored again: a move to another disk deletes the file, too.
        assert stored(path) == contents


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit(2), which is Linux's")
def test_idle_wal_is_empty_so_that_no_other_database_replays_it(tmp_path: Path) -> None:
    path, backup, log = tmp_path / "events.db", tmp_path / "backup.db", tmp_path / "events.db-wal"
    # A backup of another day: its pages are not those of the log.
    with running("local", {**ENVIRON, "DT_DATABASE": str(backup)}, tmp_path) as program:
        contents = [fresh_body()]
        post(program, contents[0])
        program.stop()
    with running("local", {**ENVIRON, "DT_DATABASE": str(path)}, tmp_path) as program:
        for _ in range(300):
            assert post(program, fresh_body()).status == 200
        assert log.stat().st_size > 0
        deadline = time.monotonic() + 30
        while log.stat().st_size:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        backup.chmod(0o644)
        backup.rename(path)
        # A look-up comes before the next event.
        assert stored(path) == contents
        contents += fresh_body(), fresh_body()
        assert post(program, contents[1]).status == 200
        line = program.wait_for_lines(301)[-1]
        assert (line["severity"], "moved, replaced or deleted" in line["note"]) == ("WARNING", True)
        assert post(program, contents[2]).status == 200
        assert "note" not in program.wait_for_lines(302)[-1]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    # And the 300, if the file was replaced before the receiver knew them to be in the old one.
    assert set(contents) <= set(stored(path))


def test_damaged_database_refuses_events(tmp_path: Path) -> None:
    path, damaged = tmp_path / "events.db", tmp_path / "damaged.db"
    with running("local", {**ENVIRON, "DT_DATABASE": str(path)}, tmp_path) as program:
        for _ in range(50):
            post(program, fresh_body())
    content = bytearray(path.read_bytes())
    content[8192:16_384] = os.urandom(8192)
    damaged.write_bytes(content)
    with running("local", {**ENVIRON, "DT_DATABASE": str(path)}, tmp_path) as program:
        path.unlink()
        damaged.rename(path)
        assert post(program, fresh_body()).status == 503
        assert program.wait_for_lines(1)[-1]["reason"].startswith("SQLITE_")
    done = run_to_its_end({"DT_DATABASE": str(path)}, tmp_path)
    assert "events.db is damaged" in done
    assert ".recover" in done


def test_wal_without_its_database_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with running("local", {**ENVIRON, "DT_DATABASE": str(path)}, tmp_path) as program:
        post(program, fresh_body())
        program.stop(signal.SIGKILL)
    path.rename(tmp_path / "moved.db")
    assert "events.db-wal does, and has acknowledged events" in run_to_its_end({"DT_DATABASE": str(path)}, tmp_path)
    (tmp_path / "moved.db").rename(path)
    with running("local", {**ENVIRON, "DT_DATABASE": str(path)}, tmp_path):
        assert len(stored(path)) == 1


def test_full_disk_is_503_until_there_is_room(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a full disk."""
    path = tmp_path / "events.db"
    with running("local", {**ENVIRON, "DT_DATABASE": str(path)}, tmp_path) as program:
        assert post(program, fresh_body()).status == 200
        _, hard = resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (4096, hard))
        refused = fresh_body()
        assert post(program, refused).status == 503
        assert post(program, refused).status == 503
        assert program.wait_for_lines(3)[-1]["reason"].startswith("SQLITE_")
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert post(program, refused).status == 200
        assert refused in stored(path)


def test_commits_are_durable(tmp_path: Path) -> None:
    database = Database(tmp_path / "events.db")
    connection = database._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA fullfsync").fetchone() == (1,)
    database.close()


@pytest.mark.parametrize(("argument", "status", "said"), [("--help", 0, "make run"), ("--port=1", 2, "--port=1")])
def test_unknown_arguments_are_refused(argument: str, status: int, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local", argument]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
