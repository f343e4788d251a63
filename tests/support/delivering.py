"""Deliveries at a steady rate, signed with several secrets in turn, beside whatever is done to the receiver."""

import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.deliveries import fresh_body, hs256

# Deliveries a second, by so many senders.
RATE = 50
SENDERS = 5


@contextmanager
def delivering(url: str, *secrets: str) -> Iterator[Counter[int]]:
    """Deliver `RATE` new events a second, signed with each secret in turn; yield the answers by status."""
    answers: Counter[int] = Counter()
    ended = threading.Event()
    started = time.monotonic()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def send(number: int) -> None:
        while not ended.is_set():
            body = fresh_body()
            headers = {
                "Content-Type": "application/json",
                "X-Dt-Signature": hs256(body, secrets[number % len(secrets)]),
            }
            try:
                with opener.open(urllib.request.Request(url, body, headers), timeout=60) as answer:
                    status = answer.status
            except urllib.error.HTTPError as error:
                with error:
                    status = error.code
            answers[status] += 1
            number += SENDERS
            ended.wait(started + number / RATE - time.monotonic())

    threads = [threading.Thread(target=send, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        ended.set()
        for thread in threads:
            thread.join()
