"""The Lambda function under contract, behind each of its front doors."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from aws_lambda.http import to_request
from tests.contract.adapter import Adapter, Campaign, Factory
from tests.contract.adapter import FrontDoor as Presenting
from tests.contract.store import http_answer
from tests.support.aws import EVENTS_KEYS, SEEN_KEYS, create_queue, create_table, items, messages
from tests.support.front_doors import AWS_FRONT_DOORS, FrontDoor
from tests.support.moto import MotoServer
from tests.support.proxy import Mode, Proxy
from tests.support.sandbox import sandbox


def _aws_lambda(front_door: FrontDoor, store: str = "dynamodb") -> Factory:
    @contextmanager
    def aws_lambda(environ: Mapping[str, str], folder: Path, request: pytest.FixtureRequest) -> Iterator[Adapter]:
        moto: MotoServer = request.getfixturevalue("moto")
        dynamodb, sqs = moto.client("dynamodb"), moto.client("sqs")
        proxy = Proxy(moto.port)
        table = create_table(dynamodb, EVENTS_KEYS if store == "dynamodb" else SEEN_KEYS)
        queue = create_queue(sqs)
        taken: list[bytes] = []

        def bodies() -> list[bytes]:
            if store == "dynamodb":
                return [item["body"] for item in items(dynamodb, table)]
            taken.extend(
                message["body"] for message in sorted(messages(sqs, queue), key=lambda m: str(m["receivedAt"]))
            )
            return taken

        names = {"DT_STORE": store, "DT_TABLE": table, "DT_SEEN_TABLE": table, "DT_QUEUE_URL": queue}
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
        try:
            with sandbox({**moto.environment, **endpoint, **names, **environ}, folder, front_door) as running_sandbox:
                yield Adapter(
                    running_sandbox,
                    bodies,
                    lambda: proxy.set(Mode.REFUSE),
                    lambda: proxy.set(Mode.PASS),
                    [proxy],
                )
        finally:
            proxy.close()

    return aws_lambda


def _aws(front_door: FrontDoor) -> Presenting:
    """Present a delivery as Lambda does, by way of JSON."""
    return lambda headers, body: to_request(json.loads(json.dumps(front_door.event("POST", "/", headers, body))))


_FUNCTION_URL = "AWS, Function URL"
ADAPTERS: dict[str, Factory] = {
    **{f"AWS, {name}": _aws_lambda(front_door) for name, front_door in AWS_FRONT_DOORS.items()},
    "AWS, SQS": _aws_lambda(AWS_FRONT_DOORS["Function URL"], "sqs"),
}
OTHER_DOORS = [f"AWS, {name}" for name in AWS_FRONT_DOORS if f"AWS, {name}" != _FUNCTION_URL]
PIPED_LOGS = [_FUNCTION_URL]
FRONT_DOORS = {f"AWS, {name}": _aws(front_door) for name, front_door in AWS_FRONT_DOORS.items()}
KEEP_LAST = [f"AWS, {name}" for name, front_door in AWS_FRONT_DOORS.items() if front_door.keeps_last]
CAMPAIGNS = {
    "dynamodb": Campaign(
        _FUNCTION_URL,
        http_answer(400, {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException"}),
        threads=1,
    ),
    "sqs": Campaign(
        "AWS, SQS", http_answer(400, {"__type": "com.amazonaws.sqs#RequestThrottled"}), threads=1, is_unique=False
    ),
}
