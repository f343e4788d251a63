"""The adapters of the clouds, each with its store or a stand-in of it behind a proxy."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.campaign.campaign import Target
from tests.campaign.proxies import network
from tests.contract.adapters import ADAPTERS
from tests.support.azurite import azurite
from tests.support.couchdb import couchdb
from tests.support.deliveries import SECRET
from tests.support.google import emulator
from tests.support.load import posting
from tests.support.moto import moto_server


def _http(status: int, document: dict[str, Any] | None = None) -> bytes:
    body = json.dumps(document or {}).encode()
    head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass(frozen=True)
class _Cloud:
    """How a campaign runs on an adapter.

    Attributes:
        adapter: Its name in `ADAPTERS`.
        throttled: As in `network`.
        threads: How many deliveries are on their way at once; 1 where an instance is given one at a time.
        is_unique: A queue that cannot refuse a second copy takes one when an answer is lost: decisions 5 and 18.
    """

    adapter: str
    throttled: bytes
    threads: int = 4
    is_unique: bool = True


_AWS_THROTTLED = "com.amazonaws.dynamodb.v20120810#ThrottlingException"
_CLOUDS = {
    "dynamodb": _Cloud("AWS, Function URL", _http(400, {"__type": _AWS_THROTTLED}), threads=1),
    "sqs": _Cloud("AWS, SQS", _http(400, {"__type": "com.amazonaws.sqs#RequestThrottled"}), 1, is_unique=False),
    "firestore": _Cloud("Google Cloud, Firestore", _http(429)),
    "pubsub": _Cloud("Google Cloud, Pub/Sub", _http(429), is_unique=False),
    "service_bus": _Cloud("Azure, Service Bus", b""),
    "storage_queue": _Cloud("Azure, Storage queue", _http(429), is_unique=False),
    "table": _Cloud("Azure, table", _http(429)),
    "cloudant": _Cloud("IBM, application", _http(429, {"error": "too_many_requests"})),
}


_EMULATORS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "moto": moto_server,
    "azurite": azurite,
    "couchdb": couchdb,
    "pubsub": partial(emulator, "pubsub"),
    "firestore": partial(emulator, "firestore"),
}


class _Request:
    """What the adapters' factories want of pytest."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def getfixturevalue(self, name: str) -> Any:
        """Return an emulator that has started."""
        return self._stack.enter_context(_EMULATORS[name]())


@contextmanager
def _target(cloud: _Cloud, folder: Path) -> Iterator[Target]:
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


CLOUDS = {name: partial(_target, cloud) for name, cloud in _CLOUDS.items()}
