"""DynamoDB and SQS under contract."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from aws_lambda.dynamodb import DynamoDbStore
from aws_lambda.seen_keys import DynamoDbSeenKeys
from aws_lambda.service import client
from aws_lambda.sqs import SqsQueue
from aws_lambda.wiring import build_receiver
from core.receiver import DEADLINE
from core.stores.contract import AsyncStore
from core.stores.dedup import Deduplicated
from tests.aws_lambda.faults import CAUSES
from tests.contract.store import (
    CLOUD_FAULTS,
    Entry,
    Factory,
    Faults,
    Harness,
    Row,
    Waiting,
    fresh_event,
    http_answer,
    proxy_faults,
    row,
)
from tests.support.aws import (
    EVENTS_KEYS,
    SEEN_KEYS,
    create_queue,
    create_table,
    environment,
    items,
    messages,
    sqs_client,
)
from tests.support.deliveries import delivery, fresh_body
from tests.support.moto import MotoServer
from tests.support.proxy import Proxy

# An item with the keys that the table asks for, and nothing as the receiver has it.
THEIRS = {"device": {"S": "theirs"}, "timestampKey": {"S": "theirs"}, "key": {"N": "7"}, "body": {"S": "text"}}


def _aws_faults(proxy: Proxy, moto: MotoServer, throttling: str) -> Faults:
    throttled = http_answer(400, {"__type": throttling, "message": "slow down"})
    # IAM does not know the tests' credentials.
    denied = (moto.enforce_iam, lambda: moto.enforce_iam(False))
    return proxy_faults(proxy, throttled, b"") | {"denied": denied}


def _aws_environment(request: pytest.FixtureRequest, moto: MotoServer, **endpoints: str) -> None:
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    for name, value in {**moto.environment, **endpoints}.items():
        monkeypatch.setenv(name, value)


@contextmanager
def dynamodb(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
    moto: MotoServer = request.getfixturevalue("moto")
    proxy = Proxy(moto.port)
    _aws_environment(request, moto, AWS_ENDPOINT_URL=f"http://127.0.0.1:{proxy.port}")
    there = moto.client("dynamodb")
    table = create_table(there, EVENTS_KEYS)
    try:
        yield Harness(
            lambda: Waiting(DynamoDbStore(client("dynamodb"), table, 30)),
            lambda: [row(item) for item in items(there, table)],
            _aws_faults(proxy, moto, "com.amazonaws.dynamodb.v20120810#ThrottlingException"),
            source=f"dynamodb:{table}",
            put_foreign=lambda: there.put_item(TableName=table, Item=THEIRS),
        )
    finally:
        proxy.close()


def _sqs(fifo: bool) -> Factory:
    @contextmanager
    def sqs(folder: Path, request: pytest.FixtureRequest) -> Iterator[Harness]:
        """The queue is behind the proxy; the seen keys are in moto's DynamoDB, without a fault."""
        moto: MotoServer = request.getfixturevalue("moto")
        # moto forgets the deduplication ids of a FIFO queue.
        server = request.getfixturevalue("fauxqs") if fifo else moto.url
        proxy = Proxy(int(server.rpartition(":")[2]))
        _aws_environment(request, moto, AWS_ENDPOINT_URL_SQS=f"http://127.0.0.1:{proxy.port}")
        there = sqs_client(server)
        seen, queue = create_table(moto.client("dynamodb"), SEEN_KEYS), create_queue(there, fifo)
        taken: list[Row] = []

        def build() -> AsyncStore:
            keys = DynamoDbSeenKeys(client("dynamodb"), seen, 30)
            return Waiting(Deduplicated(SqsQueue(client("sqs"), queue), keys))

        def rows() -> list[Row]:
            taken.extend(row(message) for message in messages(there, queue))
            return sorted(taken, key=lambda row: str(row["received_at"]))

        try:
            yield Harness(
                build,
                rows,
                _aws_faults(proxy, moto, "com.amazonaws.sqs#RequestThrottled"),
                source=f"sqs:{queue}",
                put_foreign=lambda: there.send_message(QueueUrl=queue, MessageBody='{"key": "theirs"}'),
            )
        finally:
            proxy.close()

    return sqs


def fetches(url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[[], object]]:
    """Return the calls that fetch a secret and store an event, from a service at ``url``."""
    environ = environment(url) | {"DT_SIGNATURE_SECRET_ID": "s", "DT_TABLE": "t"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    queue = Deduplicated(SqsQueue(client("sqs"), f"{url}/q"), DynamoDbSeenKeys(client("dynamodb"), "t", 0))
    receiver = build_receiver(environ)

    def deliver() -> None:
        assert receiver.handle(delivery(fresh_body())).status == 503

    return {"secret": deliver, "look-up and sending": lambda: queue.put(fresh_event(), time.monotonic() + DEADLINE)}


STORES = {
    "dynamodb": Entry(dynamodb, CLOUD_FAULTS, causes=CAUSES | {"throttled": "ThrottlingException"}, is_readable=True),
    "sqs": Entry(_sqs(fifo=False), CLOUD_FAULTS, refuses_copies=False, causes=CAUSES, is_readable=True, is_queue=True),
    # Not readable: while one message of a device is received, SQS withholds the others.
    "sqs fifo": Entry(_sqs(fifo=True), CLOUD_FAULTS - {"denied"}, refuses_copies=False, causes=CAUSES),
}
