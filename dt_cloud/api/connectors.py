"""Data Connectors."""

import time
from typing import Any

from starlette.routing import Route

from dt_cloud.api.endpoint import Call, route
from dt_cloud.cloud import Cloud
from dt_cloud.connectors import Connector
from dt_cloud.errors import ApiError
from dt_cloud.faults import NOT_FOUND

_ONE = "/projects/{project}/dataconnectors/{connector}"
# Seconds for which the fault hides a new connector.
_HIDDEN_FOR = 3.0


def routes(cloud: Cloud) -> list[Route]:
    """Return the routes."""
    read, update = "dataconnector.read", "dataconnector.update"
    return [
        route(cloud, "GET", "/projects/{project}/dataconnectors", read, _list),
        route(cloud, "POST", "/projects/{project}/dataconnectors", "dataconnector.create", _create),
        route(cloud, "GET", f"{_ONE}:metrics", read, _metrics),
        route(cloud, "POST", f"{_ONE}:sync", update, _sync),
        route(cloud, "GET", _ONE, read, _get),
        route(cloud, "PATCH", _ONE, update, _update),
        route(cloud, "DELETE", _ONE, "dataconnector.delete", _delete),
    ]


async def _list(call: Call) -> Any:
    found = call.cloud.connectors.of(call.projects())
    return call.page("dataConnectors", found, Connector.document, lambda connector: connector.connector_id)


async def _create(call: Call) -> Any:
    if call.path("project") == "-":
        raise ApiError(400, "invalid argument: name one project")
    project, cloud = call.projects()[0], call.cloud
    connector = cloud.connectors.create(project, await call.body(), cloud.clock.now())
    hidden_for = _HIDDEN_FOR if cloud.faults.take(NOT_FOUND) else cloud.choices.hidden_for
    if hidden_for:
        cloud.hidden_until[connector.connector_id] = time.monotonic() + hidden_for
    return connector.document()


async def _get(call: Call) -> Any:
    return _connector(call).document()


async def _update(call: Call) -> Any:
    connector = _connector(call)
    call.cloud.update(connector, await call.body(), call.query("updateMask"))
    return connector.document()


async def _delete(call: Call) -> Any:
    call.cloud.delete(_connector(call))
    return {}


async def _metrics(call: Call) -> Any:
    return {"metrics": call.cloud.metrics.document(_connector(call).connector_id, call.cloud.clock.now())}


async def _sync(call: Call) -> Any:
    connector = _connector(call)
    call.cloud.publisher.sync(connector)
    return {}


def _connector(call: Call) -> Connector:
    projects = call.projects()
    connector = call.cloud.connectors.get(call.path("connector"))
    if connector is None or connector.project_id not in projects:
        raise ApiError(404, "resource not found: no such data connector")
    if time.monotonic() < call.cloud.hidden_until.get(connector.connector_id, 0.0):
        raise ApiError(404, "resource not found: created a moment ago; try again in a second")
    return connector
