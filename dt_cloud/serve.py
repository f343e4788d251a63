"""Runs a cloud and its parts until SIGTERM or Ctrl-C."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import NoReturn

import uvicorn

from dt_cloud.app import build_app
from dt_cloud.cloud import Cloud
from dt_cloud.desk import Desk
from dt_cloud.loop import keep_running, run
from dt_cloud.pace import Pace
from dt_cloud.receiver import Receiver
from dt_cloud.sensors import Building
from dt_cloud.stored import StoredCheck
from dt_cloud.theatre import Theatre
from dt_cloud.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts that run with a cloud.

    Attributes:
        pace: The speed of its clock.
        building: The simulated sensors, if any.
        stored: Checks the receiver's store, if that is readable.
        receiver: The receiver, if this program starts and stops it.
        next_secret: As in `dt_cloud.stage.Stage`.
    """

    pace: Pace
    building: Building | None = None
    stored: StoredCheck | None = None
    receiver: Receiver | None = None
    next_secret: str = ""


def bind(port: int, setting: str = "DT_CLOUD_PORT") -> socket.socket:
    """Return a socket on 127.0.0.1, or exit with a message that names the port's setting."""
    listening = socket.socket()
    if sys.platform != "win32":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()
    except OSError as error:
        sys.exit(f"Port {port} cannot be used: {error.strerror}. Set {setting} to another one.")
    return listening


def serve(cloud: Cloud, listening: socket.socket, parts: Parts, started: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; then finish attempts in progress, and stop.

    Args:
        cloud: The cloud.
        listening: The listening socket.
        parts: The parts that run with it.
        started: Called when it listens.

    If the database file is moved, replaced, overwritten or deleted meanwhile, the process ends at once, with exit code
    1.
    """
    # uvicorn raises SIGTERM again after a clean stop: this is not an error.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    cloud.database.on_lost = _end
    with contextlib.suppress(KeyboardInterrupt):
        run(_serve(cloud, listening, parts, started))


def _end(sentence: str) -> NoReturn:
    print(sentence, file=sys.stderr, flush=True)
    # At once: to stop in order means to write and to answer, and neither can be relied on any more.
    os._exit(1)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, cloud: Cloud, desk: Desk, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._cloud = cloud
        self._desk = desk
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._tell()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # The page and the streams keep their connections open.
        self._desk.close()
        self._cloud.publisher.close()
        await super().shutdown(sockets)


async def _serve(cloud: Cloud, listening: socket.socket, parts: Parts, started: Callable[[], None]) -> None:
    theatre = Theatre(cloud, parts.next_secret, parts.building)
    watch = Watch(cloud, parts.pace, theatre, parts.stored, parts.receiver)
    desk = Desk(watch)
    config = uvicorn.Config(
        build_app(cloud, watch.ledger, *desk.routes(), beside=_beside(theatre, watch, parts)),
        access_log=False,
        lifespan="on",
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
        workers=1,
        ws="none",
    )
    server = _Server(config, cloud, desk, started)
    await server.serve([listening])


@contextlib.asynccontextmanager
async def _beside(theatre: Theatre, watch: Watch, parts: Parts) -> AsyncIterator[None]:
    parts_with_a_task = (parts.pace, watch, parts.building, parts.stored)
    if parts.receiver:
        await parts.receiver.start()
    tasks = [asyncio.create_task(keep_running(each.run)) for each in parts_with_a_task if each]
    try:
        yield
    finally:
        await theatre.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if parts.receiver:
            await parts.receiver.stop()
