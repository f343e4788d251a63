"""Every adapter as its platform runs it. A new one joins by adding its factory to `ADAPTERS`.

And every front door: how one HTTP request becomes a `Request`. A new one joins by adding its function to `FRONT_DOORS`.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from core.asgi import App, Message
from core.http import Request
from tests.support.postgres import Postgres, execute
from tests.support.processes import Answer, running


class Receiving(Protocol):
    """A receiver that runs."""

    def request(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Make one HTTP request."""
        ...

    def wait_for_lines(self, count: int) -> list[dict[str, Any]]:
        """Return the log lines once there are so many, less those of health checks."""
        ...

    def output(self) -> str:
        """Return all that it printed."""
        ...


@dataclass
class Adapter:
    """One receiver, and a look at what it stored.

    Attributes:
        receiving: The receiver.
        bodies: Reads the stored bodies, past the receiver.
        block: Takes the store away.
        unblock: Gives it back.
    """

    receiving: Receiving
    bodies: Callable[[], list[bytes]]
    block: Callable[[], object]
    unblock: Callable[[], object]


Factory = Callable[[Mapping[str, str], Path, pytest.FixtureRequest], AbstractContextManager[Adapter]]


@contextmanager
def local(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
    path = folder / "events.db"

    def bodies() -> list[bytes]:
        connection = sqlite3.connect(path)
        found = [row[0] for row in connection.execute("SELECT body FROM events ORDER BY rowid")]
        connection.close()
        return found

    with running("local", {**environ, "DT_DATABASE": str(path)}, folder) as program:
        other = sqlite3.connect(path, isolation_level=None)
        yield Adapter(program, bodies, lambda: other.execute("BEGIN IMMEDIATE"), lambda: other.execute("ROLLBACK"))
        other.close()


@contextmanager
def heroku(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database()

    def bodies() -> list[bytes]:
        return [row["body"] for row in execute(url, "SELECT body FROM events ORDER BY received_at")]

    with running("heroku", {**environ, "DATABASE_URL": url}, folder) as program:
        yield Adapter(
            program,
            bodies,
            lambda: execute(url, "ALTER TABLE events RENAME TO gone"),
            lambda: execute(url, "ALTER TABLE gone RENAME TO events"),
        )


ADAPTERS: dict[str, Factory] = {"local": local, "heroku": heroku}


def _asgi(chunks: Callable[[bytes], list[bytes]]) -> Callable[[list[tuple[str, str]], bytes], Request]:
    """Present a delivery as an ASGI server does: names in lower case, the body in one message or in many."""

    def present(headers: list[tuple[str, str]], body: bytes) -> Request:
        seen: list[Request] = []
        parts = chunks(body)
        messages: list[Message] = [
            {"type": "http.request", "body": part, "more_body": index + 1 < len(parts)}
            for index, part in enumerate(parts)
        ]

        class Keeps:
            async def handle(self, request: Request) -> Any:
                seen.append(request)
                raise asyncio.CancelledError

        async def receive() -> Message:
            return messages.pop(0)

        async def send(message: Message) -> None:
            raise AssertionError(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }
        try:
            asyncio.run(App(Keeps())(scope, receive, send))  # type: ignore[arg-type]
        except asyncio.CancelledError:
            pass
        return seen[0]

    return present


FRONT_DOORS: dict[str, Callable[[list[tuple[str, str]], bytes], Request]] = {
    "ASGI": _asgi(lambda body: [body]),
    "ASGI, in pieces": _asgi(lambda body: [body[:1], b"", *(body[at : at + 100] for at in range(1, len(body), 100))]),
}
