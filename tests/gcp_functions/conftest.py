"""A new topic and a new database for each test, in Google's emulators."""

from collections.abc import Callable, Iterator

import pytest

from gcp_functions.firestore import FirestoreStore
from gcp_functions.service import connect
from tests.support.google import Emulator, Firestore, PubSub
from tests.support.proxy import Proxy


@pytest.fixture
def proxy() -> Iterator[Callable[[Emulator], Proxy]]:
    """Return a function that puts a proxy before an emulator."""
    proxies: list[Proxy] = []

    def before(server: Emulator) -> Proxy:
        proxies.append(Proxy(server.port))
        return proxies[-1]

    yield before
    for each in proxies:
        each.close()


@pytest.fixture
def topic(pubsub: Emulator) -> PubSub:
    return PubSub(pubsub.host)


@pytest.fixture
def database(firestore: Emulator) -> Firestore:
    return Firestore(firestore.host)


@pytest.fixture
def store(firestore: Emulator, database: Firestore) -> FirestoreStore:
    return FirestoreStore(connect("", firestore.host), database.database, 0)
