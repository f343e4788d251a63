"""Devices, their labels and their history; and the emulator, which creates, deletes and publishes for them."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from starlette.routing import Route

from core.event import read_time
from dt_cloud.api.endpoint import Call, route
from dt_cloud.cloud import Cloud
from dt_cloud.devices import Device, check_labels
from dt_cloud.errors import ApiError

_DAY = 86_400.0
_MAX_EVENTS = 1_000
_NAME = re.compile(r"projects/([^/]+)/devices/([^/]+)").fullmatch


def routes(cloud: Cloud) -> list[Route]:
    """Return the routes. DT's emulator has a separate host, and paths that do not collide."""
    return [
        route(cloud, "POST", "/projects/{project}/devices:batchUpdate", "device.update", _batch_update),
        route(cloud, "GET", "/projects/{project}/devices", "device.read", _list),
        route(cloud, "POST", "/projects/{project}/devices", "emulator.create", _create),
        route(cloud, "POST", "/projects/{project}/devices/{device}:publish", "emulator.update", _publish),
        route(cloud, "GET", "/projects/{project}/devices/{device}/events", "device.read", _events),
        route(cloud, "GET", "/projects/{project}/devices/{device}", "device.read", _get),
        route(cloud, "PUT", "/projects/{project}/devices/{device}", "emulator.update", _replace),
        route(cloud, "DELETE", "/projects/{project}/devices/{device}", "emulator.delete", _delete),
    ]


async def _list(call: Call) -> Any:
    projects = call.projects()
    found = filter(wanted(call, projects), call.cloud.devices.of(projects))
    return call.page("devices", _ordered(call, list(found)), Device.document, lambda device: device.device_id)


def wanted(call: Call, projects: tuple[str, ...]) -> Callable[[Device], bool]:
    """Return a function that tells whether a device is in one of ``projects`` and matches the query's filters."""
    if named := call.query_list("projects"):
        projects = tuple(project for project in projects if f"projects/{project}" in named)
    ids, types = call.query_list("deviceIds"), call.query_list("deviceTypes")
    labels, text = call.query_list("labelFilters"), (call.query("query") or "").lower()

    def is_wanted(device: Device) -> bool:
        return (
            device.project_id in projects
            and (not ids or device.device_id in ids)
            and (not types or device.type in types)
            and all(_has_label(device, each) for each in labels)
            and (not text or any(text in each.lower() for each in (device.device_id, *device.labels.values())))
        )

    return is_wanted


def _has_label(device: Device, wanted: str) -> bool:
    # The official client cannot leave out the "=": without a value, any value matches.
    name, _, value = wanted.partition("=")
    return name in device.labels and (not value or device.labels[name] == value)


def _ordered(call: Call, devices: list[Device]) -> list[Device]:
    order = call.query("orderBy")
    if not order:
        return devices
    path = order.removeprefix("-").split(".")

    def value(device: Device) -> Any:
        found: Any = device.document()
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    with_value = [device for device in devices if isinstance(value(device), (str, int, float))]
    rest = [device for device in devices if device not in with_value]
    try:
        return sorted(with_value, key=value, reverse=order.startswith("-")) + rest
    except TypeError:
        raise ApiError(400, "invalid argument: orderBy") from None


async def _get(call: Call) -> Any:
    return _device(call).document()


def _device(call: Call) -> Device:
    projects = call.projects()
    device = call.cloud.devices.get(call.path("device"))
    if device is None or device.project_id not in projects:
        raise ApiError(404, "resource not found: no such device")
    return device


async def _create(call: Call) -> Any:
    project, given = _one_project(call), await call.body()
    labels = given.get("labels") or {}
    check_labels(labels)
    return call.cloud.devices.create(project, given.get("type", ""), labels, call.cloud.clock.now()).document()


async def _replace(call: Call) -> Any:
    """DT's Terraform provider updates an emulator this way; only its labels can change."""
    device, labels = _device(call), (await call.body()).get("labels") or {}
    if not device.device_id.startswith("emu"):
        raise ApiError(400, "invalid argument: only an emulated device can be replaced")
    check_labels(labels)
    removed = [name for name in device.labels if name not in labels and name != "virtual-sensor"]
    call.cloud.publisher.relabel(device, labels, removed)
    return device.document()


async def _delete(call: Call) -> Any:
    device = _device(call)
    if not device.device_id.startswith("emu"):
        raise ApiError(400, "invalid argument: only an emulated device can be deleted")
    call.cloud.devices.delete(device)
    return {}


async def _publish(call: Call) -> Any:
    device, given = _device(call), await call.body()
    if not device.device_id.startswith("emu"):
        raise ApiError(400, "invalid argument: only an emulated device publishes on request")
    call.cloud.emulate(device, given)
    return {}


async def _batch_update(call: Call) -> Any:
    project, given = _one_project(call), await call.body()
    names, add, remove = given.get("devices"), given.get("addLabels") or {}, given.get("removeLabels") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ApiError(400, "invalid argument: devices must be an array of names")
    check_labels(add, remove)
    errors = []
    for name in names:
        parts = _NAME(name)
        device = call.cloud.devices.get(parts[2]) if parts and parts[1] in (project, "-") else None
        if device is None or device.project_id != project:
            errors.append({"device": name, "status": {"code": "NOT_FOUND", "message": "resource not found"}})
        else:
            call.cloud.publisher.relabel(device, add, remove)
    return {"batchErrors": errors}


async def _events(call: Call) -> Any:
    """The history of one device, newest first; the last day by default."""
    device, now = _device(call), call.cloud.clock.now()
    end = _time(call, "endTime", now)
    rows = call.cloud.database.execute(
        "SELECT id, event, event_type FROM events WHERE device_id = ? AND timestamp >= ? AND timestamp <= ? "
        "AND event_type != 'labelsChanged' ORDER BY timestamp DESC, id DESC",
        device.device_id, _time(call, "startTime", end - _DAY), end,
    ).fetchall()  # fmt: skip
    types = call.query_list("eventTypes")
    found = [row for row in rows if not types or row[2] in types]
    return call.page("events", found, lambda row: json.loads(row[1]), lambda row: row[0], _MAX_EVENTS)


def _time(call: Call, name: str, default: float) -> float:
    text = call.query(name)
    if text is None:
        return default
    time: datetime | None = read_time(text)
    if time is None:
        raise ApiError(400, f"invalid argument: {name} is not an RFC 3339 time")
    return time.timestamp()


def _one_project(call: Call) -> str:
    if call.path("project") == "-":
        raise ApiError(400, "invalid argument: name one project")
    return call.projects()[0]
