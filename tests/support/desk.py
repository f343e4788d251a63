"""DT Cloud for the page's tests, and a receiver for its deliveries."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dt_cloud.accounts import FIRST_PROJECT
from tests.support.dt_cloud import DtCloud, dt_cloud, until
from tests.support.processes import running

SECRET = "a-secret-of-the-tests-that-is-long-enough"


class Desk:
    """The cloud's process, and requests to it.

    Args:
        server: The program.
    """

    project = FIRST_PROJECT

    def __init__(self, server: DtCloud) -> None:
        self.server = server

    @property
    def url(self) -> str:
        """The page's URL."""
        return f"{self.server.url}/"

    def start(self) -> None:
        """Start the cloud again on the same port."""
        self.server.start()

    def stop(self) -> None:
        """Kill the cloud."""
        self.server.stop(signal.SIGKILL)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Make a request below ``/desk`` or ``/v2``, and return its answer, which must be a success."""
        _, room, rest = path.split("/", 2)
        return (self.server.desk if room == "desk" else self.server.call)(method, f"/{rest}", body)

    def device(self, device_type: str = "temperature", **labels: str) -> str:
        """Create a sensor, and return its id."""
        return self.server.sensor(device_type, **labels)

    def publish(self, device: str, event: Mapping[str, Any] | None = None) -> None:
        """Publish an event of a sensor."""
        self.server.publish(device, **(event or {"temperature": {"value": 21.5}}))

    def connector(self, url: str, name: str = "Receiver", secret: str = SECRET, **fields: Any) -> str:
        """Create a connector, and return its id."""
        config = {"signatureSecret": secret, **fields.pop("config", {})}
        return self.server.connector(url, displayName=name, httpConfig=config, **fields)

    def ledger(self) -> dict[str, Any]:
        """Return the ledger."""
        found: dict[str, Any] = self.server.ledger()
        return found

    def wait_for(self, is_so: Callable[[dict[str, Any]], bool]) -> None:
        """Return when the ledger has these counts."""
        until(lambda: is_so(self.ledger()), 60)


@contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    """Yield a new cloud."""
    with dt_cloud(folder) as server:
        yield Desk(server)


@contextmanager
def receiver(folder: Path) -> Iterator[str]:
    """Yield the URL of a local receiver with `SECRET`."""
    environ = {"DT_SIGNATURE_SECRET": SECRET, "DT_DATABASE": str(folder / "events.db")}
    with running("local", environ, folder) as program:
        yield f"http://127.0.0.1:{program.port}/"
