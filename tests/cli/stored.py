"""Databases with some events, and the output of ``dtconn events`` for them."""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from cli.main import app
from core.event import Event, parse
from core.verify.signature import Verified
from dt_cloud.bodies import EVENT_TYPES, Device
from local.sqlite import SqliteStore
from tests.support.postgres import Postgres

ROOT = Path(__file__).parents[2]
NOW = datetime.now(UTC)
ONE = Device("emuc17m6d7lq0bgk44smcqg", "c14u9p094l47cdv1o3pg")
OTHER = Device("bchonod7rihjtvdmd2vg", "c14u9p094l47cdv1o3pg", samples=30)
UNPARSED = b'{"event":{"eventType":"tomorrows","deviceId":7}}'
NO_TEXT = b"\xff\xfe"
LISTINGS = [(command, *form) for command in ("events", "readings") for form in ((), ("--json",), ("--csv",))]


def event(body: bytes, received_at: datetime) -> Event:
    return parse(Verified(body, "hs256:0"), received_at)


def a_contact(state: str) -> bytes:
    return re.sub(rb'"OPEN"|"CLOSED"', lambda _: json.dumps(state).encode(), OTHER.body("contact", NOW))


def fill(path: Path, events: Iterable[Event]) -> None:
    async def put() -> None:
        store = SqliteStore(path)
        await store.open()
        waiting = iter(events)
        while batch := list(islice(waiting, 1_000)):
            await asyncio.gather(*(store.put(event, time.monotonic() + 8) for event in batch))
        await store.close()

    asyncio.run(put())


def some_events() -> list[Event]:
    """One event of each type, an hour apart and received 90 s later; two unparsed ones; and 30 samples."""
    hour = timedelta(hours=1)
    return [
        *(
            event(ONE.body(event_type, NOW - index * hour), NOW - index * hour + timedelta(seconds=90))
            for index, event_type in enumerate(EVENT_TYPES)
        ),
        event(OTHER.body("humidity", NOW - 30 * hour), NOW),
        event(UNPARSED, NOW - 0.5 * hour),
        event(NO_TEXT, NOW - 1.5 * hour),
    ]


SOME_EVENTS = some_events()
Databases = Callable[[Iterable[Event]], str]


def dtconn(*args: str | Path, **environ: str) -> Result:
    env: dict[str, str | None] = {"DT_DATABASE": None, "DATABASE_URL": None, "COLUMNS": "200"}
    return CliRunner().invoke(app, [*map(str, args)], env=env | environ)


def events(*args: str | Path, **environ: str) -> Result:
    return dtconn("events", *args, **environ)


def objects(*args: str | Path, command: str = "events") -> list[dict[str, Any]]:
    result = dtconn(command, *args, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def filled(postgres: Postgres, events: Iterable[Event] = SOME_EVENTS) -> str:
    """Return the URL of a new database with some events."""
    from heroku.postgres import PostgresStore

    url = postgres.create_database()

    async def put() -> None:
        store = PostgresStore(url)
        await asyncio.gather(*(store.put(event, time.monotonic() + 8) for event in events))
        await store.close()

    asyncio.run(put())
    return url
