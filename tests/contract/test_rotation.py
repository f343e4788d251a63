"""A rotation of the secret of a deployed receiver and of its Data Connector, while DT Cloud delivers."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from tests.contract.deployed import Deployed, factories
from tests.support.deliveries import SECRET
from tests.support.delivering import delivering
from tests.support.dt_client import keep_client
from tests.support.dt_cloud import FIRST_PROJECT, DtCloud, Refused, dt_cloud, until
from tests.support.fronts import front
from tests.support.processes import Answer

pytestmark = pytest.mark.long

FACTORIES = factories()
PER_SECOND = 100
# Bounds the test where a rotation takes long.
MOST = 1000


@pytest.fixture(params=FACTORIES)
def deployed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployed]:
    with FACTORIES[request.param](SECRET, tmp_path, request) as found:
        yield found


def connect(deployed: Deployed, url: str) -> str:
    """Make the Data Connector, with the deployed secret; return its id."""
    cloud, *name = deployed.arguments
    arguments = ["connect", url, "--cloud", cloud, *(["--cloud-name", *name] if name else []), "--header", "x-kept:yes"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert SECRET not in result.output
    return str(json.loads(result.stdout)["connector"])


def rotate(deployed: Deployed, url: str, *options: str) -> Result:
    arguments = ["rotate-secret", *deployed.arguments, "--url", url, "--wait", "120", *options]
    return CliRunner().invoke(app, arguments)


@contextmanager
def counting(url: str, answers: "Counter[int]") -> Iterator[str]:
    """Yield the address of a server that passes requests on, and counts the answers to DT Cloud by status.

    The command may be answered 401, until every instance has the new secret; DT Cloud may not.
    """
    target = urlsplit(url)

    def pass_on(method: str, _: str, headers: Mapping[str, str], body: bytes) -> Answer:
        connection = HTTPConnection(target.hostname or "", target.port, timeout=60)
        try:
            connection.request(method, target.path, body, {**headers, "Connection": "close"})
            found = connection.getresponse()
            answer = Answer(found.status, dict(found.getheaders()), found.read())
        except (OSError, HTTPException):  # it is being started again
            answer = Answer(502, {}, b"")
        finally:
            connection.close()
        if not headers["User-Agent"].startswith("dtconn"):
            answers[answer.status] += 1
        return answer

    with front(pass_on) as address:
        yield address


@contextmanager
def publishing(cloud: DtCloud, device: str) -> Iterator[None]:
    """Publish events until the end, or until there are `MOST`."""
    ended = threading.Event()

    def publish() -> None:
        due = time.monotonic()
        for _ in range(MOST):
            if ended.is_set():
                return
            cloud.publish(device)
            due += 1 / PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def deliver_all(cloud: DtCloud, connector: str) -> None:
    """Move the clock from attempt to attempt until no delivery is waiting."""
    deadline = time.monotonic() + 120
    while cloud.books(connector)[2]:
        assert time.monotonic() < deadline, cloud.ledger(connector)
        with suppress(Refused):  # all of them are on their way
            cloud.clock(step=True)
        time.sleep(0.05)


def test_rotation_under_100_deliveries_a_second_refuses_none(
    deployed: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_client(monkeypatch)
    answers: Counter[int] = Counter()
    folder = tmp_path / "cloud"
    folder.mkdir()
    with dt_cloud(folder) as cloud, counting(deployed.url, answers) as url:
        for name, value in cloud.environment().items():
            monkeypatch.setenv(name, value)
        connector = connect(deployed, url)
        sensor = cloud.sensor("touch")
        with publishing(cloud, sensor):
            until(lambda: cloud.books(connector)[1] > 0, 60)
            begun = rotate(deployed, url, "--watch", "3")
            assert begun.exit_code == 0, begun.output
            new, _ = json.loads(deployed.text())
        # Begun again while it is unfinished: by now events come with either.
        with delivering(deployed.url, new, SECRET) as either:
            again = rotate(deployed, url, "--watch", "3")
        assert (again.exit_code, json.loads(deployed.text())) == (0, [new, SECRET]), again.output
        assert set(either) == {200}, either
        # In place of 13 hours: what waits may have been signed with the old secret.
        deliver_all(cloud, connector)
        with publishing(cloud, sensor):
            refused = rotate(deployed, url, "--finish", "--yes")
            assert refused.exit_code == 1, refused.output
            finished = rotate(deployed, url, "--finish", "--now", "--watch", "3")
            assert finished.exit_code == 0, finished.output
        deliver_all(cloud, connector)
        config = cloud.call("GET", f"/projects/{FIRST_PROJECT}/dataconnectors/{connector}")["httpConfig"]
        published, delivered, *_ = cloud.books(connector)
    assert deployed.text() == new
    assert config == {"url": url, "signatureSecret": new, "headers": {"x-kept": "yes"}}
    assert delivered == published
    assert answers[401] == 0, answers
    assert answers[200] >= published, answers
    assert not any(secret in result.output for secret in (new, SECRET) for result in (begun, again, refused, finished))
