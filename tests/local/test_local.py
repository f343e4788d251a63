"""The local receiver as a person meets it."""

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
from tests.support.processes import ROOT, Answer, Program, running

ENVIRON = {"DT_SIGNATURE_SECRET": SECRET}


def post(program: Program, content: bytes, secret: str = SECRET) -> Answer:
    return program.request("POST", "/", signed(content, secret=secret), content)


def stored(path: Path) -> list[bytes]:
    connection = sqlite3.connect(path)
    found = [row[0] for row in connection.execute("SELECT body FROM events")]
    connection.close()
    return found


def test_first_run_makes_a_secret_and_says_what_to_try(tmp_path: Path) -> None:
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


def test_a_secret_that_is_set_is_the_secret(tmp_path: Path) -> None:
    with running("local", ENVIRON, tmp_path) as program:
        assert post(program, fresh_body()).status == 200
    assert not (tmp_path / "var" / "signature-secret").exists()


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"DT_SIGNATURE_POLICY": "es256"}, "DT_ORGANIZATION_ID"),
        ({"DT_SIGNATURE_SECRET": "[1]"}, "DT_SIGNATURE_SECRET"),
        ({"PORT": "http"}, "PORT must be a number"),
        ({"DT_DATABASE": "/dev/null/events.db"}, "Set DT_DATABASE"),
    ],
)
def test_a_fault_stops_it_at_start_with_a_sentence(environ: dict[str, str], sentence: str, tmp_path: Path) -> None:
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": "0"}
    found = subprocess.run(
        [sys.executable, "-m", "local"], env=basics | environ, cwd=tmp_path, capture_output=True, text=True, timeout=20
    )
    assert found.returncode != 0
    assert sentence in found.stderr + found.stdout
    assert "Listening" not in found.stderr


def test_a_port_in_use_is_said_to_be(tmp_path: Path) -> None:
    with running("local", ENVIRON, tmp_path) as program:
        second = Program("local", ENVIRON, tmp_path, port=program.port)
        assert second.process.wait(20) != 0
        assert "address already in use" in second.output()
        assert "Listening" not in second.output()
        second.close()


def test_it_listens_on_loopback_only(tmp_path: Path) -> None:
    with running("local", ENVIRON, tmp_path) as program:
        port = f"{program.port:04X}"
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line]
        assert f"0100007F:{port}" in listening
        assert f"00000000:{port}" not in listening


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_is_in_flight(number: signal.Signals, tmp_path: Path) -> None:
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


def test_a_database_that_is_deleted_is_made_anew(tmp_path: Path) -> None:
    """The open file would go on taking events, and nobody could ever read them."""
    path = tmp_path / "events.db"
    with running("local", {**ENVIRON, "DT_DATABASE": str(path)}, tmp_path) as program:
        assert post(program, fresh_body()).status == 200
        for file in tmp_path.glob("events.db*"):
            file.unlink()
        content = fresh_body()
        assert post(program, content).status == 200
        assert stored(path) == [content]


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit(2), which is Linux's")
def test_a_full_disk_is_503_and_over_when_there_is_room(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: a test cannot fill the machine's."""
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


def test_commits_wait_for_the_disk(tmp_path: Path) -> None:
    database = Database(tmp_path / "events.db")
    connection = database._connection
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA fullfsync").fetchone() == (1,)
    database.close()


@pytest.mark.parametrize(("argument", "status", "said"), [("--help", 0, "make run"), ("--port=1", 2, "--port=1")])
def test_what_is_typed_is_not_passed_over(argument: str, status: int, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "local", argument]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
