"""A server in a subprocess, started as a platform starts it."""

import signal
import socket
from pathlib import Path

import pytest

from tests.support.deliveries import SECRET, body, signed
from tests.support.ports import free_port
from tests.support.processes import Program, running

MODULE = "tests.server.program"
# Nothing listens on the default.
ENVIRON = {"DT_SIGNATURE_SECRET": SECRET, "DT_TABLE": "events", "DEFAULT_PORT": "1"}


def test_store_is_opened_at_start_and_closed_at_sigterm(tmp_path: Path) -> None:
    with running(MODULE, ENVIRON, tmp_path) as program:
        assert program.output().startswith("opened\n")
        assert program.request("POST", "/", signed(body()), body()).status == 200
        assert program.stop(signal.SIGTERM) == 0
        assert program.output().endswith("closed\n")
        [line] = program.lines()
        assert line["outcome"] == "stored"


def test_host_of_the_environment(tmp_path: Path) -> None:
    with running(MODULE, ENVIRON, tmp_path) as program, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", program.port), timeout=5)


def test_default_port_where_the_environment_names_none(tmp_path: Path) -> None:
    port = free_port()
    with running(MODULE, {**ENVIRON, "PORT": "", "DEFAULT_PORT": str(port)}, tmp_path, port=port) as program:
        assert program.request("GET", "/healthz").status == 200


def test_answers_have_no_headers_of_uvicorns_own(tmp_path: Path) -> None:
    with running(MODULE, ENVIRON, tmp_path) as program:
        assert program.request("POST", "/", signed(body()), body()).headers == {
            "content-length": "0",
            "event-outcome": "stored",
        }


def test_unusable_environment_ends_the_process_with_every_fault(tmp_path: Path) -> None:
    program = Program(MODULE, {"DEFAULT_PORT": "1", "DT_LEEWAY": "x"}, tmp_path)
    assert program.process.wait(30) == 1
    faults = program.output()
    program.close()
    assert "Traceback" not in faults
    for name in ("DT_SIGNATURE_SECRET", "DT_LEEWAY", "DT_TABLE"):
        assert name in faults
    assert "opened" not in faults
