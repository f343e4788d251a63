"""``dtconn backfill``: after a day disabled, published equals stored, each event once."""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cli.places import adapters
from tests.cli.connectors.between import Between
from tests.cli.connectors.conftest import Dtconn, Receiver, environment
from tests.support.desk import SECRET
from tests.support.disabled_day import Day
from tests.support.dt_cloud import DEVICES, DtCloud, loopback
from tests.support.processes import running, spawn

DONE, FAILED, WRONG, REFUSED, NOT_FOUND, LATER = range(6)


@pytest.fixture(scope="module")
def day(module_cloud: DtCloud, receiver: Receiver) -> Day:
    day = Day(module_cloud, receiver.url, SECRET)
    module_cloud.desk("PATCH", f"/connectors/{day.number}", {"status": "ACTIVE"})
    day.resume()
    return day


@pytest.fixture
def cloud(module_cloud: DtCloud) -> DtCloud:
    """The file's cloud, whose connector stays."""
    return module_cloud


@pytest.fixture
def copy(day: Day, receiver: Receiver, tmp_path: Path) -> Path:
    """The receiver's store after the day, which the test may change."""
    path = tmp_path / "copy.db"
    with closing(sqlite3.connect(receiver.store)) as there, closing(sqlite3.connect(path)) as here:
        there.backup(here)
    return path


def rows(path: Path, day: Day) -> dict[str, str]:
    """Return who signed each event of the sensors."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT key, signed_by, device_id FROM events").fetchall()
    return {key: signed for key, signed, device in found if device in day.sensors}


def test_after_a_disabled_day_published_equals_stored(dtconn: Dtconn, day: Day, copy: Path) -> None:
    before = rows(copy, day)
    missing = day.published() - before.keys()
    assert len(missing) == 8 * 4
    result = dtconn("backfill", *day.window, "--from", copy, "--verify", "--json")
    assert result.exit_code == DONE, result.output
    found = json.loads(result.stdout)
    assert (found["stored"], found["duplicate"]) == (len(missing), 4)
    assert (found["recognised"], found["compared"]) == (8, 8)
    after = rows(copy, day)
    assert after.keys() == day.published()
    assert {key for key, signed in after.items() if signed == "fetched"} == missing
    assert after.items() >= before.items()
    again = json.loads(dtconn("backfill", *day.window, "--from", copy, "--json").stdout)
    assert (again["stored"], again["duplicate"]) == (0, len(missing) + 4)


def test_a_fetched_event_is_marked_in_every_listing(dtconn: Dtconn, day: Day, copy: Path) -> None:
    dtconn("backfill", *day.window, "--from", copy, "--quiet")
    assert dtconn("events", "--from", copy, "--limit", "0").stdout.count("fetched") == 8 * 4
    assert "fetched" in dtconn("readings", "--from", copy, "--limit", "0").stdout
    lines = dtconn("readings", "--from", copy, "--json", "--limit", "0").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    mine = [each for each in found if each["signedBy"] == "fetched"]
    assert len(mine) == 8 * 4
    assert {each["name"] for each in mine} == {"Room 0", "Room 1", "Room 2"}
    (event,) = (
        json.loads(line)
        for line in dtconn("events", "--from", copy, "--json", "--limit", "0").stdout.splitlines()
        if json.loads(line)["key"] == mine[0]["key"]
    )
    body = json.loads(event["body"])
    assert set(body["labels"]) == {"name"}
    assert body["metadata"]["deviceType"] == "temperature"
    with closing(sqlite3.connect(copy)) as connection:
        view = connection.execute("SELECT count(*) FROM readings WHERE signed_by = 'fetched'").fetchone()
    assert view == (8 * 4,)


def test_a_filter_holds_for_what_is_fetched_too(dtconn: Dtconn, cloud: DtCloud, day: Day, tmp_path: Path) -> None:
    cloud.desk("PATCH", f"/connectors/{day.number}", {"events": ["touch"]})
    try:
        dtconn("backfill", *day.window, "--to", f"sqlite:{tmp_path / 'new.db'}")
    finally:
        cloud.desk("PATCH", f"/connectors/{day.number}", {"events": []})
    found = dtconn("events", "--from", tmp_path / "new.db", "--json", "--limit", "0").stdout.splitlines()
    assert {json.loads(line)["eventType"] for line in found} == {"touch"}


@pytest.mark.parametrize("platform", sorted(adapters()))
def test_each_platforms_store_is_named_and_wants_its_settings(dtconn: Dtconn, day: Day, platform: str) -> None:
    pytest.importorskip(f"{adapters()[platform]}.wiring")
    result = dtconn("backfill", *day.window, "--to", platform, DT_DATABASE="https://not-a-file")
    assert (result.exit_code, result.stdout) == (WRONG, "")
    assert result.stderr


def test_a_misspelt_platform_is_no_file(dtconn: Dtconn, day: Day) -> None:
    result = dtconn("backfill", *day.window, "--to", "awss")
    assert (result.exit_code, result.stdout, Path("awss").exists()) == (WRONG, "", False)
    assert "sqlite:awss" in result.stderr


def test_killed_it_goes_on_with_the_next_device(cloud: DtCloud, dtconn: Dtconn, day: Day, copy: Path) -> None:
    environ = environment(cloud, "project.user")
    command = [sys.executable, "-m", "cli", "backfill", *day.window, "--from", str(copy)]
    checkpoint = copy.parent / f"var/backfill-{day.number}.json"
    there = Between(cloud)
    there.change[("GET", "events")] = ["passed", "held"]
    with loopback(there) as server:
        process = spawn(command, env=environ | {"DT_API_URL": server.url}, cwd=copy.parent)
        try:
            assert there.is_held.wait(60)
        finally:
            process.kill()
            process.wait()
    assert len(json.loads(checkpoint.read_text())["done"]) == 1
    again = Between(cloud)
    with loopback(again) as server:
        result = dtconn("backfill", *day.window, "--from", copy, "--json", DT_API_URL=server.url)
    assert result.exit_code == DONE, result.output
    assert not checkpoint.exists()
    devices = len(cloud.call("GET", DEVICES)["devices"])
    assert again.requests.count(("GET", "events")) == devices - 1
    assert rows(copy, day).keys() == day.published()


def test_where_nothing_can_be_compared_verify_stops_it(cloud: DtCloud, dtconn: Dtconn, day: Day, copy: Path) -> None:
    # DT Cloud keeps events for 30 days, so it has none of the day before.
    result = dtconn("backfill", day.number, "--since", "30d", "--from", copy, "--verify")
    assert (result.exit_code, result.stdout) == (FAILED, "")
    assert "Leave --verify out" in result.stderr


def test_ids_that_are_not_recognised_stop_it(dtconn: Dtconn, day: Day, tmp_path: Path, receiver: Receiver) -> None:
    with running("local", {"DT_SIGNATURE_SECRET": SECRET, "DT_DATABASE": "other.db"}, tmp_path):
        pass
    result = dtconn("backfill", *day.window, "--from", tmp_path / "other.db", "--verify")
    assert (result.exit_code, result.stdout) == (FAILED, "")
    assert "Nothing was written" in result.stderr
    assert dtconn("events", "--from", tmp_path / "other.db").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "yesterday"], "--since"),
        (["--since", "2026-02-01T00:00:00Z", "--until", "2026-01-01T00:00:00Z"], "before"),
        (["--since", "40d"], "30 days"),
        (["--since", "1d"], "Name the store"),
        (["--since", "1d", "--from", "dynamodb:events"], "--to aws"),
        (["--since", "1d", "--from", "misspelt.db"], "no database at --from"),
        (["--since", "1d", "--to", "https://example.com"], "--to sqlite"),
    ],
)
def test_wrong_arguments_write_nothing(dtconn: Dtconn, day: Day, arguments: list[str], said: str) -> None:
    result = dtconn("backfill", day.number, *arguments)
    assert (result.exit_code, result.stdout) == (WRONG, "")
    assert said in result.stderr
    assert not Path("misspelt.db").exists()


def test_what_dt_refuses_is_one_sentence(dtconn: Dtconn, day: Day, copy: Path) -> None:
    for environ, code in (
        ({"DT_API_KEY_SECRET": "wrong"}, REFUSED),
        ({"DT_CLOUD_PROJECT": "c0md3pm0p7bet3vico8g"}, NOT_FOUND),
        ({"DT_API_URL": "http://127.0.0.1:9"}, LATER),
    ):
        result = dtconn("backfill", *day.window, "--from", copy, **environ)
        assert (result.exit_code, result.stdout) == (code, "")
        assert len(result.stderr.strip().splitlines()) == 1
