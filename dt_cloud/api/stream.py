"""The event stream of a project: one JSON document per line, or server-sent events if requested."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from core.event import rfc3339
from dt_cloud.api.devices import wanted
from dt_cloud.api.endpoint import Call, authenticate
from dt_cloud.cloud import Cloud
from dt_cloud.errors import ApiError
from dt_cloud.ids import xid

_PING = 10.0
_MAX_PING = 3600.0
_INTERVAL = re.compile(r"([0-9]+(?:\.[0-9]+)?)s?").fullmatch


def routes(cloud: Cloud) -> list[Route]:
    """Return the route."""

    async def stream(request: Request) -> Response:
        try:
            call = Call(request, cloud, authenticate(request, cloud))
            call.require("device.read")
            projects = call.projects()
        except ApiError as error:
            # The official client reads only this form, on one line.
            return JSONResponse({"error": {"code": error.status, "message": error.reason}}, error.status)
        interval = _INTERVAL(call.query("pingInterval") or "")
        is_sse = "text/event-stream" in request.headers.get("accept", "")
        lines = _lines(call, projects, min(max(0.1, float(interval[1])), _MAX_PING) if interval else _PING)
        return StreamingResponse(
            (f"data: {line}\n\n" if is_sse else f"{line}\n" async for line in lines),
            media_type="text/event-stream" if is_sse else "application/json",
        )

    return [Route("/v2/projects/{project}/devices:stream", stream)]


async def _lines(call: Call, projects: tuple[str, ...], interval: float) -> AsyncIterator[str]:
    types, is_wanted = call.query_list("eventTypes"), wanted(call, projects)
    ping_at = time.monotonic() + interval
    with call.cloud.publisher.stream() as events:
        while True:
            # Events that the client filters out must not suppress its pings.
            if time.monotonic() >= ping_at:
                ping_at = time.monotonic() + interval
                yield _line(_ping(projects[0], call.cloud.clock.datetime()))
            try:
                found = await asyncio.wait_for(events.get(), max(0.0, ping_at - time.monotonic()))
            except TimeoutError:
                continue
            if found is None:
                return
            device, event = found
            if is_wanted(device) and (not types or event["eventType"] in types):
                yield _line(event)


def _ping(project: str, now: datetime) -> dict[str, Any]:
    return {
        "eventId": xid(now.timestamp()),
        "targetName": f"projects/{project}",
        "eventType": "ping",
        "data": None,
        "timestamp": rfc3339(now),
    }


def _line(event: Any) -> str:
    return json.dumps({"result": {"event": event}}, ensure_ascii=False)
