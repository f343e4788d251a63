"""Promise 5: a crash at any point costs at most a duplicate: no loss, no stuck key."""

import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from core.event import Event, parse
from core.stores.contract import Outcome, StoreUnavailableError
from core.stores.dedup import Deduplicated
from core.verify.signature import Verified
from tests.support.deliveries import body

# Far away: how long a test takes does not show.
LEFT = 1_000_000.0
DEADLINE = time.monotonic() + LEFT
STEPS = ("contains", "send", "mark")


def event(event_id: str = "one") -> Event:
    return parse(Verified(body(eventId=event_id), "hs256:0"), datetime.now(UTC))


def nothing() -> None:
    return None


def unavailable() -> None:
    raise StoreUnavailableError("throttled")


class Killed(BaseException):
    """The process is gone; nothing that handles an `Exception` runs."""


def kill() -> None:
    raise Killed


class Cloud:
    """A queue and a set of keys that outlive the receiver, and what happens before and after each of their calls."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.queue: list[Event] = []
        self.keys: set[str] = set()
        self.before: dict[str, Callable[[], None]] = {}
        self.after: dict[str, Callable[[], None]] = {}

    def _step(self, name: str, deadline: float) -> Callable[[], None]:
        # Half of the time for the look-up, all of it for what follows.
        assert deadline == (pytest.approx(DEADLINE - LEFT / 2, abs=1000) if name == "contains" else DEADLINE)
        self.steps.append(name)
        self.before.get(name, nothing)()
        return self.after.get(name, nothing)

    def contains(self, key: str, deadline: float) -> bool:
        after = self._step("contains", deadline)
        is_there = key in self.keys
        after()
        return is_there

    def send(self, event: Event, deadline: float) -> None:
        after = self._step("send", deadline)
        self.queue.append(event)
        after()

    def mark(self, key: str, deadline: float) -> None:
        after = self._step("mark", deadline)
        self.keys.add(key)
        after()

    def put(self, event: Event) -> Outcome:
        """Put ``event`` as a new receiver does."""
        return Deduplicated(self, self).put(event, DEADLINE)


def test_new_event_is_looked_up_sent_then_marked() -> None:
    cloud, new = Cloud(), event()
    outcome = cloud.put(new)
    assert outcome == Outcome.STORED
    assert cloud.steps == ["contains", "send", "mark"]
    assert cloud.queue == [new]
    assert cloud.queue[0] is new
    assert cloud.keys == {new.key}
    assert outcome.note is None


def test_seen_event_is_a_duplicate() -> None:
    cloud = Cloud()
    cloud.put(event())
    again = event()
    assert cloud.put(again) == Outcome.DUPLICATE
    assert cloud.steps == ["contains", "send", "mark", "contains"]
    assert cloud.put(event("another")) == Outcome.STORED
    assert len(cloud.queue) == 2


def test_failed_look_up_sends_the_event_and_is_reported() -> None:
    cloud, new = Cloud(), event()
    cloud.before["contains"] = unavailable
    outcome = cloud.put(new)
    assert outcome == Outcome.STORED
    assert cloud.steps == ["contains", "send", "mark"]
    assert (cloud.queue, cloud.keys) == ([new], {new.key})
    assert outcome.note == "look-up failed: throttled"


def test_failed_mark_of_a_sent_event_is_not_a_failure() -> None:
    cloud, new = Cloud(), event()
    cloud.before["mark"] = unavailable
    outcome = cloud.put(new)
    assert outcome == Outcome.STORED
    assert (cloud.queue, cloud.keys) == ([new], set())
    assert outcome.note == "mark failed: throttled"


def test_unavailable_seen_keys_do_not_stop_delivery() -> None:
    cloud, new = Cloud(), event()
    cloud.before = {"contains": unavailable, "mark": unavailable}
    outcome = cloud.put(new)
    assert outcome == Outcome.STORED
    assert cloud.queue == [new]
    assert outcome.note == "look-up failed: throttled, mark failed: throttled"


def test_failing_send_is_raised_and_not_marked() -> None:
    cloud, new = Cloud(), event()
    cloud.before["send"] = unavailable
    with pytest.raises(StoreUnavailableError) as caught:
        cloud.put(new)
    assert caught.value.reason == "throttled"
    assert cloud.steps == ["contains", "send"]
    assert (cloud.queue, cloud.keys) == ([], set())
    cloud.before.clear()
    assert cloud.put(new) == Outcome.STORED


def test_unexpected_exception_of_queue_or_seen_keys_is_raised() -> None:
    def bug() -> None:
        raise LookupError

    for step, sent in zip(STEPS, (0, 0, 1), strict=True):
        cloud = Cloud()
        cloud.before[step] = bug
        with pytest.raises(LookupError):
            cloud.put(event())
        assert len(cloud.queue) == sent


# Each moment of the three steps; what the queue and the keys hold when the process dies there, and after DT's retry.
MOMENTS = [
    # when,   step,       in the queue, marked; after the retry: its outcome,  in the queue
    ("before", "contains", 0, False, Outcome.STORED, 1),
    ("after", "contains", 0, False, Outcome.STORED, 1),
    ("before", "send", 0, False, Outcome.STORED, 1),
    ("after", "send", 1, False, Outcome.STORED, 2),
    ("before", "mark", 1, False, Outcome.STORED, 2),
    ("after", "mark", 1, True, Outcome.DUPLICATE, 1),
]


def crash(cloud: Cloud, when: str, step: str) -> None:
    """Deliver once and crash at that step, if it is reached."""
    (cloud.before if when == "before" else cloud.after)[step] = kill
    try:
        cloud.put(event())
    except Killed:
        pass
    finally:
        cloud.before.clear()
        cloud.after.clear()


@pytest.mark.parametrize(("when", "step", "queued", "marked", "retry", "copies"), MOMENTS)
def test_crash_costs_at_most_one_duplicate(
    when: str, step: str, queued: int, marked: bool, retry: Outcome, copies: int
) -> None:
    cloud = Cloud()
    crash(cloud, when, step)
    assert cloud.steps[-1] == step
    assert (len(cloud.queue), bool(cloud.keys)) == (queued, marked)
    assert cloud.put(event()) is retry
    assert len(cloud.queue) == copies
    assert {copy.key for copy in cloud.queue} == cloud.keys == {event().key}
    assert cloud.put(event()) == Outcome.DUPLICATE
    assert len(cloud.queue) == copies


def test_each_of_several_crashes_costs_at_most_one_duplicate() -> None:
    for crashes in itertools.product(MOMENTS, repeat=3):
        cloud = Cloud()
        for when, step, *_ in crashes:
            copies, is_marked = len(cloud.queue), bool(cloud.keys)
            crash(cloud, when, step)
            assert len(cloud.queue) <= copies + 1
            assert cloud.queue or not cloud.keys, "marked before it was sent: lost"
            assert len(cloud.queue) == copies or not is_marked, "sent again although it was marked"
        cloud.put(event())
        assert 1 <= len(cloud.queue) <= 1 + len(crashes)
        assert cloud.put(event()) == Outcome.DUPLICATE
