"""Organizations, projects, roles and permissions, which never change."""

from typing import Any

from starlette.routing import Route

from dt_cloud.accounts import ORGANIZATION, ORGANIZATION_NAME, PROJECTS, ROLES
from dt_cloud.api.endpoint import Call, route
from dt_cloud.cloud import Cloud
from dt_cloud.errors import ApiError


def routes(cloud: Cloud) -> list[Route]:
    """Return the routes."""
    return [
        route(cloud, "GET", "/projects", "project.read", _list_projects),
        route(cloud, "GET", "/projects/{project}", "project.read", _get_project),
        route(cloud, "GET", "/projects/{project}/permissions", None, _list_permissions),
        route(cloud, "GET", "/organizations", None, _list_organizations),
        route(cloud, "GET", "/organizations/{organization}", None, _get_organization),
        route(cloud, "GET", "/organizations/{organization}/permissions", None, _list_organization_permissions),
        route(cloud, "GET", "/roles", None, _list_roles),
        route(cloud, "GET", "/roles/{role}", None, _get_role),
    ]


async def _list_projects(call: Call) -> Any:
    wanted, text = call.query("organization"), (call.query("query") or "").lower()
    found = [
        project
        for project in call.account.projects
        if wanted in (None, f"organizations/{ORGANIZATION}") and text in PROJECTS[project].lower()
    ]
    return call.page("projects", found, lambda project: _project(call, project))


async def _get_project(call: Call) -> Any:
    return _project(call, call.projects()[0])


async def _list_permissions(call: Call) -> Any:
    call.projects()
    return call.page("permissions", call.cloud.accounts.permissions(call.account), str)


async def _list_organizations(call: Call) -> Any:
    is_member = call.account.role == "organization.admin"
    return call.page("organizations", [ORGANIZATION] if is_member else [], lambda _: _organization())


async def _get_organization(call: Call) -> Any:
    if call.path("organization") != ORGANIZATION:
        raise ApiError(404, "resource not found: no such organization")
    return _organization()


async def _list_organization_permissions(call: Call) -> Any:
    await _get_organization(call)
    is_member = call.account.role == "organization.admin"
    return call.page("permissions", call.cloud.accounts.permissions(call.account) if is_member else (), str)


async def _list_roles(call: Call) -> Any:
    return call.page("roles", list(ROLES), _role)


async def _get_role(call: Call) -> Any:
    if call.path("role") not in ROLES:
        raise ApiError(404, "resource not found: no such role")
    return _role(call.path("role"))


def _project(call: Call, project: str) -> dict[str, Any]:
    devices = call.cloud.devices.of([project])
    gateways = sum(device.type == "ccon" for device in devices)
    return {
        "name": f"projects/{project}",
        "displayName": PROJECTS[project],
        "organization": f"organizations/{ORGANIZATION}",
        "organizationDisplayName": ORGANIZATION_NAME,
        "sensorCount": len(devices) - gateways,
        "cloudConnectorCount": gateways,
        "inventory": False,
    }


def _organization() -> dict[str, Any]:
    return {"name": f"organizations/{ORGANIZATION}", "displayName": ORGANIZATION_NAME}


def _role(role: str) -> dict[str, Any]:
    kind, level = role.split(".")
    return {
        "name": f"roles/{role}",
        "displayName": f"{kind.capitalize()} {level.capitalize()}",
        "description": f"What a {level} of a {kind} may do",
        "permissions": list(ROLES[role]),
    }
