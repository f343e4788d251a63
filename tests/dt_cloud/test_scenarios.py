"""The scenarios that the page and dtconn play, against real receivers: each published event is stored once."""

import asyncio
import json
import socket
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from core.environment import Environment
from core.receiver import AsyncReceiver
from core.settings import Settings
from dt_cloud.accounts import ORGANIZATION, PROJECTS
from dt_cloud.choices import Choices
from dt_cloud.cloud import Cloud
from dt_cloud.scenarios import SCENARIOS, first_signature
from dt_cloud.stage import Stage
from dt_cloud.theatre import play
from local.sqlite import SqliteStore
from server.asgi import App
from tests.contract.adapter import Adapter, Factory
from tests.heroku.adapters import heroku
from tests.local.adapters import local
from tests.support.clouds import served_cloud, serving, twin
from tests.support.deliveries import SECRET
from tests.support.ports import free_port
from tests.support.processes import Program

SECOND_PROJECT = tuple(PROJECTS)[1]
NEXT_SECRET = "the next signature secret, 40 bytes long"


@pytest.mark.parametrize("policy", ["hs256", *(pytest.param(it, marks=pytest.mark.long) for it in ("es256", "both"))])
@pytest.mark.parametrize("receiver", [local, heroku])
def test_published_equals_stored_in_every_scenario(
    receiver: Factory, policy: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    port = free_port()
    environ = {"DT_SIGNATURE_POLICY": policy}
    if policy != "es256":
        environ["DT_SIGNATURE_SECRET"] = json.dumps([SECRET, NEXT_SECRET])
    if policy != "hs256":
        issuer = f"http://127.0.0.1:{port}/data-connector"
        environ |= {"DT_ORGANIZATION_ID": ORGANIZATION, "DT_ISSUER": issuer}

    async def run(url: str) -> dict[str, Stage]:
        async with AsyncExitStack() as stack:
            cloud = await stack.enter_async_context(served_cloud(tmp_path, port))
            stages = {
                name: Stage(await stack.enter_async_context(twin(cloud, tmp_path / name)), url, SECRET, NEXT_SECRET)
                for name in SCENARIOS
            }
            await asyncio.gather(*(play(stage, SCENARIOS[name]) for name, stage in stages.items()))
            return stages

    def port_of(adapter: Adapter) -> int:
        assert isinstance(adapter.receiving, Program)
        return adapter.receiving.port

    with receiver(environ, tmp_path, request) as adapter:
        stages = asyncio.run(run(f"http://127.0.0.1:{port_of(adapter)}"))
        bodies = [json.loads(body) for body in adapter.bodies()]
    stored = Counter(body["metadata"]["deviceId"] for body in bodies)
    for name, stage in stages.items():
        assert stage.is_met, (name, stage.lines)
        found = stage.ledger
        assert found["published"] == found["delivered"] + found["expired"] + found["dropped"], name
        assert sum(stored[device.device_id] for device in stage.devices) == found["delivered"], name
    assert len({body["event"]["eventId"] for body in bodies}) == len(bodies)


@pytest.mark.parametrize(("accepted_for", "is_met"), [("46800", True), ("0", False)])
def test_retries_that_keep_their_first_signature(tmp_path: Path, accepted_for: str, is_met: bool) -> None:
    """The receiver uses the cloud's clock; otherwise no signature would expire in the seconds of this test."""

    async def run() -> None:
        cloud = Cloud(tmp_path / "cloud.db", "http://127.0.0.1:1", choices=Choices(signs="once"))
        environment = Environment({"DT_SIGNATURE_SECRET": SECRET, "DT_ACCEPT_EXPIRED_FOR": accepted_for})
        store = SqliteStore(tmp_path / "events.db")
        port = free_port()
        app = App(AsyncReceiver(Settings.read(environment), store, clock=cloud.clock.now))
        async with serving(app, port):
            await cloud.open()
            stage = Stage(cloud, f"http://127.0.0.1:{port}", SECRET)
            assert await play(stage, first_signature) == is_met, stage.lines
            await cloud.close()

    asyncio.run(run())


def test_hanging_user_connector_does_not_block_a_scenario(tmp_path: Path) -> None:
    async def run() -> None:
        port = free_port()
        store = SqliteStore(tmp_path / "events.db")
        app = App(AsyncReceiver(Settings.read(Environment({"DT_SIGNATURE_SECRET": SECRET})), store))
        with socket.create_server(("127.0.0.1", 0)) as hanging:
            cloud = Cloud(tmp_path / "cloud.db", "http://127.0.0.1:1")
            async with serving(app, port):
                await cloud.open()
                # It accepts connections and never answers.
                url = f"http://127.0.0.1:{hanging.getsockname()[1]}/"
                given = {"type": "HTTP_PUSH", "httpConfig": {"url": url}}
                cloud.connectors.create(SECOND_PROJECT, given, cloud.clock.now())
                stage = Stage(cloud, f"http://127.0.0.1:{port}", SECRET)
                assert await asyncio.wait_for(play(stage, SCENARIOS["outage-10h"]), 60), stage.lines
                await cloud.close()

    asyncio.run(run())
