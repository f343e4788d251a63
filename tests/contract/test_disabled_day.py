"""A day without the Data Connector of a deployed receiver: after a backfill, published equals stored, once."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.deployment import find_deployment
from cli.main import app
from core.event import FETCHED
from deployed.contract import Place
from tests.contract.deployed import Deployed, factories
from tests.support.deliveries import SECRET
from tests.support.disabled_day import Day
from tests.support.dt_client import keep_client
from tests.support.dt_cloud import FIRST_PROJECT, DtCloud, dt_cloud

pytestmark = pytest.mark.long

FACTORIES = factories()


@pytest.fixture(params=FACTORIES)
def deployed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployed]:
    with FACTORIES[request.param](SECRET, tmp_path, request) as found:
        yield found


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[DtCloud]:
    folder = tmp_path / "cloud"
    folder.mkdir()
    with dt_cloud(folder) as found:
        yield found


def test_after_enable_and_backfill_published_equals_stored(
    deployed: Deployed, cloud: DtCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_client(monkeypatch)
    environ = cloud.environment() | {"DT_CLOUD_PROJECT": FIRST_PROJECT}
    platform, *name = deployed.arguments
    source = find_deployment(platform, Place(name=name[0] if name else None)).source

    def dtconn(*arguments: str, **more: str) -> str:
        result = CliRunner().invoke(app, arguments, env=environ | more)
        assert result.exit_code == 0, result.output
        return result.stdout

    def stored() -> dict[str, str]:
        """Return who signed each event."""
        lines = dtconn("events", "--from", source, "--json", "--limit", "0", "--yes").splitlines()
        rows = [json.loads(line) for line in lines]
        assert len({row["key"] for row in rows}) == len(rows), "an event is stored twice"
        return {row["key"]: row["signedBy"] for row in rows}

    day = Day(cloud, deployed.url, SECRET, sensors=2)
    before = stored()
    missing = day.published() - before.keys()
    assert (len(before), len(missing)) == (3 * 3, 8 * 3)

    enabled = json.loads(dtconn("enable", day.number, "--from", source, "--yes", "--json"))
    assert (enabled["status"], enabled["wasActive"]) == ("ACTIVE", False)
    assert "gapSince" in enabled
    day.resume()

    target = platform if deployed.settings else source
    for fetched in (len(missing), 0):
        found = json.loads(dtconn("backfill", *day.window, "--to", target, "--json", **deployed.settings))
        assert (found["stored"], found["refused"]) == (fetched, 0)
    after = stored()
    assert after.keys() == day.published()
    assert {key for key, signed in after.items() if signed == FETCHED} == missing
    assert after.items() >= before.items()
