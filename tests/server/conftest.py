"""A server, and a client of it."""

from collections.abc import Iterator

import pytest

from tests.server.served import Client, Served, served


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as server:
        yield server


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    client = server.connect()
    yield client
    client.close()
