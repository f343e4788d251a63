"""The package that `make package-heroku` writes, installed into an empty environment and run as Heroku does."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deliveries import SECRET, fresh_body, signed
from tests.support.environments import environment_of
from tests.support.postgres import Postgres, execute
from tests.support.processes import ROOT, running

# What a Basic dyno has beside the app's settings, set by Heroku's buildpack:
# https://github.com/heroku/heroku-buildpack-python/blob/main/spec/hatchet/profile_d_scripts_spec.rb
DYNO = {
    "DYNO": "web.1",
    "DYNO_RAM": "512",
    "FORWARDED_ALLOW_IPS": "*",
    "GUNICORN_CMD_ARGS": "--access-logfile -",
    "LANG": "C.UTF-8",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PYTHONUNBUFFERED": "true",
    "WEB_CONCURRENCY": "2",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The staged tree, outside the repository."""
    target = tmp_path_factory.mktemp("package") / "app"
    subprocess.run([sys.executable, ROOT / "tools" / "package.py", "heroku"], check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(ROOT / "dist" / "heroku", target, ignore=shutil.ignore_patterns(".git"))
    return target


@pytest.fixture(scope="module")
def python(package: Path) -> Path:
    """An environment with only the package's requirements, as the buildpack makes it."""
    return environment_of(package)


def test_package_contents(package: Path) -> None:
    found = {path.name for path in package.iterdir()}
    assert found == {
        *("Procfile", "app.json", ".python-version", "requirements.txt", "README.md", "LICENSE"),
        *("core", "server", "heroku"),
    }


def test_procfile_commands_run(package: Path, python: Path, postgres: Postgres) -> None:
    processes = dict(line.split(": ", 1) for line in (package / "Procfile").read_text().splitlines())
    url = postgres.create_database()
    execute(url, "DROP TABLE events CASCADE")
    modules = {}
    for name, command in processes.items():
        program, flag, modules[name] = shlex.split(command)
        assert (program, flag) == ("python", "-m")
    settings = {**DYNO, "DT_SIGNATURE_SECRET": SECRET, "DATABASE_URL": url}
    environ = {"PATH": os.environ["PATH"], **settings}
    released = subprocess.run([python, "-m", modules["release"]], cwd=package, env=environ, check=False)
    assert released.returncode == 0
    content = fresh_body()
    with running(modules["web"], settings, package, root=package, python=str(python)) as web:
        assert web.request("POST", "/", {}, content).status == 401
        assert web.request("POST", "/", signed(content), content).headers["event-outcome"] == "stored"
        assert web.request("POST", "/", signed(content), content).headers["event-outcome"] == "duplicate"
        # The repository is not on its path.
        maps = Path(f"/proc/{web.process.pid}/environ")
        assert not maps.exists() or str(ROOT).encode() not in maps.read_bytes()
    assert [row["body"] for row in execute(url, "SELECT body FROM events")] == [content]
