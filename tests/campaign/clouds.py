"""The adapters of the clouds, each with its store or a stand-in of it behind a proxy."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaign.campaign import Target
from tests.campaign.proxies import network
from tests.contract.adapter import Campaign
from tests.contract.adapters import ADAPTERS, CAMPAIGNS
from tests.support.azurite import azurite
from tests.support.couchdb import couchdb
from tests.support.deliveries import SECRET
from tests.support.google import emulator
from tests.support.load import posting
from tests.support.moto import moto_server

_EMULATORS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "moto": moto_server,
    "azurite": azurite,
    "couchdb": couchdb,
    "pubsub": partial(emulator, "pubsub"),
    "firestore": partial(emulator, "firestore"),
}


class _Request:
    """The part of pytest that the adapters' factories need."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def getfixturevalue(self, name: str) -> Any:
        """Return a started emulator."""
        return self._stack.enter_context(_EMULATORS[name]())


@contextmanager
def _target(cloud: Campaign, folder: Path) -> Iterator[Target]:
    with ExitStack() as stack:
        factory = ADAPTERS[cloud.adapter]
        request: Any = _Request(stack)
        adapter = stack.enter_context(factory({"DT_SIGNATURE_SECRET": SECRET}, folder, request))
        yield Target(
            posting(lambda: adapter.receiving),
            lambda: [adapter.bodies()],
            network(adapter.proxies, cloud.throttled),
            threads=cloud.threads,
            is_unique=cloud.is_unique,
        )


CLOUDS = {name: partial(_target, cloud) for name, cloud in CAMPAIGNS.items()}
