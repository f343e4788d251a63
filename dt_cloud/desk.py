"""What DT's API does not have: the page, its data, and the requests of its buttons."""

import asyncio
import contextlib
import json
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import page
from dt_cloud.accounts import PROJECTS
from dt_cloud.api.endpoint import parse_object
from dt_cloud.clock import MAX_SPEED
from dt_cloud.devices import check_labels
from dt_cloud.errors import ApiError
from dt_cloud.watch import Watch, written

# The default of `dtconn cloud`.
DEFAULT_URL = "http://127.0.0.1:8010"
_MAX_LISTED = 50
_COLUMNS = "id, connector_id, device_id, event_id, event_type, published, state, due, attempts"
_STATES = ("waiting", "delivered", "expired", "dropped")


class Desk:
    """Answers the page and ``dtconn cloud``.

    Args:
        watch: The source of the page's data.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._cloud = watch.cloud
        self._closing = asyncio.Event()

    def routes(self) -> list[Route]:
        """Return the routes. Those below ``/desk`` that change anything accept only JSON.

        Another website cannot send that without a preflight request, which is not allowed
        (https://fetch.spec.whatwg.org/#cors-preflight-fetch).
        """
        return [
            Route("/", self._index),
            Route("/page/{name}", self._file),
            Route("/desk/frames", self._frames),
            Route("/desk/frame", _json(self._frame)),
            Route("/desk/devices", _json(self._devices)),
            Route("/desk/series", _json(self._series)),
            Route("/desk/deliveries", _json(self._deliveries)),
            Route("/desk/deliveries/{id}", _json(self._delivery)),
            Route("/desk/deliveries/{id}:resend", _changing(self._resend), methods=["POST"]),
            Route("/desk/clock", _changing(self._clock), methods=["POST"]),
            Route("/desk/faults/{name}", _changing(self._fault), methods=["POST"]),
            Route("/desk/scenarios/{name}", _changing(self._scenario), methods=["POST"]),
            Route("/desk/scenarios", _changing(self._stop_scenario), methods=["DELETE"]),
            Route("/desk/receiver", _changing(self._receiver), methods=["POST"]),
            Route("/desk/connectors", _changing(self._create), methods=["POST"]),
            Route("/desk/connectors/{id}", _changing(self._update), methods=["PATCH"]),
            Route("/desk/connectors/{id}", _changing(self._delete), methods=["DELETE"]),
            Route("/desk/connectors/{id}:sync", _changing(self._sync), methods=["POST"]),
            Route("/desk/devices/{id}:publish", _changing(self._publish), methods=["POST"]),
            Route("/desk/devices/{id}:labels", _changing(self._label), methods=["POST"]),
        ]

    def close(self) -> None:
        """End the streams of frames, so that the server does not wait for them."""
        self._closing.set()

    def _command(self, text: str) -> str:
        """Return the equivalent command, with this cloud's address if it is not the default."""
        elsewhere = "" if self._cloud.base_url == DEFAULT_URL else f" --cloud {self._cloud.base_url}"
        return f".venv/bin/dtconn {text}{elsewhere}"

    # ---- reading ----

    async def _index(self, _request: Request) -> Response:
        return _file("index.html")

    async def _file(self, request: Request) -> Response:
        return _file(request.path_params["name"])

    async def _frames(self, _request: Request) -> Response:
        return StreamingResponse(self._stream(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def _stream(self) -> AsyncIterator[str]:
        """Send server-sent events, `page.FRAMES` a second: a slow reader gets fewer, and never an old one."""
        with self._watch.follow() as follower:
            while not self._closing.is_set():
                frame = json.dumps(follower.frame(), ensure_ascii=False, separators=(",", ":"))
                yield f"data: {frame}\n\n"
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), 1 / page.FRAMES)

    async def _frame(self, _request: Request, _given: dict[str, Any]) -> Any:
        return self._watch.frame(0) | self._watch.constants()

    async def _devices(self, _request: Request, _given: dict[str, Any]) -> Any:
        return {"devices": self._watch.devices()[1]}

    async def _series(self, _request: Request, _given: dict[str, Any]) -> Any:
        return self._watch.series()

    async def _deliveries(self, request: Request, _given: dict[str, Any]) -> Any:
        """List deliveries, newest first, by ``state``, ``type``, ``device``, ``connector``, ``before`` (an id)."""
        query, conditions = request.query_params, ["1"]
        values: list[str | int] = []
        for name, column in (("type", "event_type"), ("device", "device_id"), ("connector", "connector_id")):
            if name in query:
                conditions.append(f"{column} = ?")
                values.append(query[name])
        if (state := query.get("state")) in _STATES:
            conditions.append(f"state = '{state}'")
        if query.get("before", "").isdecimal():
            conditions.append("id < ?")
            values.append(int(query["before"][:18]))
        rows = self._cloud.database.execute(
            f"SELECT {_COLUMNS} FROM deliveries "  # noqa: S608 - our own words
            f"WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT {_MAX_LISTED}",
            *values,
        )
        return {"deliveries": [self._listed(row) for row in rows]}

    def _listed(self, row: tuple[Any, ...]) -> dict[str, Any]:
        number, connector, device_id, event_id, event_type, published, state, due, attempts = row
        device = self._cloud.devices.get(device_id)
        return {
            "id": number,
            "connector": connector,
            "device": device_id,
            "name": device.labels.get("name", "") if device else "",
            "eventId": event_id,
            "eventType": event_type,
            "published": written(published),
            "state": state,
            "due": written(due) if state == "waiting" else None,
            "attempts": attempts,
        }

    async def _delivery(self, request: Request, _given: dict[str, Any]) -> Any:
        number = _number(request.path_params["id"])
        row = self._cloud.database.execute(
            f"SELECT {_COLUMNS}, body FROM deliveries WHERE id = ?", number,  # noqa: S608
        ).fetchone()  # fmt: skip
        if row is None:
            raise ApiError(404, "resource not found: no such delivery, or it is too old to be kept")
        connector = self._cloud.connectors.get(row[1])
        attempts = self._cloud.database.execute(
            "SELECT number, started, seconds, status, note, headers, answer FROM attempts WHERE delivery_id = ? "
            "ORDER BY number", number,
        )  # fmt: skip
        return {
            **self._listed(row[:-1]),
            "url": connector.url if connector else None,
            "body": row[-1].decode("utf-8", "replace"),
            "attempts": [
                {
                    "number": each[0],
                    "started": written(each[1]),
                    "seconds": each[2],
                    "status": each[3],
                    "note": each[4],
                    "headers": json.loads(each[5]),
                    "tokens": _decoded(json.loads(each[5])),
                    "answer": each[6].decode("utf-8", "replace"),
                }
                for each in attempts
            ],
        }

    # ---- changing; each answer has the equivalent command ----

    async def _resend(self, request: Request, _given: dict[str, Any]) -> Any:
        number = _number(request.path_params["id"])
        if not self._cloud.deliverer.resend(number):
            raise ApiError(400, "failed precondition: only a waiting delivery can be attempted now")
        return {"command": self._command(f"cloud resend {number}")}

    async def _clock(self, _request: Request, given: dict[str, Any]) -> Any:
        """Take ``speed`` (a number or ``auto``), ``isPaused``, ``jump`` (seconds) or ``step`` (to the next attempt)."""
        clock, deliverer = self._cloud.clock, self._cloud.deliverer
        match given:
            case {"speed": "auto"}:
                self._watch.pace.set(None)
                command = "speed auto"
            case {"speed": int() | float() as speed} if not isinstance(speed, bool) and 0.001 <= speed <= MAX_SPEED:
                self._watch.pace.set(speed)
                command = f"speed {speed:g}"
            case {"isPaused": bool() as is_paused}:
                (clock.pause if is_paused else clock.resume)()
                command = "pause" if is_paused else "resume"
            case {"jump": int() | float() as seconds} if 0 < seconds <= 31 * 86_400:
                clock.jump(seconds)
                command = f"jump {seconds:g}s"
            case {"step": True}:
                due = deliverer.next_attempt()
                if due is None:
                    raise ApiError(400, "failed precondition: no delivery is waiting")
                clock.jump(due - clock.now())
                command = "step"
            case _:
                raise ApiError(400, "invalid argument: one of speed, isPaused, jump, step")
        deliverer.wake()
        return {"command": self._command(f"cloud {command}"), "now": written(clock.now())}

    async def _fault(self, request: Request, given: dict[str, Any]) -> Any:
        name, count = request.path_params["name"], given.get("count", 1)
        if not isinstance(count, int) or not 0 <= count <= 100_000:
            raise ApiError(400, "invalid argument: count")
        self._cloud.fault(name, count)
        return {"command": self._command(f"cloud fault {name} --count {count}")}

    async def _scenario(self, request: Request, _given: dict[str, Any]) -> Any:
        name = request.path_params["name"]
        return {"run": self._watch.theatre.start(name), "command": self._command(f"scenario {name}")}

    async def _stop_scenario(self, _request: Request, _given: dict[str, Any]) -> Any:
        self._watch.theatre.stop()
        return {}

    async def _receiver(self, _request: Request, given: dict[str, Any]) -> Any:
        """Take ``isRunning``."""
        receiver, is_running = self._watch.receiver, given.get("isRunning")
        if receiver is None:
            raise ApiError(400, "failed precondition: this cloud did not start a receiver; `make demo` does")
        if not isinstance(is_running, bool):
            raise ApiError(400, "invalid argument: isRunning")
        await (receiver.start() if is_running else receiver.stop())
        return {"command": self._command(f"cloud receiver {'start' if is_running else 'stop'}"), **receiver.document()}

    async def _create(self, _request: Request, given: dict[str, Any]) -> Any:
        project = given.pop("project", None)
        if not isinstance(project, str) or project not in PROJECTS:
            raise ApiError(404, "resource not found: no such project")
        now = self._cloud.clock.now()
        connector = self._cloud.connectors.create(project, {"type": "HTTP_PUSH", **given}, now)
        collection = connector.name.rpartition("/")[0]
        return {
            **connector.document(),
            "id": connector.connector_id,
            "command": _curl("POST", collection, {"type": "HTTP_PUSH", **given}),
        }

    async def _update(self, request: Request, given: dict[str, Any]) -> Any:
        connector = self._cloud.connector(request.path_params["id"])
        self._cloud.update(connector, given, None)
        return {**connector.document(), "command": _curl("PATCH", connector.name, given)}

    async def _delete(self, request: Request, _given: dict[str, Any]) -> Any:
        connector = self._cloud.connector(request.path_params["id"])
        self._cloud.delete(connector)
        return {"command": _curl("DELETE", connector.name)}

    async def _sync(self, request: Request, _given: dict[str, Any]) -> Any:
        connector = self._cloud.connector(request.path_params["id"])
        published = self._cloud.publisher.sync(connector)
        return {"published": published, "command": _curl("POST", f"{connector.name}:sync")}

    async def _publish(self, request: Request, given: dict[str, Any]) -> Any:
        """Take an event as the emulator does: ``{"touch": {}}``."""
        device = self._cloud.device(request.path_params["id"])
        self._cloud.emulate(device, given)
        return {"command": self._command(f"cloud publish {device.device_id} {next(iter(given))}")}

    async def _label(self, request: Request, given: dict[str, Any]) -> Any:
        """Take ``add``, an object of strings, and ``remove``, an array of them."""
        device = self._cloud.device(request.path_params["id"])
        add, remove = given.get("add") or {}, given.get("remove") or []
        check_labels(add, remove)
        self._cloud.publisher.relabel(device, add, remove)
        return {"labels": device.labels}


Handler = Callable[[Request, dict[str, Any]], Awaitable[Any]]


def _json(handle: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return JSONResponse(await handle(request, {}))

    return endpoint


def _changing(handle: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ApiError(400, "invalid argument: Content-Type must be application/json")
        return JSONResponse(await handle(request, parse_object(await request.body())))

    return endpoint


def _number(text: str) -> int:
    # SQLite's largest integer has 19 digits.
    if not text.isdecimal() or len(text) > 18:
        raise ApiError(404, "resource not found: no such delivery")
    return int(text)


def _file(name: str) -> Response:
    found = page.read(name)
    if found is None:
        raise ApiError(404, "resource not found: the page has no such file")
    return Response(found[0], headers=found[1])


def _curl(method: str, name: str, given: dict[str, Any] | None = None) -> str:
    """Return the equivalent request to DT's API, without a secret, because it is displayed."""
    command = f'curl -X {method} "$DT_API_URL/v2/{name}" -u "$DT_API_KEY_ID:$DT_API_KEY_SECRET"'
    if given is None:
        return command
    shown = dict(given)
    if isinstance(config := given.get("httpConfig"), dict):
        shown["httpConfig"] = {key: value for key, value in config.items() if key != "signatureSecret"}
    return f"{command} -d {shlex.quote(json.dumps(shown, ensure_ascii=False))}"


def _decoded(headers: dict[str, str]) -> dict[str, Any]:
    """Return header and claims of each token among the headers."""
    found = {}
    for name, token in headers.items():
        try:
            found[name] = {
                "header": jwt.get_unverified_header(token),
                "claims": jwt.decode(token, options={"verify_signature": False}),
            }
        except jwt.PyJWTError:
            continue
    return found
