"""Heroku's README is correct: its queries, its columns and its commands."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.event import Event, parse_stored
from core.settings import Settings
from dt_cloud.bodies import Device
from tests.support.pages import PAGES
from tests.support.processes import ROOT

if sys.platform == "win32":
    pytest.skip("the commands are for a POSIX shell", allow_module_level=True)

NOW = datetime.now(UTC).replace(microsecond=0)
HEROKU = PAGES["heroku/README.md"]


def test_its_queries_and_their_results(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres")
    from heroku.postgres import PostgresStore
    from tests.support.postgres import execute

    url = server.create_database()
    kept, old = device_events("emu00000000000000000aa", hours=3), device_events("emu00000000000000000bb", days=100)
    gone = device_events("emu00000000000000000aa", days=100)
    failing = kept[0].key

    async def fill() -> None:
        store = PostgresStore(url)
        await asyncio.gather(*(store.put(event, time.monotonic() + 8) for event in kept + old + gone))
        await store.close()

    asyncio.run(fill())
    execute(url, f"UPDATE events SET attempts = 5 WHERE key = '{failing}'")
    found = {statement: execute(url, statement) for statement in HEROKU.statements()}
    queries = [statement for statement in found if statement.startswith("SELECT")]
    assert len(queries) >= 6
    for statement in queries:
        assert found[statement], statement
    (dead,) = (rows for statement, rows in found.items() if "attempts >= 5" in statement and rows)
    assert [row["key"] for row in dead] == [failing]
    assert execute(url, "SELECT key FROM events WHERE attempts > 0") == []
    # The newest event of each type of the silent device, and all recent events.
    newest = {event.event_type: event.key for event in sorted(old, key=lambda event: event.received_at)}
    left = {row["key"] for row in execute(url, "SELECT key FROM events")}
    assert left == {event.key for event in kept} | set(newest.values())
    assert execute(url, "SELECT 1 FROM latest WHERE device_id = 'emu00000000000000000bb'")


def device_events(device_id: str, hours: int = 0, days: int = 0) -> list[Event]:
    """Return events of two types that arrived this long ago, an hour apart."""
    device = Device(device_id, "ccol8iuk9smqiha4e8l0")
    times = [NOW - timedelta(hours=hours + number, days=days) for number in range(3)]
    return [
        parse_stored(device.body(name, moment), moment) for moment in times for name in ("temperature", "networkStatus")
    ]


def test_the_columns_that_it_lists_are_those_of_the_view(request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue("postgres")
    (listed,) = re.findall(r"Columns: (.*?)\.\n", HEROKU.prose, re.DOTALL)
    rows = server.execute(
        server.create_database().rpartition("/")[2],
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'readings' ORDER BY ordinal_position",
    )
    assert re.findall(r"`(\w+)`", listed) == [row["column_name"] for row in rows]


# A stand-in for Heroku's CLI: prints its arguments, and has a repository to push to.
FAKE_HEROKU = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
case $1 in
git:remote) git remote add heroku "$REMOTE" ;;
esac
"""


@pytest.fixture
def shell(tmp_path: Path) -> Any:
    """Yield a function that runs a script in a folder with this heroku, and returns its arguments."""
    for program in ("git", "make", "openssl"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}: install it")
    fake = tmp_path / "bin" / "heroku"
    fake.parent.mkdir()
    fake.write_text(FAKE_HEROKU)
    fake.chmod(0o755)
    calls = tmp_path / "calls"
    environ = {
        "PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHON": sys.executable,
        "CALLS": str(calls),
        "REMOTE": str(tmp_path / "remote.git"),
        **{f"GIT_{who}_{what}": "tests" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }

    def run(script: str, folder: Path = tmp_path) -> list[str]:
        done = subprocess.run(
            ["sh", "-eu"],
            input=script,
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return calls.read_text().splitlines()

    return run


def secret_set(call: str) -> Settings:
    """Load the arguments of config:set."""
    match = re.fullmatch(r"config:set (DT_SIGNATURE_SECRET)=(.*) --app APP", call)
    assert match, call
    return Settings.load({match[1]: match[2]})


def test_the_first_commands_make_a_secret_that_is_long_enough(shell: Any) -> None:
    login, create, add, secret = shell(*HEROKU.of("sh", "Create the app, the database and the secret"))
    assert login == "login"
    assert create == "create APP --no-remote"
    plans = [addon["plan"] for addon in json.loads((ROOT / "heroku/app.json").read_text())["addons"]]
    assert add == f"addons:create {plans[0]} --wait --app APP"
    settings = secret_set(secret)
    assert settings.warnings == ()
    assert len(settings.verifier.secrets[0]) == 64


def test_package_is_pushed_as_a_separate_repository(shell: Any, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("core", "heroku", "tools"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=ignored)
    for file in ("Makefile", "LICENSE"):
        shutil.copy(ROOT / file, checkout)
    shell('git init --quiet --bare "$REMOTE"; heroku login')
    script, *_ = HEROKU.of("sh", "Push the package")
    assert shell(script, checkout)[1:] == ["git:remote --app APP", "ps:type basic --app APP"]
    # The package is pushed again after a change, as the page says for a new version.
    (checkout / "heroku" / "worker.py").write_text("# Another\n")
    again = [
        line for line in script.splitlines() if line.startswith(("make ", "cd ", "git add", "git commit", "git push"))
    ]
    shell("\n".join(again), checkout)
    git = ["git", "--git-dir", str(tmp_path / "remote.git")]
    names = subprocess.run([*git, "ls-tree", "--name-only", "main"], capture_output=True, text=True, check=True)
    assert {"Procfile", "requirements.txt", "app.json", ".python-version", "core", "heroku"} <= set(
        names.stdout.split()
    )
    log = subprocess.run([*git, "log", "--oneline", "main"], capture_output=True, text=True, check=True)
    assert len(log.stdout.splitlines()) == 2
    worker = subprocess.run([*git, "show", "main:heroku/worker.py"], capture_output=True, text=True, check=True)
    assert worker.stdout == "# Another\n"
