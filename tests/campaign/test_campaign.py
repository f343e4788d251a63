"""The campaign finds each kind of broken promise."""

import threading
import time
from collections.abc import Callable
from itertools import count

import jwt
import pytest

from tests.campaign.__main__ import main
from tests.campaign.campaign import Campaign, Target
from tests.campaign.report import failures, table
from tests.support.deliveries import SECRET, claims_of
from tests.support.ledger import Ledger
from tests.support.numbered import number_of, numbered, sign

DELIVERIES = 300


def test_numbered_body_round_trip() -> None:
    bodies = [numbered(number) for number in (0, 1, 999_999)]
    assert [number_of(content) for content in bodies] == [0, 1, 999_999]
    assert number_of(bodies[1].replace(b"27", b"28")) is None
    assert number_of(b"") is None


def test_token_is_valid_for_pyjwt() -> None:
    content = numbered(7)
    claims = jwt.decode(sign(content), SECRET, ["HS256"])
    assert claims == claims_of(content, exp=claims["exp"], iat=claims["iat"])
    assert claims["exp"] - claims["iat"] == 3600


class Receiver:
    """Acknowledges what it stores; a fault, once set, handles every tenth delivery."""

    def __init__(self) -> None:
        self.stored: list[bytes] = []
        self.fault: Callable[[bytes], int] = self.store
        self._numbers = count(1)

    def post(self, content: bytes) -> int:
        time.sleep(0.001)
        return self.store(content) if next(self._numbers) % 10 else self.fault(content)

    def store(self, content: bytes) -> int:
        if content not in self.stored:
            self.stored.append(content)
        return 200

    def lose(self, content: bytes) -> int:
        return 200

    def lose_once(self, content: bytes) -> int:
        """Answer an error, but store the event."""
        self.store(content)
        return 503

    def store_twice(self, content: bytes) -> int:
        self.stored += [content, content]
        return 200

    def alter(self, content: bytes) -> int:
        return self.store(content + b" ")

    def hang_up(self, content: bytes) -> int:
        raise ConnectionError


def run(receiver: Receiver, fault: Callable[[bytes], int], deadline: float = 60, is_unique: bool = True) -> Campaign:
    def inject(_: Ledger) -> None:
        receiver.fault = fault

    target = Target(lambda: receiver.post, lambda: [receiver.stored], {"it": inject}, threads=2, is_unique=is_unique)
    deadline += time.monotonic()
    campaign = Campaign("x", target, Ledger(DELIVERIES, 20), lambda _: None, deadline, threading.Event())
    campaign.run()
    return campaign


@pytest.mark.parametrize("fault", ["store", "lose_once", "hang_up"])
def test_fault_made_up_by_a_retry_is_not_a_failure(fault: str) -> None:
    receiver = Receiver()
    campaign = run(receiver, getattr(receiver, fault))
    assert failures(campaign) == []
    assert campaign.ledger.acknowledged == len(receiver.stored) == DELIVERIES


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("lose", "acknowledged deliveries are lost"),
        ("store_twice", "are stored twice"),
        ("alter", "stored bodies are not as they were sent"),
    ],
)
def test_broken_promise_is_found(fault: str, failure: str) -> None:
    receiver = Receiver()
    found = " ".join(failures(run(receiver, getattr(receiver, fault))))
    assert failure in found


@pytest.mark.parametrize(("status", "failure"), [(500, "answers are 500"), (401, "{401:")])
def test_unexpected_status_is_found(status: int, failure: str) -> None:
    receiver = Receiver()
    statuses = iter([status])
    assert failure in " ".join(failures(run(receiver, lambda _: next(statuses, 503))))


def test_lost_events_exclude_those_the_user_overwrote() -> None:
    ledger = Ledger(3)
    for overwritten in (False, True, False):
        ledger.begin("it", overwritten)
        ledger.attempt(lambda _: 200)
    ledger.close()
    assert [period.lost for period in ledger.periods] == [0, 1, 0, 1]
    assert [period.acknowledged for period in ledger.periods] == [0, 1, 1, 1]


def test_queue_may_have_duplicates_and_the_table_counts_them() -> None:
    receiver = Receiver()
    campaign = run(receiver, receiver.store_twice, is_unique=False)
    assert failures(campaign) == []
    copies = len(receiver.stored) - DELIVERIES
    assert copies > 0
    _, head, *rows = table(campaign).splitlines()
    column = [name.strip() for name in head.split("  ") if name].index("twice")
    assert [row.split()[column] for row in rows] == [str(copies)] * 2


def test_campaign_stops_at_its_deadline() -> None:
    receiver = Receiver()
    started = time.monotonic()
    campaign = run(receiver, receiver.hang_up, deadline=0)
    assert time.monotonic() - started < 5
    assert "x: Stopped after" in failures(campaign)[0]


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["local", "--deliveries", "0"], ["local", "--seconds", "x"]])
def test_invalid_arguments_print_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m tests.campaign" in capsys.readouterr().err
