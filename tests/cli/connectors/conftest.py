"""A DT Cloud and a receiver for each file of tests, and dtconn with their addresses."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from dt_cloud.accounts import ORGANIZATION
from tests.support.desk import SECRET
from tests.support.dt_client import keep_client
from tests.support.dt_cloud import CONNECTORS, DEVELOPER, FIRST_PROJECT, DtCloud, Refused, dt_cloud
from tests.support.processes import ROOT, Program, running

_ROLES = cycle((DEVELOPER, "project.admin", "organization.admin"))


@dataclass
class Receiver:
    """The local receiver.

    Attributes:
        program: Its process.
        store: Its database.
    """

    program: Program
    store: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.program.port}"


@pytest.fixture(scope="module")
def module_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DtCloud]:
    # Without its limit of requests, for which every test would have to wait.
    with dt_cloud(tmp_path_factory.mktemp("cloud"), "--requests-per-second", "10000") as server:
        yield server


@pytest.fixture
def cloud(module_cloud: DtCloud) -> Iterator[DtCloud]:
    """The file's cloud, without connectors."""
    yield module_cloud
    for number in module_cloud.ledger()["connectors"]:
        # The ledger has deleted ones too.
        with contextlib.suppress(Refused):
            module_cloud.desk("DELETE", f"/connectors/{number}")


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    folder = tmp_path_factory.mktemp("receiver")
    environ = {"DT_SIGNATURE_SECRET": SECRET, "DT_DATABASE": str(folder / "events.db")}
    with running("local", environ, folder) as program:
        yield Receiver(program, folder / "events.db")


@pytest.fixture(autouse=True)
def client_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keep_client(monkeypatch)
    # No var/signature-secret and no var/events.db of this clone.
    monkeypatch.chdir(tmp_path)
    for module in ("cli.places", "local.deployment"):
        monkeypatch.setattr(f"{module}._CLONE", tmp_path)


Dtconn = Callable[..., Result]


def environment(cloud: DtCloud, role: str) -> dict[str, str]:
    """Return what a process of dtconn needs to ask this cloud."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **cloud.environment(role)}


@pytest.fixture
def dtconn(cloud: DtCloud) -> Dtconn:
    """Run dtconn with the variables that `make cloud` prints, for each role that may change something in turn."""

    def run(*arguments: str | Path, role: str = "", **environ: str | None) -> Result:
        role = role or next(_ROLES)
        env: dict[str, str | None] = {
            **environment(cloud, role),
            "DT_CLOUD_PROJECT": FIRST_PROJECT,
            "DT_SIGNATURE_SECRET": SECRET,
            "DT_ORGANIZATION_ID": ORGANIZATION,
            "DT_DATABASE": None,
            "DATABASE_URL": None,
            "COLUMNS": "200",
        }
        result = CliRunner().invoke(app, [*map(str, arguments)], env=env | environ)
        assert not result.exception or isinstance(result.exception, SystemExit), result.exception
        for secret in (cloud.accounts[role].secret, environ.get("DT_SIGNATURE_SECRET", SECRET)):
            assert not secret or secret not in result.output
        return result

    return run


def listed(cloud: DtCloud) -> list[dict[str, Any]]:
    """Return the first project's connectors."""
    found: list[dict[str, Any]] = cloud.call("GET", CONNECTORS)["dataConnectors"]
    return found
