"""Promise 6: never an attempt that could end after the deadline, and never a fourth."""

import time

import pytest

from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT, ATTEMPTS, attempts


def test_at_most_three_attempts_with_short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert len(list(attempts(time.monotonic() + DEADLINE))) == ATTEMPTS == 3
    assert len(pauses) == 2
    assert sum(pauses) < 0.6


@pytest.mark.parametrize("left", [-1.0, 0.0, ATTEMPT - 0.01])
def test_no_attempt_may_miss_the_deadline(left: float) -> None:
    assert list(attempts(time.monotonic() + left)) == []


def test_timeout_leaves_time_for_one_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    begun = 0
    for _ in attempts(now + DEADLINE):
        begun += 1
        now += ATTEMPT
    assert begun == 2
    assert now <= 1000 + DEADLINE
