"""DT Cloud on this machine: the real program, on a free port, with a new database."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from dt_cloud.accounts import FIRST_PROJECT, ORGANIZATION, PROJECTS, Account, Accounts
from dt_cloud.choices import Choices
from dt_cloud.database import Database
from tests.support.loopback import Answering, Call, Loopback, Reply, loopback
from tests.support.ports import free_port
from tests.support.processes import ROOT, Printing, Requesting, spawn

__all__ = ["FIRST_PROJECT", "ORGANIZATION", "PROJECTS", "Call", "Loopback", "Reply", "loopback"]

DEVELOPER = "project.developer"
CONNECTORS = f"/projects/{FIRST_PROJECT}/dataconnectors"
DEVICES = f"/projects/{FIRST_PROJECT}/devices"
T = TypeVar("T")


def until(condition: Callable[[], T | None], seconds: float = 30) -> T:
    """Return the value of ``condition`` when it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in {seconds:g} s"
        time.sleep(0.01)
    return found


class Refused(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, document: Any, headers: Mapping[str, str]) -> None:
        super().__init__(f"{status}: {document}")
        self.status = status
        self.document = document
        self.headers = headers


class DtCloud(Printing, Requesting):
    """The server, which a test may kill and restart.

    Args:
        folder: The folder of its database.
        arguments: Its command-line options.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = folder / "cloud.db"
        self.arguments = arguments
        # Read before the start: while it runs, the database is locked.
        database = Database(self.database)
        self.accounts: dict[str, Account] = {each.role: each for each in Accounts(database, Choices(), ()).all}
        database.close()
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self.process = spawn(
            [sys.executable, "-m", "dt_cloud", *self.arguments],
            cwd=self.database.parent,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "PYTHONWARNINGS": "error",
                "DT_CLOUD_PORT": str(self.port),
                "DT_CLOUD_DATABASE": str(self.database),
                "WEB_CONCURRENCY": "for another program",
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        until(self._is_ready, 60)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.output()
        try:
            return self.request("GET", "/ledger").status == 200
        except OSError:
            return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def close(self) -> None:
        """Stop it in any state."""
        self.process.kill()
        self.process.wait()
        super().close()

    # ---- DT's API ----

    @staticmethod
    def basic(account: Account) -> str:
        """Return the value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{account.key_id}:{account.secret}".encode()).decode()

    def environment(self, role: str = DEVELOPER) -> dict[str, str]:
        """Return the variables with which DT's clients ask this cloud, as `make cloud` prints them."""
        account = self.accounts[role]
        return {
            "DT_API_URL": self.url,
            "DT_EMULATOR_URL": self.url,
            "DT_OIDC_TOKEN_ENDPOINT": f"{self.url}/oauth2/token",
            "DT_API_KEY_ID": account.key_id,
            "DT_API_KEY_SECRET": account.secret,
            "DT_OIDC_EMAIL": account.email,
        }

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        role: str | None = DEVELOPER,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> tuple[int, Any, dict[str, str]]:
        """Make one request below ``/v2``, by Basic, and return status, document and headers of the answer."""
        given = dict(headers or {})
        if role is not None:
            given.setdefault("Authorization", self.basic(self.accounts[role]))
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = self.request(
            method, f"/v2{path}" + (f"?{urlencode(query, doseq=True)}" if query else ""), given, content
        )
        return answer.status, json.loads(answer.body), answer.headers

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        role: str = "organization.admin",
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Any:
        """Return the document of a 200; wait as a 429 says.

        Raises:
            Refused: The status is not 200.
        """
        while True:
            status, document, answered = self.send(method, path, body, role, headers, **query)
            if status == 200:
                return document
            if status != 429:
                raise Refused(status, document, answered)
            time.sleep(int(answered["retry-after"]))

    # ---- requests without the limit of 25 in 5 s ----

    def desk(self, method: str, path: str, body: Any = None) -> Any:
        """Make one request below ``/desk``."""
        content = json.dumps(body or {}).encode() if method != "GET" else b""
        answer = self.request(method, f"/desk{path}", {"Content-Type": "application/json"}, content)
        if answer.status != 200:
            raise Refused(answer.status, json.loads(answer.body), answer.headers)
        return json.loads(answer.body)

    def ledger(self, connector: str | None = None) -> Any:
        """Return the ledger, of one connector or of all."""
        answer = self.request("GET", "/ledger")
        found = json.loads(answer.body)
        return found["connectors"][connector] if connector else found

    def books(self, connector: str | None = None) -> tuple[int, int, int, int, int]:
        """Return published, delivered, waiting, expired and dropped, which balance."""
        found = self.ledger(connector)
        published, *rest = (found[name] for name in ("published", "delivered", "waiting", "expired", "dropped"))
        assert published == sum(rest), found
        return (published, *rest)

    def connector(self, url: str, **given: Any) -> str:
        """Create a connector and return its id."""
        config = {"url": url, **given.pop("httpConfig", {})}
        made = self.desk("POST", "/connectors", {"project": FIRST_PROJECT, "httpConfig": config, **given})
        return str(made["name"].rpartition("/")[2])

    def sensor(self, kind: str = "temperature", **labels: str) -> str:
        """Create an emulated device and return its id."""
        made = self.call("POST", DEVICES, {"type": kind, "labels": labels})
        return str(made["name"].rpartition("/")[2])

    def publish(self, device: str, **event: Any) -> None:
        """Publish one event, such as ``touch={}``."""
        self.desk("POST", f"/devices/{device}:publish", event or {"touch": {}})

    def drain(self, connector: str | None = None) -> None:
        """Advance the clock by hours until no delivery is waiting."""
        deadline = time.monotonic() + 20
        while self.books(connector)[2]:
            assert time.monotonic() < deadline, self.ledger()
            self.clock(jump=3600)
            time.sleep(0.01)

    def clock(self, **given: Any) -> None:
        """Change the clock: ``speed``, ``isPaused``, ``jump`` or ``step``."""
        self.desk("POST", "/clock", given)

    def deliveries(self, **query: Any) -> list[dict[str, Any]]:
        """Return the newest deliveries, oldest first."""
        found = self.desk("GET", f"/deliveries?{urlencode(query)}")["deliveries"]
        return list(reversed(found))

    def attempts(self, number: int, least: int = 0) -> list[dict[str, Any]]:
        """Return a delivery's attempts when there are at least this many."""

        def found() -> list[dict[str, Any]] | None:
            attempts: list[dict[str, Any]] = self.desk("GET", f"/deliveries/{number}")["attempts"]
            return attempts if len(attempts) >= least else None

        return until(found) if least else found() or []

    def stepped(self, number: int, count: int) -> list[dict[str, Any]]:
        """Return a delivery's first ``count`` attempts, on a clock that is paused between them."""
        for done in range(1, count):
            self.attempts(number, done)
            self.clock(step=True)
        return self.attempts(number, count)


@contextmanager
def dt_cloud(folder: Path, *arguments: str) -> Iterator[DtCloud]:
    """Yield a running server, and stop it afterwards."""
    server = DtCloud(folder, *arguments)
    try:
        yield server
    finally:
        server.close()


def always(status: int, seconds: float = 0) -> Answering:
    """Answer with this status after some seconds."""

    def answer(_: Call) -> Reply:
        time.sleep(seconds)
        return Reply(status, b"", {"Location": "/elsewhere"})

    return answer


ok, down = always(200), always(503)
