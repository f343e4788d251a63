"""IBM's function, behind each of its front doors, and its application under contract."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from ibm_actions.http import to_request
from tests.contract.adapter import Adapter, Campaign, Factory
from tests.contract.adapter import FrontDoor as Presenting
from tests.contract.store import http_answer
from tests.support.couchdb import CouchDb, Events
from tests.support.front_doors import FrontDoor
from tests.support.ibm import IBM_FRONT_DOORS, ibm_function
from tests.support.processes import running
from tests.support.proxy import Mode, Proxy


def _ibm(front_door: str | None) -> Factory:
    @contextmanager
    def ibm(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
        """The function behind a front door, or the application without one."""
        server: CouchDb = request.getfixturevalue("couchdb")
        events = Events(server)
        proxy = Proxy(server.port)
        names = {"DT_CLOUDANT": f"http://user:password@127.0.0.1:{proxy.port}", "DT_DATABASE_PREFIX": events.prefix}
        settings = {**names, **environ}
        program = (
            ibm_function(front_door, settings, folder) if front_door else running("ibm_actions.app", settings, folder)
        )
        try:
            with program as receiving:
                yield Adapter(
                    receiving,
                    lambda: [document["body"] for document in events.documents()],
                    lambda: proxy.set(Mode.REFUSE),
                    lambda: proxy.set(Mode.PASS),
                    [proxy],
                    longest_header=65_000,
                )
        finally:
            proxy.close()

    return ibm


def _ibm_params(front_door: FrontDoor) -> Presenting:
    """Present a delivery as a function's platform does, by way of JSON."""
    return lambda headers, body: to_request(json.loads(json.dumps(front_door.event("POST", "/", headers, body))))


ADAPTERS: dict[str, Factory] = {
    "IBM, Code Engine": _ibm("Code Engine"),
    "IBM, OpenWhisk": _ibm("OpenWhisk"),
    "IBM, application": _ibm(None),
}
OTHER_DOORS = ["IBM, OpenWhisk"]
PIPED_LOGS = ["IBM, Code Engine", "IBM, application"]
SERVERS = ["IBM, application"]
FRONT_DOORS = {f"IBM, {name}": _ibm_params(front_door) for name, front_door in IBM_FRONT_DOORS.items()}
KEEP_LAST = [f"IBM, {name}" for name, front_door in IBM_FRONT_DOORS.items() if front_door.keeps_last]
CAMPAIGNS = {"cloudant": Campaign("IBM, application", http_answer(429, {"error": "too_many_requests"}))}
