"""Shows the stored events in a browser on this machine: each sensor's latest, and events as they arrive."""

import asyncio
import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import page
from core.event import Event, rfc3339
from core.readings import readings
from readers import ReaderError
from readers.query import Query
from readers.rows import stored
from readers.seen import newest_signs, seen_at
from readers.sqlite import SqliteReader
from server.asgi import Message, Receive, Scope, Send

_PATHS = ("/", "/frames")
_FILES = "/page/"
_HOSTS = (b"127.0.0.1", b"localhost", b"[::1]")
# Headers of a tunnel or a proxy: the client behind it is not on this machine, whatever the Host header says.
_FORWARDED = (b"forwarded", b"via", b"x-", b"cf-", b"true-client-ip", b"fly-", b"cdn-loop", b"ngrok-")
_ROWS = 50
# Seconds between frames, and between queries of all sensors' latest.
_EVERY = 0.5
_LATEST_EVERY = 2.0


class Page:
    """Serves the page to a browser.

    Args:
        database: The receiver's file.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._closing = asyncio.Event()

    def is_for(self, scope: Scope) -> bool:
        """Return whether a browser on this machine requests the page; health checks and senders are not affected."""
        path = scope["path"]
        if scope["method"] != "GET" or not (path in _PATHS or path.startswith(_FILES)):
            return False
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"host", b"")
        host = host[: host.rfind(b":")] if host.rfind(b":") > host.rfind(b"]") else host
        # No browser speaks HTTP/1.0, and nginx does so to what is behind it.
        is_direct = scope["http_version"] != "1.0" and not any(name.startswith(_FORWARDED) for name in headers)
        if host not in _HOSTS or not is_direct:
            return False
        return path != "/" or b"text/html" in headers.get(b"accept", b"")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that `is_for` accepts."""
        if scope["path"] == "/frames":
            await self._frames(receive, send)
        else:
            await _file("local.html" if scope["path"] == "/" else scope["path"].removeprefix(_FILES), send)

    def close(self) -> None:
        """End the streams, so that the server does not wait for them."""
        self._closing.set()

    async def _frames(self, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        gone = asyncio.create_task(_disconnected(receive))
        closing = asyncio.create_task(self._closing.wait())
        look = _Look(self._database)
        try:
            while not (gone.done() or closing.done()):
                frame = await asyncio.to_thread(look.frame)
                data = f"data: {json.dumps(frame, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
                await send({"type": "http.response.body", "body": data, "more_body": True})
                await asyncio.wait((gone, closing), timeout=_EVERY, return_when=asyncio.FIRST_COMPLETED)
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()
            closing.cancel()


class _Look:
    """Reads the database, with a new connection each time: an open one would keep the log from being emptied.

    Args:
        database: The file.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._last: int | None = None
        # The event by which each device was last seen.
        self._seen: list[Event] = []
        self._shown: int | None = None
        self._looked = float("-inf")

    def frame(self) -> dict[str, Any]:
        """Return new events, and periodically the latest of all sensors."""
        try:
            uri = f"{self._database.resolve().as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=1.0)) as connection:
                # A lone surrogate is valid JSON, but not UTF-8.
                connection.text_factory = lambda data: data.decode("utf-8", "replace")
                return self._read(connection)
        except (sqlite3.Error, ReaderError) as error:
            return {"error": f"{self._database} cannot be read: {error}"}

    def _read(self, connection: sqlite3.Connection) -> dict[str, Any]:
        (newest,) = connection.execute("SELECT coalesce(max(rowid), 0) FROM events").fetchone()
        since = self._last
        # A smaller number means that the file was replaced.
        if since is None or since > newest:
            since = max(0, newest - _ROWS)
            with SqliteReader(self._database) as reader:
                self._seen = list(reader.last_signs(Query()))
        rows = connection.execute(
            "SELECT key, body, received_at, signed_by FROM events WHERE rowid BETWEEN ? AND ? ORDER BY rowid",
            (since + 1, newest),
        )
        events = [stored(*row) for row in rows]
        if events:
            self._seen = list(newest_signs([*self._seen, *events]))
        frame: dict[str, Any] = {
            "events": [_event(each) for each in events[-_ROWS:]],
            "skipped": max(0, len(events) - _ROWS),
            "total": newest,
            "devices": [],
        }
        now = time.monotonic()
        if newest != self._shown and now - self._looked >= _LATEST_EVERY:
            self._shown, self._looked = newest, now
            frame["devices"] = _devices(connection, self._seen)
        self._last = newest
        return frame


def _event(event: Event) -> dict[str, Any]:
    values = [_written(each.value, each.text, each.unit) for each in readings(event)][:2]
    return {
        "key": event.key,
        "name": event.labels.get("name", ""),
        "device": event.device_id,
        "eventType": event.event_type,
        "receivedAt": rfc3339(event.received_at),
        "value": ", ".join(values) if event.parsed else f"unparsed: {event.fault}",
        "signedBy": event.signed_by,
    }


def _devices(connection: sqlite3.Connection, seen: list[Event]) -> list[dict[str, Any]]:
    times = {event.device_id: seen_at(event) for event in seen}
    found: dict[str, dict[str, Any]] = {}
    for device, event_type, quantity, value, text, unit, name in connection.execute(
        "SELECT device_id, event_type, quantity, value, text, unit, name FROM latest"
    ):
        last = times.get(device)
        each = found.setdefault(
            device,
            {
                "id": device,
                "name": "",
                "description": "",
                "type": "",
                "labels": {},
                "lastSeen": rfc3339(last) if last else "",
                "values": [],
            },
        )
        each["name"] = each["name"] or name or ""
        each["values"].append({"type": event_type, "quantity": quantity, "value": value, "text": text, "unit": unit})
    return sorted(found.values(), key=lambda each: (each["name"], each["id"]))


def _written(value: float | None, text: str | None, unit: str | None) -> str:
    return text or "" if value is None else f"{value:.10g}{'' if unit in (None, '1') else f' {unit}'}"


async def _file(name: str, send: Send) -> None:
    found = page.read(name)
    body, headers = found or (b"Not found.\n", {"content-type": "text/plain"})
    start: Message = {
        "type": "http.response.start",
        "status": 200 if found else 404,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
