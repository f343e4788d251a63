"""What fails, and is processed again or becomes a dead letter."""

import itertools
import threading
import time
from collections import Counter
from typing import Any

import pytest

from core.event import Event
from core.worker import MAX_ATTEMPTS
from tests.ibm_actions.cloudant_calls import listed, page
from tests.ibm_actions.conftest import Put
from tests.ibm_actions.worker.following import MONTH, NOW, Following, event, wait_until
from tests.support.loopback import loopback
from tests.support.proxy import Mode, Proxy


def test_failing_event_becomes_a_dead_letter(put: Put, follow: Any) -> None:
    bad = event("bad")
    put(event("a"), bad, event("b"))
    attempts: list[float] = []

    def process(each: Event) -> None:
        if each.event_id == "bad":
            attempts.append(time.monotonic())
            raise ValueError("a secret")

    following = follow(process=process)
    wait_until(lambda: len(following.seen) >= 2 and len(following.messages()) > MAX_ATTEMPTS)
    put(event("c"))
    wait_until(lambda: len(following.seen) >= 3)
    assert sorted(following.seen) == ["a", "b", "c"]
    assert len(attempts) == MAX_ATTEMPTS
    # Each time it waits longer, in a hundredth of seconds here.
    waited = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert all(0.01 * 2**index <= wait < 0.01 * 2**index + 1 for index, wait in enumerate(waited))
    assert following.messages() == [
        *[f"{bad.key} could not be processed: ValueError"] * MAX_ATTEMPTS,
        f"{bad.key} is a dead letter after {MAX_ATTEMPTS} attempts.",
    ]
    assert "a secret" not in following.log.getvalue()
    assert "samples" not in following.log.getvalue()


def test_event_that_fails_once_is_retried(put: Put, follow: Any) -> None:
    put(event("a"))
    faults = [ZeroDivisionError(), KeyError()]

    def process(_: Event) -> None:
        if faults:
            raise faults.pop()

    following = follow(process=process)
    wait_until(lambda: following.seen == ["a"])
    assert len(following.messages()) == 2


def test_shutdown_during_a_retry_leaves_the_event_for_the_next_run(put: Put, follow: Any) -> None:
    put(event("a"))
    failed = threading.Event()

    def fails(_: Event) -> None:
        failed.set()
        raise ValueError

    following = follow(process=fails)
    assert failed.wait(30)
    following.stop()
    assert not any("dead letter" in message for message in following.messages())
    other = follow()
    wait_until(lambda: other.seen == ["a"])


@pytest.mark.parametrize(
    ("mode", "cause"), [(Mode.REFUSE, "Cloudant does not answer: ConnectionError."), (Mode.CANNED, "Cloudant refuses ")]
)
def test_worker_recovers_after_a_cloudant_outage(mode: Mode, cause: str, put: Put, follow: Any, proxy: Proxy) -> None:
    put(event("a"))
    following = follow()
    wait_until(lambda: following.seen == ["a"])
    proxy.canned = b'HTTP/1.1 403 x\r\nContent-Length: 21\r\n\r\n{"error":"forbidden"}'
    proxy.set(mode)
    wait_until(following.messages)
    refused = following.messages()
    proxy.set(Mode.PASS)
    put(event("b"))
    wait_until(lambda: "b" in following.seen)
    # Once more, if its place could not be kept.
    assert following.seen in (["a", "b"], ["a", "a", "b"])
    # One that was under way when the proxy passed again may have failed in another way.
    assert all(cause in message for message in refused)
    assert all(message.endswith(" The worker tries again.") for message in following.messages())


def test_database_unreadable_in_the_first_round_is_read_later(put: Put, follow: Any, proxy: Proxy) -> None:
    """An outage then must not skip a database that ``since`` includes."""
    put(event("older", NOW - 6 * MONTH), event("old", NOW - 4 * MONTH), event("new"))
    is_refused = threading.Event()

    def process(_: Event) -> None:
        if not is_refused.is_set():
            is_refused.set()
            proxy.set(Mode.REFUSE)

    following = follow(since=NOW - 6 * MONTH, process=process)
    wait_until(lambda: len(following.messages()) > 5)
    proxy.set(Mode.PASS)
    wait_until(lambda: {"old", "new"} <= set(following.seen), 2)


def test_invalid_answer_is_retried() -> None:
    with loopback(listed(lambda _: page(200), "events-2026")) as server:
        following = Following({"DT_CLOUDANT": server.url.replace("//", "//user:password@")}, "events")
        wait_until(following.messages)
        following.stop()
        [message] = set(following.messages())
        assert message == (
            "events-2026: What answers there is not Cloudant. Check the host in the URL. The worker tries again."
        )


def test_failed_checkpoint_processes_the_batch_again(put: Put, follow: Any, proxy: Proxy) -> None:
    put(event("a"), event("b"))

    begin = threading.Event()

    def process(_: Event) -> None:
        assert begin.wait(30)
        if len(following.seen) == 1:
            proxy.set(Mode.REFUSE)

    following = follow(process=process)
    begin.set()
    wait_until(lambda: following.messages())
    proxy.set(Mode.PASS)
    wait_until(lambda: len(following.seen) >= 4)
    time.sleep(0.1)
    assert Counter(following.seen) == {"a": 2, "b": 2}
