"""Promise 6: never an attempt that could end after the deadline, and never a fourth."""

import time

import pytest

from core.attempts import ATTEMPT, ATTEMPTS, attempts
from core.receiver import DEADLINE


def test_three_at_most_with_short_pauses() -> None:
    started = time.monotonic()
    assert list(attempts(started + DEADLINE)) == list(range(ATTEMPTS)) == [0, 1, 2]
    assert time.monotonic() - started < 0.7


@pytest.mark.parametrize("left", [-1.0, 0.0, ATTEMPT - 0.01])
def test_none_that_could_end_too_late(left: float) -> None:
    assert list(attempts(time.monotonic() + left)) == []


def test_one_that_takes_all_of_its_time_leaves_time_for_a_second_and_no_third(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    begun = []
    for number in attempts(now + DEADLINE):
        begun.append(number)
        now += ATTEMPT
    assert begun == [0, 1]
    assert now <= 1000 + DEADLINE
