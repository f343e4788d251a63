"""DT Cloud on one's desk as a process of its own, and a receiver that it delivers to."""

import base64
import json
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.ports import free_port, wait_for
from tests.support.processes import Program, running

SECRET = "a-secret-of-the-tests-that-is-long-enough"


class Desk:
    """The cloud, and requests to it.

    Args:
        folder: Where its database is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.start()

    @property
    def url(self) -> str:
        """The page."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it, or start it again where it was."""
        environ = {"DT_CLOUD_PORT": str(self.port), "DT_CLOUD_DATABASE": str(self.folder / "cloud.db")}
        self.program = Program("dt_cloud", environ, self.folder, port=self.port)
        wait_for(self.port, self.program.process)
        # It listens before it is ready, and answers once it has said what it is.
        self.program.request("GET", "/ledger")
        self.exports = dict(re.findall(r"^export (\w+)=(.*)$", self.program.output(), re.MULTILINE))

    def stop(self) -> None:
        """End it at once."""
        self.program.stop(signal.SIGKILL)
        self.program.close()

    @property
    def project(self) -> str:
        """The id of its first project."""
        return str(self.exports["DT_CLOUD_PROJECT"])

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Make a request, and return its answer, which must be a good one."""
        key = f"{self.exports['DT_API_KEY_ID']}:{self.exports['DT_API_KEY_SECRET']}"
        headers = {
            "authorization": f"Basic {base64.b64encode(key.encode()).decode()}",
            "content-type": "application/json",
        }
        answer = self.program.request(method, path, headers, json.dumps(body).encode() if body is not None else b"")
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def device(self, device_type: str = "temperature", **labels: str) -> str:
        """Make a sensor, and return its id."""
        made = self.call("POST", f"/v2/projects/{self.project}/devices", {"type": device_type, "labels": labels})
        return str(made["name"].rpartition("/")[2])

    def publish(self, device: str, event: Mapping[str, Any] | None = None) -> None:
        """Publish an event of a sensor."""
        self.call("POST", f"/desk/devices/{device}:publish", event or {"temperature": {"value": 21.5}})

    def connector(self, url: str, name: str = "Receiver", secret: str = SECRET, **fields: Any) -> str:
        """Make a connector, and return its id."""
        config = {"url": url, "signatureSecret": secret, **fields.pop("config", {})}
        given = {"project": self.project, "displayName": name, "httpConfig": config, **fields}
        return str(self.call("POST", "/desk/connectors", given)["id"])

    def ledger(self) -> dict[str, Any]:
        """Return the ledger."""
        found: dict[str, Any] = self.call("GET", "/ledger")
        return found

    def wait_for(self, is_so: Callable[[dict[str, Any]], bool]) -> None:
        """Return once the ledger is so."""
        deadline = time.monotonic() + 60
        while not is_so(self.ledger()):
            assert time.monotonic() < deadline, self.ledger()
            time.sleep(0.05)


@contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    """Give a cloud of one's own."""
    started = Desk(folder)
    try:
        yield started
    finally:
        started.stop()


@contextmanager
def receiver(folder: Path) -> Iterator[str]:
    """Give the address of a local receiver with `SECRET`."""
    environ = {"DT_SIGNATURE_SECRET": SECRET, "DT_DATABASE": str(folder / "events.db")}
    with running("local", environ, folder) as program:
        yield f"http://127.0.0.1:{program.port}/"
