"""Promise 5 on AWS: a sandbox killed at any moment costs at most a retry, never an event."""

import random
import threading
from pathlib import Path

import pytest

from tests.support.aws import EVENTS_KEYS, SEEN_KEYS, create_queue, create_table, items, messages
from tests.support.deliveries import SECRET
from tests.support.front_doors import AWS_FRONT_DOORS
from tests.support.ledger import Ledger
from tests.support.load import posting
from tests.support.moto import MotoServer
from tests.support.sandbox import sandbox
from tests.support.senders import KILLS, LIMIT, outcome

pytestmark = pytest.mark.long


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
    ledger = Ledger(LIMIT)
    for number in range(KILLS):
        with sandbox(environ, tmp_path, AWS_FRONT_DOORS["Function URL"]) as started:
            assert started.request("GET", "/healthz").status == 200
            post = posting(lambda started=started: started)()  # type: ignore[misc]
            if number % 2:
                assert ledger.attempt(post)
            killer = threading.Timer(random.uniform(0.0, 0.1), started.process.kill)
            killer.start()
            while ledger.attempt(post):
                pass
            killer.join()
    stored = items(dynamodb, table) if store == "dynamodb" else messages(sqs, queue)
    _, too_many = outcome(ledger, [each["body"] for each in stored])
    assert ledger.statuses.keys() == {200, None}
    # A kill between the send and the mark costs one duplicate.
    assert too_many <= (0 if store == "dynamodb" else KILLS)
