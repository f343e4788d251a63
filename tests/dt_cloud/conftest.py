"""A DT Cloud for each file of tests, a receiver for each test, and DT's own client for that cloud."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.dt_cloud import DEVELOPER, DtCloud, Loopback, dt_cloud, loopback, ok

pytest.importorskip("aiohttp", reason="needs aiohttp and starlette: make test installs them")


_ROLES = cycle((DEVELOPER, "project.admin"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DtCloud]:
    """A cloud that the tests of a file share; they leave no state that affects others."""
    with dt_cloud(tmp_path_factory.mktemp("cloud")) as server:
        yield server


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[DtCloud]:
    """A cloud for this test only."""
    with dt_cloud(tmp_path) as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Loopback]:
    """An endpoint that acknowledges by default."""
    with loopback(ok) as server:
        yield server


@pytest.fixture
def client(shared: DtCloud, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """DT's unmodified official client; only its three addresses are set."""
    disruptive: ModuleType = pytest.importorskip("disruptive", reason="needs disruptive: make test installs it")
    # Each account has a separate request limit.
    account = shared.accounts[next(_ROLES)]
    auth = disruptive.Auth.service_account(account.key_id, account.secret, account.email)
    auth.token_endpoint = f"{shared.url}/oauth2/token"
    monkeypatch.setattr(disruptive, "default_auth", auth)
    monkeypatch.setattr(disruptive, "base_url", f"{shared.url}/v2")
    monkeypatch.setattr(disruptive, "emulator_base_url", f"{shared.url}/v2")
    # Without this machine's proxy, which the client would use even for loopback.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return disruptive
