"""The Grafana dashboard: valid by Grafana's own schema, and every query runs on the receiver's database.

Grafana itself does not run here. Its macros and variables are replaced as its documentation says:
https://grafana.com/docs/grafana/latest/datasources/postgres/query-editor/
"""

import asyncio
import json
import re
import subprocess
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from asyncpg import InsufficientPrivilegeError

from core.event import Event, rfc3339
from dt_cloud.bodies import Device
from heroku.postgres import PostgresStore
from tests.cli.stored import ONE, OTHER, event
from tests.support.pages import Page
from tests.support.postgres import Postgres, execute
from tests.support.processes import ROOT

NODE = ROOT / "tests" / "support" / "node"
GENERATOR = NODE / "node_modules" / ".bin" / "ts-json-schema-generator"
TYPES = NODE / "node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen.d.ts"
DASHBOARD: dict[str, Any] = json.loads((ROOT / "grafana/dashboards/data-connector.json").read_text())
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
NOW = datetime.now(UTC)

needs_schema = pytest.mark.skipif(not GENERATOR.exists(), reason="npm is not installed, which has Grafana's schema")


@cache
def schema() -> Any:
    command = [str(GENERATOR), "--path", str(TYPES), "--type", "Dashboard", "--no-type-check"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, cwd=NODE).stdout)


@needs_schema
def test_dashboard_is_valid_by_grafanas_schema() -> None:
    jsonschema.validate(DASHBOARD, schema())


@needs_schema
@pytest.mark.parametrize(
    ("path", "value"), [(("refresh",), 5), (("panels", 0, "gridPos", "w"), "wide"), (("time", "form"), "now-1h")]
)
def test_schema_finds_a_planted_fault(path: tuple[str | int, ...], value: object) -> None:
    changed = json.loads(json.dumps(DASHBOARD))
    *parents, last = path
    place = changed
    for name in parents:
        place = place[name]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, schema())


def test_data_source_is_the_one_that_is_provisioned() -> None:
    [source] = yaml.safe_load((ROOT / "grafana/provisioning/datasources/data-connector.yaml").read_text())[
        "datasources"
    ]
    used = [panel["datasource"] for panel in PANELS.values()] + [one["datasource"] for one in VARIABLES.values()]
    assert all(one == {"type": source["type"], "uid": source["uid"]} for one in used)
    assert source["secureJsonData"]["password"].startswith("$")


def test_gap_stays_a_gap() -> None:
    custom = PANELS["$quantity"]["fieldConfig"]["defaults"]["custom"]
    assert custom["spanNulls"] is False
    assert custom["insertNulls"] == 7_200_000


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    found = postgres.create_database()
    hour = timedelta(hours=1)
    late = ONE.body("temperature", NOW - 2 * hour).replace(b'"isBackfilled":false', b'"isBackfilled":true')
    events = [
        event(ONE.body("temperature", NOW - hour), NOW - hour + timedelta(seconds=2)),
        event(late, NOW - hour),
        event(OTHER.body("humidity", NOW - 3 * hour), NOW - 3 * hour + timedelta(seconds=90)),
        event(Device("emu1", "p").body("contact", NOW - hour), NOW),
        event(b'{"event":7}', NOW),
    ]
    put(found, events)
    return found


def put(url: str, events: list[Event]) -> None:
    async def run() -> None:
        store = PostgresStore(url)
        await asyncio.gather(*(store.put(each, time.monotonic() + 8) for each in events))
        await store.close()

    asyncio.run(run())


def expanded(query: str, devices: list[str]) -> str:
    """Replace Grafana's macros and variables for the last 24 hours."""
    values = {"device": devices, "quantity": ["temperature"]}
    query = re.sub(
        r"\$\{(\w+):sqlstring\}", lambda found: ",".join(f"'{value}'" for value in values[found[1]]), query
    ).replace("$__interval", "5m")
    day = f"BETWEEN '{rfc3339(NOW - timedelta(days=1))}' AND '{rfc3339(NOW)}'"
    query = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 {day}", query)
    query = re.sub(r"\$__timeGroupAlias\((\w+), 5m\)", r'floor(extract(epoch from \1)/300)*300 AS "time"', query)
    assert "$" not in query
    return query


def rows(url: str, title: str, *devices: str) -> list[dict[str, Any]]:
    chosen = list(devices) or [one["__value"] for one in execute(url, VARIABLES["device"]["query"])]
    [target] = PANELS[title]["targets"]
    return [dict(row) for row in execute(url, expanded(target["rawSql"], chosen))]


def test_variables_are_sensors_by_name_and_quantities_with_a_unit(url: str) -> None:
    found = {one["__value"]: one["__text"] for one in execute(url, VARIABLES["device"]["query"])}
    assert found.keys() == {ONE.device_id, OTHER.device_id, "emu1"}
    assert found[ONE.device_id] == f"Kjølerom 1 ({ONE.device_id})"
    quantities = [row[0] for row in execute(url, VARIABLES["quantity"]["query"])]
    assert "temperature" in quantities
    assert "state" not in quantities


def test_latest_values(url: str) -> None:
    found = {(row["device_id"], row["quantity"]): row for row in rows(url, "Latest values")}
    assert found.keys() == {
        (ONE.device_id, "temperature"),
        (OTHER.device_id, "temperature"),
        (OTHER.device_id, "relativeHumidity"),
        ("emu1", "state"),
    }
    assert found[ONE.device_id, "temperature"]["unit"] == "°C"
    assert len(rows(url, "Latest values", "emu1")) == 1


def test_last_seen_has_the_longest_silence_first(url: str) -> None:
    found = rows(url, "Last seen")
    assert len(found) == 3
    assert abs(float(found[0]["age"]) - (datetime.now(UTC) - (NOW - timedelta(hours=3))).total_seconds()) < 60
    assert found[0]["last seen"] == NOW - timedelta(hours=3)


def test_last_seen_is_a_sign_of_life(postgres: Postgres) -> None:
    """What was sent late does not count, nor a time ahead of its arrival; an unknown type does."""
    url, hour = postgres.create_database(), timedelta(hours=1)
    late = ONE.body("temperature", NOW - hour).replace(b'"isBackfilled":false', b'"isBackfilled":true')
    put(
        url,
        [
            event(ONE.body("temperature", NOW - 4 * hour), NOW),
            event(late, NOW),
            event(OTHER.body("touch", NOW + 9_000 * hour), NOW - 2 * hour),
            event(Device("emu1", "p").body("touch", NOW).replace(b'"touch"', b'"moodSwing"'), NOW),
        ],
    )
    found = rows(url, "Last seen")
    ages = [round((NOW - row["last seen"]) / hour) for row in found]
    assert ages == [4, 2, 0]
    [*_, alarm] = Page(ROOT / "docs/dashboards.md").of("sql", "Grafana")
    assert sorted(round(row["age"] / 3600) for row in execute(url, alarm)) == ages[::-1]


def test_series_of_each_sensor(url: str) -> None:
    found = rows(url, "$quantity")
    assert len([row for row in found if row["time"] >= NOW - timedelta(hours=2)]) == 2
    # Two sensors may have the same name.
    assert {row["metric"] for row in found} == {f"Kjølerom 1 ({one.device_id})" for one in (ONE, OTHER)}
    assert [row["time"] for row in found] == sorted(row["time"] for row in found)
    assert all(type(row["value"]) is float for row in found)


def test_delay_from_event_to_arrival(url: str) -> None:
    p99 = {round(row["p99"]) for row in rows(url, "Delay from event to arrival")}
    assert 90 in p99
    assert 3_600 in p99


def test_share_of_backfilled_readings(url: str) -> None:
    assert {float(row["backfilled"]) for row in rows(url, "Share of backfilled readings")} == {0, 1}


def test_user_of_the_page_can_read_and_no_more(url: str) -> None:
    [statements] = Page(ROOT / "docs/dashboards.md").of("sql", "Dashboards and tools")
    reader = url.replace("postgres@", "reader@")
    try:
        for statement in statements.splitlines():
            execute(url, statement)
        assert all(rows(reader, title) for title in PANELS)
        assert all(execute(reader, variable["query"]) for variable in VARIABLES.values())
        assert [row[0] for row in execute(reader, "SHOW timezone")] == ["UTC"]
        with pytest.raises(InsufficientPrivilegeError):
            execute(reader, "DELETE FROM events")
    finally:
        execute(url, "DROP OWNED BY reader")
        execute(url, "DROP ROLE reader")


def test_every_panel_is_tested() -> None:
    text = Path(__file__).read_text()
    assert all(f'"{title}"' in text for title in PANELS)
