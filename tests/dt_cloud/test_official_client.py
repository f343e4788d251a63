"""DT's official Python client, unchanged, makes each of its calls over real HTTP."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest

from dt_cloud.events import SUPPORTED
from tests.support.dt_cloud import CONNECTORS, DEVICES, FIRST_PROJECT, ORGANIZATION, PROJECTS, DtCloud

URL = "http://127.0.0.1:9/events"


@pytest.fixture
def connector(shared: DtCloud, client: ModuleType) -> Iterator[Any]:
    """A connector created by the client."""
    config = client.DataConnector.HttpPushConfig(url=URL, signature_secret="s" * 32, headers={"a": "b"})
    made = client.DataConnector.create_data_connector(
        FIRST_PROJECT, config, "made by the client", "ACTIVE", ["temperature"], ["name"]
    )
    yield made
    shared.desk("DELETE", f"/connectors/{made.data_connector_id}")


@pytest.fixture
def device(shared: DtCloud, client: ModuleType) -> Iterator[Any]:
    """An emulated sensor created by the client."""
    made = client.Emulator.create_device(FIRST_PROJECT, "temperature", "Fridge", {"floor": "2"})
    yield made
    shared.call("DELETE", f"{DEVICES}/{made.device_id}")


def test_projects_organizations_roles_and_permissions(client: ModuleType) -> None:
    project = client.Project.get_project(FIRST_PROJECT)
    assert (project.project_id, project.display_name) == (FIRST_PROJECT, PROJECTS[FIRST_PROJECT])
    assert (project.organization_id, project.is_inventory) == (ORGANIZATION, False)
    assert [each.project_id for each in client.Project.list_projects()] == [FIRST_PROJECT]
    assert client.Project.list_projects(organization_id=ORGANIZATION, query="no such name") == []
    assert "dataconnector.create" in client.Project.list_permissions(FIRST_PROJECT)
    # A project's developer is not a member of the organization.
    assert client.Organization.list_organizations() == []
    assert client.Organization.get_organization(ORGANIZATION).organization_id == ORGANIZATION
    assert client.Organization.list_permissions(ORGANIZATION) == []
    assert [each.role for each in client.Role.list_roles()][:2] == ["project.user", "project.developer"]
    assert "dataconnector.read" in client.Role.get_role("project.user").permissions


def test_a_connector_from_create_to_delete(client: ModuleType) -> None:
    made = client.DataConnector.create_data_connector(
        FIRST_PROJECT, client.DataConnector.HttpPushConfig(url=URL, signature_secret="s", headers={"a": "b"})
    )
    assert (made.status, made.event_types, made.labels, made.display_name) == ("ACTIVE", [], [], "")
    assert (made.config.url, made.config.signature_secret, made.config.headers) == (URL, "s", {"a": "b"})
    number = made.data_connector_id
    update = client.DataConnector.update_data_connector
    disabled = update(number, FIRST_PROJECT, status="USER_DISABLED", display_name="new", labels=["x"])
    assert (disabled.status, disabled.display_name, disabled.labels) == ("USER_DISABLED", "new", ["x"])
    rotated = update(number, FIRST_PROJECT, config=client.DataConnector.HttpPushConfig(signature_secret="t"))
    assert (rotated.config.url, rotated.config.signature_secret, rotated.config.headers) == (URL, "t", {"a": "b"})
    found = client.DataConnector.get_data_connector(number, FIRST_PROJECT)
    assert found.raw == rotated.raw
    assert found.raw in [each.raw for each in client.DataConnector.list_data_connectors(FIRST_PROJECT)]
    assert client.DataConnector.delete_data_connector(number, FIRST_PROJECT) is None
    with pytest.raises(client.errors.NotFound):
        client.DataConnector.get_data_connector(number, FIRST_PROJECT)


def test_sync_and_metrics(client: ModuleType, connector: Any) -> None:
    assert client.DataConnector.sync_data_connector(connector.data_connector_id, FIRST_PROJECT) is None
    metrics = client.DataConnector.get_metrics(connector.data_connector_id, FIRST_PROJECT)
    assert (metrics.success_count, metrics.error_count) == (0, 0)
    assert metrics.raw == {"metrics": {"successCount": 0, "errorCount": 0, "latency99p": "0.000s"}}


def test_devices_and_their_labels(client: ModuleType, device: Any) -> None:
    assert device.device_id.startswith("emu")
    assert device.labels == {"name": "Fridge", "floor": "2", "virtual-sensor": ""}
    assert client.Device.get_device(device.device_id).display_name == "Fridge"
    assert client.Device.get_device(device.device_id, FIRST_PROJECT).device_type == "temperature"
    assert client.Device.set_label(device.device_id, FIRST_PROJECT, "floor", "3") == []
    assert client.Device.remove_label(device.device_id, FIRST_PROJECT, "name") == []
    missing = client.Device.batch_update_labels([device.device_id, "nobody"], FIRST_PROJECT, {"room": "A"}, ["none"])
    assert [(each.device_id, each.status_code) for each in missing] == [("nobody", "NOT_FOUND")]
    labels = client.Device.get_device(device.device_id).labels
    assert labels == {"floor": "3", "room": "A", "virtual-sensor": ""}


@pytest.mark.parametrize(
    ("filters", "is_found"),
    [
        ({}, True),
        ({"query": "fridg"}, True),
        ({"query": "oven"}, False),
        ({"device_types": ["touch", "temperature"]}, True),
        ({"device_types": ["touch"]}, False),
        ({"label_filters": {"floor": "2"}}, True),
        ({"label_filters": {"floor": ""}}, True),
        ({"label_filters": {"floor": "3"}}, False),
        ({"order_by": "-reported.temperature.value"}, True),
    ],
)
def test_device_queries(client: ModuleType, device: Any, filters: Any, is_found: bool) -> None:
    found = [each.device_id for each in client.Device.list_devices(FIRST_PROJECT, **filters)]
    assert (device.device_id in found) is is_found
    if is_found:
        ids = client.Device.list_devices(FIRST_PROJECT, device_ids=[device.device_id], **filters)
        assert [each.device_id for each in ids] == [device.device_id]


EVENTS = [
    ("touch", "touch", {}),
    ("temperature", "temperature", {"celsius": 23.1}),
    ("temperature", "temperature", {"celsius": 1, "samples": [(2.0, 0), (1.5, 60)]}),
    ("humidity", "humidity", {"celsius": 21.5, "relative_humidity": 40}),
    ("proximity", "objectPresent", {"state": "PRESENT"}),
    ("proximityCounter", "objectPresentCount", {"total": 5}),
    ("touchCounter", "touchCount", {"total": 5}),
    ("waterDetector", "waterPresent", {"state": "PRESENT"}),
    ("temperature", "batteryStatus", {"percentage": 90}),
    ("ccon", "connectionStatus", {"connection": "ETHERNET", "available": ["ETHERNET"]}),
    ("ccon", "ethernetStatus", {"mac_address": "f0:b5:b7:00:0a:08", "ip_address": "10.0.0.1"}),
    ("ccon", "cellularStatus", {"signal_strength": 80}),
    ("co2", "co2", {"ppm": 600}),
    ("co2", "pressure", {"pascal": 99301}),
    ("motion", "motion", {"state": "MOTION_DETECTED"}),
    ("deskOccupancy", "deskOccupancy", {"state": "OCCUPIED", "remarks": []}),
    ("contact", "contact", {"state": "OPEN"}),
    ("temperature", "probeWireStatus", {"state": "TWO_WIRE"}),
    ("temperature", "networkStatus", {"signal_strength": 56, "rssi": -50}),
]


def of_client(client: ModuleType, event_type: str, given: dict[str, Any]) -> Any:
    """Return an event as the client's users create it."""
    events, now = client.events, datetime.now(UTC)
    given = dict(given)
    if "samples" in given:
        given["samples"] = [
            events.TemperatureSample(value, now - timedelta(seconds=age)) for value, age in given["samples"]
        ]
    if event_type == "networkStatus":
        given["cloud_connectors"] = [events.NetworkStatusCloudConnector("ccon-id", 56, -50)]
    names = {"probeWireStatus": "ProbeWireStatus", "co2": "Co2", "waterPresent": "WaterPresent"}
    return getattr(events, names.get(event_type, event_type[0].upper() + event_type[1:]))(**given)


@pytest.mark.parametrize(("kind", "event_type", "given"), EVENTS, ids=[f"{each[0]}-{each[1]}" for each in EVENTS])
def test_each_event_type_is_published_and_found_in_history_and_reported(
    client: ModuleType, shared: DtCloud, kind: str, event_type: str, given: dict[str, Any]
) -> None:
    made = client.Emulator.create_device(FIRST_PROJECT, kind, "x", {})
    data = of_client(client, event_type, given)
    assert client.Emulator.publish_event(made.device_id, FIRST_PROJECT, data) is None
    (event,) = client.EventHistory.list_events(made.device_id, FIRST_PROJECT, event_types=[event_type])
    assert (event.event_type, event.device_id, event.project_id) == (event_type, made.device_id, FIRST_PROJECT)
    assert set(event.raw) == {"eventId", "targetName", "eventType", "data", "timestamp"}
    found = client.Device.get_device(made.device_id).raw["reported"]
    assert found[event_type] == event.raw["data"][event_type]
    assert set(found) == set(SUPPORTED[kind])
    if event_type == "networkStatus":
        assert event.raw["data"][event_type]["cloudConnectors"] == [{"id": "ccon-id", "signalStrength": 56, "rssi": 0}]
    assert client.Emulator.delete_device(made.device_id, FIRST_PROJECT) is None


def test_history_is_newest_first_and_of_the_last_day(client: ModuleType, device: Any) -> None:
    now = datetime.now(UTC)
    for days, value in ((2, 1.0), (0, 2.0), (0.5, 3.0)):
        at = client.events.Temperature(value, timestamp=now - timedelta(days=days))
        client.Emulator.publish_event(device.device_id, FIRST_PROJECT, at)
    events = client.EventHistory.list_events
    assert [each.data.celsius for each in events(device.device_id, FIRST_PROJECT)] == [2.0, 3.0]
    wider = events(device.device_id, FIRST_PROJECT, start_time=now - timedelta(days=3), end_time=now)
    assert [each.data.celsius for each in wider] == [2.0, 3.0, 1.0]
    assert client.Device.get_device(device.device_id).reported.temperature.celsius == 2.0


# ---- the rules that the unchanged client needs ----


def test_rule_1_every_success_is_a_200_with_a_json_body(shared: DtCloud, connector: Any, device: Any) -> None:
    one, emulator = f"{CONNECTORS}/{connector.data_connector_id}", f"{DEVICES}/{device.device_id}"
    for method, path, body in (
        ("POST", f"{one}:sync", None),
        ("PATCH", one, {}),
        ("POST", f"{emulator}:publish", {"touch": {}}),
        ("POST", f"{DEVICES}:batchUpdate", {"devices": []}),
    ):
        assert isinstance(shared.call(method, path, body), dict)
    made = shared.call("POST", CONNECTORS, {"type": "HTTP_PUSH", "httpConfig": {"url": URL}})
    assert shared.call("DELETE", f"/{made['name']}") == {}


def test_rule_2_every_list_has_a_next_page_token(shared: DtCloud) -> None:
    for path, key in (
        (CONNECTORS, "dataConnectors"),
        (DEVICES, "devices"),
        ("/projects", "projects"),
        ("/organizations", "organizations"),
        (f"/projects/{FIRST_PROJECT}/permissions", "permissions"),
        ("/roles", "roles"),
    ):
        found = shared.call("GET", path)
        assert list(found) == [key, "nextPageToken"]
        assert found["nextPageToken"] == ""


def test_rule_3_every_field_is_present(shared: DtCloud) -> None:
    made = shared.call("POST", CONNECTORS, {"type": "HTTP_PUSH", "httpConfig": {"url": URL}})
    shared.call("DELETE", f"/{made['name']}")
    made.pop("name")
    config = {"url": URL, "signatureSecret": "", "headers": {}}
    assert made == {
        "displayName": "", "type": "HTTP_PUSH", "status": "ACTIVE", "events": [], "labels": [], "httpConfig": config,
    }  # fmt: skip
    assert set(shared.call("GET", f"/projects/{FIRST_PROJECT}")) == {
        "name", "displayName", "organization", "organizationDisplayName", "sensorCount", "cloudConnectorCount",
        "inventory",
    }  # fmt: skip


@pytest.mark.parametrize("given", ["2026-01-01T00:00:00.123456789Z", "2026-01-01T01:00:00.123456+01:00"])
def test_rule_4_times_end_in_z_and_have_at_most_6_digits(shared: DtCloud, device: Any, given: str) -> None:
    event = {"value": 1, "updateTime": given, "samples": [{"value": 1, "sampleTime": given}]}
    shared.call("POST", f"{DEVICES}/{device.device_id}:publish", {"temperature": event})
    found = shared.call("GET", f"{DEVICES}/{device.device_id}")["reported"]["temperature"]
    assert (found["updateTime"], found["samples"][0]["sampleTime"]) == ("2026-01-01T00:00:00.123456Z",) * 2


def test_rule_5_temperature_and_humidity_have_samples_and_is_backfilled(client: ModuleType, shared: DtCloud) -> None:
    made = client.Emulator.create_device(FIRST_PROJECT, "humidity", "x", {})
    shared.publish(made.device_id, humidity={"temperature": 20, "relativeHumidity": 40})
    (event,) = client.EventHistory.list_events(made.device_id, FIRST_PROJECT)
    assert (event.data.samples[0].relative_humidity, event.data.is_backfilled) == (40, False)
    assert client.Device.get_device(made.device_id).reported.humidity.samples[0].celsius == 20


def test_rule_6_a_401_has_an_error_document(client: ModuleType, shared: DtCloud) -> None:
    status, document, _ = shared.send("GET", "/projects", role=None)
    assert (status, document["code"], set(document)) == (401, 401, {"error", "code", "help"})
    with pytest.raises(client.errors.Unauthorized):
        client.Project.list_projects(auth=_with_secret(client, shared, "wrong"))


def test_rule_7_the_stream_has_events_and_pings_and_one_line_errors(
    client: ModuleType, shared: DtCloud, device: Any
) -> None:
    done = threading.Event()

    def publish() -> None:
        while not done.wait(0.1):
            shared.publish(device.device_id, touch={})
            shared.publish(device.device_id, temperature={"value": 4})

    other = threading.Thread(target=publish, daemon=True)
    other.start()
    try:
        stream = client.Stream.event_stream(
            FIRST_PROJECT,
            device_ids=[device.device_id],
            label_filters={"floor": "2"},
            device_types=["temperature"],
            event_types=["temperature"],
        )
        event = next(iter(stream))
        assert (event.event_type, event.data.celsius) == ("temperature", 4)
    finally:
        done.set()
        other.join()
    for role, path, status in ((None, FIRST_PROJECT, 401), ("project.developer", list(PROJECTS)[1], 403)):
        found = shared.send("GET", f"/projects/{path}/devices:stream", role=role)
        assert found[:2] == (status, {"error": {"code": status, "message": found[1]["error"]["message"]}})


def test_rule_8_answers_come_within_the_clients_3_s(client: ModuleType, shared: DtCloud) -> None:
    before = len(shared.call("GET", CONNECTORS)["dataConnectors"])
    config = client.DataConnector.HttpPushConfig(url=URL)
    made = client.DataConnector.create_data_connector(FIRST_PROJECT, config, request_timeout=3, request_attempts=1)
    assert len(shared.call("GET", CONNECTORS)["dataConnectors"]) == before + 1
    shared.desk("DELETE", f"/connectors/{made.data_connector_id}")


def test_rule_9_assertions_must_name_this_token_endpoint(client: ModuleType, shared: DtCloud) -> None:
    assert client.default_auth.get_token().startswith("Bearer ")
    auth = _with_secret(client, shared, client.default_auth.secret)
    # The client signs the address that it sends to; this address leads here under another name.
    auth.token_endpoint = f"{shared.url}/oauth2/token?"
    with pytest.raises(client.errors.Unauthorized):
        client.Project.list_projects(auth=auth)


def test_rule_10_a_new_connection_per_request_is_fine(client: ModuleType) -> None:
    assert [client.Role.get_role("project.user").role for _ in range(5)] == ["project.user"] * 5


def _with_secret(client: ModuleType, shared: DtCloud, secret: str) -> Any:
    account = shared.accounts["project.developer"]
    auth = client.Auth.service_account(account.key_id, secret, account.email)
    auth.token_endpoint = f"{shared.url}/oauth2/token"
    return auth


def test_a_list_in_pages_and_the_clients_page_token_trap(client: ModuleType, shared: DtCloud) -> None:
    numbers = [shared.connector(URL, displayName=str(number)) for number in range(3)]
    pages, token = [], ""
    while True:
        page = shared.call("GET", CONNECTORS, page_size=2, pageToken=token)
        pages += [each["displayName"] for each in page["dataConnectors"]]
        if not (token := page["nextPageToken"]):
            break
    assert pages == ["0", "1", "2"]
    # The client keeps the token of the last page in its default argument: `params={}` is the way out.
    list_all = client.DataConnector.list_data_connectors
    assert [len(list_all(FIRST_PROJECT, params={})) for _ in range(2)] == [3, 3]
    for number in numbers:
        shared.desk("DELETE", f"/connectors/{number}")
