"""What these tests share."""

from collections.abc import Iterator

import pytest

from tests.gcp_functions.main.function import function
from tests.support.google import Emulator, Firestore
from tests.support.processes import Program


@pytest.fixture(scope="module")
def database(firestore: Emulator) -> Firestore:
    return Firestore(firestore.host)


@pytest.fixture(scope="module")
def ready(firestore: Emulator, database: Firestore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A function with valid settings."""
    environ = {"DT_FIRESTORE": database.database, "FIRESTORE_EMULATOR_HOST": firestore.host}
    with function(tmp_path_factory.mktemp("function"), **environ, DT_STORE="firestore") as program:
        yield program
