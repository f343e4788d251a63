"""What all tests share: the real PostgreSQL, and the rule that nothing skips in CI."""

import fcntl
import gc
import os
import signal
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.support.shared import SharedServers

if TYPE_CHECKING:
    from tests.support.azurite import Azurite
    from tests.support.couchdb import CouchDb
    from tests.support.google import Emulator
    from tests.support.moto import MotoServer
    from tests.support.postgres import Postgres


# No example has a time limit: on a busy machine any may take long.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

# Google's clients leave threads behind. With gRPC's support for forks, a program that the tests start afterwards may
# abort before it begins: 1 to 6 of 180 did, and none without.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


_SHARED = pytest.StashKey[SharedServers]()


def pytest_configure() -> None:
    """Have SIGINT end what the tests start, which inherits it ignored from a shell that runs them in the background."""
    # Importing and collecting thousands of tests triggers useless collections: a quarter of the time it takes.
    gc.disable()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Collect garbage again, but not among the imported modules: the first test would wait for that."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests marked ``alone`` last, where the other processes have little left to do while they run."""
    items.sort(key=_is_alone)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test marked ``alone`` while no other process of pytest-xdist runs one."""
    assert item.config.cache is not None
    folder = item.config.cache.mkdir("alone")
    # A test that waits to run alone holds the door lock, so that no other starts. A process that dies releases it.
    with (folder / "door").open("w") as door, (folder / "room").open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if _is_alone(item) else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        return (yield)


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.fixture(scope="session")
def postgres() -> "Iterator[Postgres]":
    """A PostgreSQL server that no test may kill; those that do start their own."""
    postgres = pytest.importorskip("tests.support.postgres", reason="needs asyncpg: make test installs it")
    if postgres.find_binaries() is None:
        pytest.skip("no PostgreSQL on this machine: `make test` installs one, or install postgresql yourself")
    with postgres.running() as server:
        yield server


@pytest.fixture
def postgres_with_tls(postgres: "Postgres") -> "Postgres":
    """The same, where its build speaks TLS; that in the wheel does not."""
    if not postgres.speaks_tls:
        pytest.skip("this build of PostgreSQL speaks no TLS: install postgresql yourself")
    return postgres


@pytest.fixture(scope="session")
def moto() -> "Iterator[MotoServer]":
    """A server in AWS's place that no test may kill or freeze; those that do start their own."""
    moto = pytest.importorskip("tests.support.moto", reason="needs botocore and moto: make test installs them")
    with moto.moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def shared_servers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SharedServers:
    """The servers of Java and Node.js, which take seconds to start and a fifth of a gigabyte each."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        folder = folder.parent
    return request.config.stash.setdefault(_SHARED, SharedServers(folder))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave the shared servers. Not in a fixture: it would wait for a test that waits to run alone."""
    if servers := session.config.stash.get(_SHARED, None):
        servers.leave()


@pytest.fixture(scope="session")
def fauxqs(shared_servers: SharedServers) -> str:
    """The address of an SQS that is right about FIFO queues."""
    from tests.support.fauxqs import fauxqs

    return shared_servers.use("fauxqs", fauxqs)


@pytest.fixture(scope="session")
def azurite(shared_servers: SharedServers) -> "Azurite":
    """Microsoft's emulator of Azure Storage."""
    from tests.support.azurite import azurite

    return shared_servers.use("azurite", azurite)


@pytest.fixture(scope="session")
def couchdb(shared_servers: SharedServers) -> "CouchDb":
    """A server in Cloudant's place."""
    from tests.support.couchdb import couchdb

    return shared_servers.use("couchdb", couchdb)


@pytest.fixture(scope="session")
def pubsub(shared_servers: SharedServers) -> "Emulator":
    """Google's Pub/Sub emulator."""
    from tests.support.google import emulator

    return shared_servers.use("pubsub", lambda: emulator("pubsub"))


@pytest.fixture(scope="session")
def firestore(shared_servers: SharedServers) -> "Emulator":
    """Google's Firestore emulator."""
    from tests.support.google import emulator

    return shared_servers.use("firestore", lambda: emulator("firestore"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: a missing part must not look like a tested one."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
