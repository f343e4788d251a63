"""The worker as a program: kill, signals, options and errors."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.environment import Environment
from core.event import parse_stored, rfc3339
from core.receiver import DEADLINE
from ibm_actions.wiring import build_service
from ibm_actions.worker import IDLE_SECONDS
from tests.ibm_actions.conftest import Put
from tests.ibm_actions.worker.following import MONTH, NOW, event, wait_until
from tests.support.deliveries import body
from tests.support.processes import ROOT, Program
from tests.support.proxy import Proxy

# A changed example, as users write: slow for each event.
OWN = """
import os, time

from ibm_actions.worker import main

def process(event):
    print("processed", event.event_id, flush=True)
    time.sleep(float(os.environ["SECONDS"]))

main(["--name", "own", "--since", "2026-01"], process)
"""


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start a program that follows, and kill it after the test."""
    with contextlib.ExitStack() as stack:

        def start(module: str, **environ: str) -> Program:
            program = Program(module, environ, tmp_path)
            stack.callback(program.close)
            stack.callback(program.stop, signal.SIGKILL)
            return program

        yield start


def test_kill_in_the_middle_of_a_batch_loses_no_event(
    put: Put, programs: Any, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    environ |= {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    put(*(event(f"e{index}") for index in range(20)))

    def processed(program: Program) -> list[str]:
        return [line.split()[1] for line in program.output().splitlines() if line.startswith("processed")]

    first = programs("own", SECONDS="0.05", **environ)
    wait_until(lambda: len(processed(first)) >= 7)
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    assert len(processed(first)) < 20
    second = programs("own", SECONDS="0", **environ)
    wait_until(lambda: len(processed(second)) >= 20)
    # The current batch begins again.
    assert sorted(processed(second)) == sorted(f"e{index}" for index in range(20))
    wait_until(lambda: _place_is_kept(environ, "own"))
    second.stop(signal.SIGKILL)
    put(event("later"))
    third = programs("own", SECONDS="0", **environ)
    wait_until(lambda: processed(third) == ["later"])


def _place_is_kept(environ: dict[str, str], name: str) -> bool:
    path = f"/{environ['DT_DATABASE_PREFIX']}-{NOW:%Y-%m}/_local/consumer-{name}"
    return build_service(Environment(environ)).call("GET", path, time.monotonic() + DEADLINE)[0] == 200


def test_signal_in_the_middle_of_a_batch_finishes_it(
    put: Put, programs: Any, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    environ |= {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    put(*(event(f"e{index}") for index in range(20)))
    first = programs("own", SECONDS="0.05", **environ)
    wait_until(lambda: first.output().count("processed") >= 3)
    assert first.stop() == 0
    assert first.output().count("processed") == 20
    put(event("later"))
    second = programs("own", SECONDS="0", **environ)
    wait_until(lambda: second.output().split() == ["processed", "later"])


MODULE = "ibm_actions.worker"


def test_example_prints_readings_and_shuts_down_on_a_signal(
    put: Put, programs: Any, environ: dict[str, str], proxy: Proxy
) -> None:
    put(event("a"), event("b", NOW - MONTH / 31, value=0))
    text = body(eventType="motion", eventId="c", data={"motion": {"state": "HERE"}}, timestamp=rfc3339(NOW))
    put(parse_stored(text.replace(b"HERE", b"\\u009b2J\\u202e\\ud800"), NOW))
    program = programs(MODULE, **environ)
    # No control reaches the terminal, nor half a pair of surrogates.
    device = "emucdd6ef2eu277bo8f52vg"
    expected = {f"{device} temperature 21.5 °C", f"{device} temperature 0 °C", f"{device} state ?2J?\ufffd"}
    wait_until(lambda: len(program.output().splitlines()) >= 3)
    assert {line.rstrip() for line in program.output().splitlines()} == expected
    # It waits for more, for seconds on end, and ends at once.
    time.sleep(0.3)
    started = time.monotonic()
    assert program.stop() == 0
    assert time.monotonic() - started < IDLE_SECONDS
    assert {line.rstrip() for line in program.output().splitlines()} == expected


def test_ctrl_c_exits_silently(programs: Any, environ: dict[str, str]) -> None:
    program = programs(MODULE, **environ)
    wait_until(lambda: _is_handling_signals(program))
    assert program.stop(signal.SIGINT) == 0
    assert program.output() == ""


def _is_handling_signals(program: Program) -> bool:
    status = Path(f"/proc/{program.process.pid}/status")
    if not status.exists():
        time.sleep(1.5)
        return True
    [caught] = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def test_since_and_name_options(put: Put, programs: Any, environ: dict[str, str]) -> None:
    old, new = event("old", value=1), event("new", value=2)
    old.received_at = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    new.received_at = datetime(2026, 2, 1, tzinfo=UTC)
    put(old, new)
    command = [sys.executable, "-W", "error", "-m", MODULE, "--name", "x", "--since", "2026-02"]
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=basics | environ, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        found = program.stdout.readline().split()[2]
        program.terminate()
        assert program.stdout.read() == ""
        assert program.wait(30) == 0
    assert found == "2"
    assert _place_is_kept(environ, "x")


def run(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    basics = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    command = [sys.executable, "-W", "error", "-m", MODULE, *arguments]
    return subprocess.run(command, env=basics | environ, capture_output=True, text=True, timeout=60, check=False)


def test_help() -> None:
    found = run("--help")
    assert (found.returncode, found.stderr) == (0, "")
    for part in ("usage: python -m ibm_actions.worker", "--name", "--since", "DT_CLOUDANT"):
        assert part in found.stdout


@pytest.mark.parametrize(
    ("arguments", "changes", "status", "sentence"),
    [
        ([], {"DT_CLOUDANT": ""}, 1, "DT_CLOUDANT is not set: "),
        ([], {"DT_DATABASE_PREFIX": "A"}, 1, "DT_DATABASE_PREFIX must have only "),
        ([], {"DT_CLOUDANT_API_KEY": "my-key"}, 1, "Set one of DT_TRUSTED_PROFILE, "),
        ([], {"DT_CLOUDANT": "http://user:password@127.0.0.1:9"}, 1, "Cloudant does not answer: ConnectionError."),
        ([], {"DT_CLOUDANT": "http://user:%22password@127.0.0.1:9"}, 1, "IBM's SDK refuses the credentials: "),
        (["--since", "2026-13"], {}, 2, "--since must be a month, such as 2026-01"),
        (["--since", "yesterday"], {}, 2, "--since must be a month, such as 2026-01"),
        (["--since", "2026-01-01"], {}, 2, "--since must be a month, such as 2026-01"),
        (["device"], {}, 2, "unrecognized arguments: device"),
    ],
    ids=repr,
)
def test_invalid_arguments_and_settings_are_one_sentence(
    arguments: list[str], changes: dict[str, str], status: int, sentence: str, environ: dict[str, str]
) -> None:
    found = run(*arguments, **environ | changes)
    assert sentence in found.stderr
    assert "Traceback" not in found.stderr
    assert (found.returncode, found.stdout) == (status, "")
    assert not any(hidden in found.stderr for hidden in (":password@", "my-key"))
