"""Promise 5 on AWS: a sandbox that dies at any moment costs a second delivery at most, never an event."""

import random
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.aws import EVENTS_KEYS, SEEN_KEYS, create_queue, create_table, items, messages
from tests.support.deliveries import SECRET, fresh_body, signed
from tests.support.front_doors import AWS_FRONT_DOORS
from tests.support.moto import MotoServer
from tests.support.sandbox import sandbox

KILLS = 25


@pytest.mark.parametrize("store", ["dynamodb", "sqs"])
def test_lambda_killed_under_load(moto: MotoServer, tmp_path: Path, store: str) -> None:
    dynamodb, sqs = moto.client("dynamodb"), moto.client("sqs")
    table, queue = create_table(dynamodb, EVENTS_KEYS if store == "dynamodb" else SEEN_KEYS), create_queue(sqs)
    environ = {
        **moto.environment,
        "DT_STORE": store,
        "DT_TABLE": table,
        "DT_SEEN_TABLE": table,
        "DT_QUEUE_URL": queue,
        "DT_SIGNATURE_SECRET": SECRET,
    }
    acknowledged: list[bytes] = []
    waiting: list[bytes] = []
    for _ in range(KILLS):
        with sandbox(environ, tmp_path, AWS_FRONT_DOORS["Function URL"]) as started:
            assert started.request("GET", "/healthz").status == 200
            killer = threading.Timer(random.uniform(0.0, 0.1), started.process.kill)
            killer.start()
            with suppress(AssertionError):  # it is dead
                while True:
                    # As DT does: what was not acknowledged comes again, by whatever sandbox there is.
                    content = waiting[0] if waiting else fresh_body()
                    waiting[:] = [content]
                    answer = started.request("POST", "/", signed(content), content)
                    if answer.status != 200:
                        pytest.fail(started.output())
                    acknowledged.append(waiting.pop())
            killer.join()
    stored = items(dynamodb, table) if store == "dynamodb" else messages(sqs, queue)
    copies = Counter(each["body"] for each in stored)
    assert len(acknowledged) > KILLS
    assert set(acknowledged) <= copies.keys()
    # The one that was on its way when the last sandbox died may be there too.
    assert copies.keys() <= {*acknowledged, *waiting}
    # One second copy for each death between the sending and the mark.
    assert copies.total() - len(copies) <= (0 if store == "dynamodb" else KILLS)
