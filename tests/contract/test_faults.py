"""How each cloud's service fails, and that every client of ours treats it alike: retried or not, in time, with a cause.

The tables are in tests/<adapter>/faults.py. What an emulator can do is in test_stores.py.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from core.receiver import DEADLINE
from core.service.attempts import ATTEMPT, ATTEMPTS
from tests.contract.fault import Answers, Cloud, Write
from tests.support.certificates import serving
from tests.support.found import found
from tests.support.loopback import SILENT, Call, Loopback, Reply, in_turn, loopback

CLOUDS: dict[str, Cloud] = {name: cloud for module in found("faults") for name, cloud in module.FAULTS.items()}
each_cloud = pytest.mark.parametrize("cloud", CLOUDS.values(), ids=CLOUDS.keys())


def each(faults: dict[str, Answers]) -> pytest.MarkDecorator:
    """Run a test for each fault of each cloud."""
    cases = [
        pytest.param(CLOUDS[name], reply, cause, id=f"{name}-{fault}")
        for name, answers in faults.items()
        for fault, (reply, cause) in answers.items()
    ]
    return pytest.mark.parametrize(("cloud", "reply", "cause"), cases)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the waits between attempts, which tests/core covers."""
    monkeypatch.setattr("core.service.attempts.random.uniform", lambda low, high: low)


@each({name: cloud.retried for name, cloud in CLOUDS.items()})
def test_transient_failure_is_retried(
    cloud: Cloud, reply: Reply | None, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = cloud.refused(in_turn(reply), monkeypatch)
    assert refused.cause == cause
    calls = refused.server.calls
    assert len(calls) == ATTEMPTS == 3
    assert all((it.method, it.path, it.body) == (calls[0].method, calls[0].path, calls[0].body) for it in calls)
    with loopback(in_turn(*[reply] * (ATTEMPTS - 1), cloud.stored)) as server:
        assert cloud.connect(server, monkeypatch)(time.monotonic() + DEADLINE)
        assert len(server.calls) == ATTEMPTS


@each({name: cloud.final for name, cloud in CLOUDS.items()})
def test_permanent_failure_is_not_retried(
    cloud: Cloud, reply: Reply, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = cloud.refused(in_turn(reply, cloud.stored), monkeypatch)
    assert (refused.cause, len(refused.server.calls)) == (cause, 1)


@each_cloud
def test_cause_is_that_of_the_last_attempt(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    transient, (final, cause) = next(iter(cloud.retried.values()))[0], next(iter(cloud.final.values()))
    refused = cloud.refused(in_turn(transient, final), monkeypatch)
    assert (refused.cause, len(refused.server.calls)) == (cause, 2)


@each_cloud
def test_connection_refused(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback(in_turn(cloud.stored)) as server:
        write = cloud.connect(server, monkeypatch)
    started = time.monotonic()
    assert cloud.cause_of(write) == cloud.unreachable
    assert time.monotonic() - started < ATTEMPT
    assert server.calls == []


@pytest.mark.parametrize("seconds", [ATTEMPT - 0.05, 0, -1])
@each_cloud
def test_no_attempt_starts_without_time_before_the_deadline(
    cloud: Cloud, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = cloud.refused(in_turn(cloud.stored), monkeypatch, seconds)
    assert (refused.cause, refused.server.calls) == ("deadline", [])


class Clock:
    """The time that attempts are begun by."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


@each_cloud
def test_late_refusal_is_not_retried_after_the_deadline(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    reply, cause = next(iter(cloud.retried.values()))
    clock = Clock()
    monkeypatch.setattr("core.service.attempts.time", clock)

    def answering(_: Call) -> Reply | None:
        clock.ahead = DEADLINE - ATTEMPT
        return reply

    refused = cloud.refused(answering, monkeypatch)
    assert (refused.cause, len(refused.server.calls)) == (cause, 1)


def test_read_timeout_ends_before_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the 8 s of a delivery and for less, at once, because each of them takes its time."""
    # On a busy machine there may be no time for the last one.
    budgets = {DEADLINE / 2: (1,), DEADLINE * 3 / 4: (1, 2), DEADLINE: (2, ATTEMPTS)}

    def begun(cloud: Cloud, server: Loopback, write: Write, seconds: float) -> list[float]:
        started = time.monotonic()
        assert cloud.cause_of(write, seconds) == cloud.silent
        return [call.began - started for call in server.calls]

    with ExitStack() as stack, ThreadPoolExecutor(len(CLOUDS) * len(budgets) or 1) as threads:
        silent = [stack.enter_context(loopback(in_turn(SILENT))) for _ in range(len(CLOUDS) * len(budgets))]
        cases = [(name, seconds) for name in CLOUDS for seconds in budgets]
        writes = [CLOUDS[name].connect(server, monkeypatch) for (name, _), server in zip(cases, silent, strict=True)]
        waiting = [
            threads.submit(begun, CLOUDS[name], server, write, seconds)
            for (name, seconds), server, write in zip(cases, silent, writes, strict=True)
        ]
        for (name, seconds), future in zip(cases, waiting, strict=True):
            attempts = future.result()
            assert len(attempts) in budgets[seconds], name
            # Time for the request to be made and to arrive.
            assert all(at < seconds - ATTEMPT + 0.9 for at in attempts), name


@each_cloud
def test_connection_pool_keeps_a_connection_for_each_thread(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(cloud.threads)

    def answering(_: Call) -> Reply:
        together.wait(30)  # all requests are under way at once
        return cloud.stored

    with loopback(answering) as server, ThreadPoolExecutor(cloud.threads) as threads:
        write = cloud.connect(server, monkeypatch)
        for _ in range(5):
            assert all(threads.map(write, [time.monotonic() + DEADLINE] * cloud.threads))
        assert (len(server.calls), server.connections) == (cloud.threads * 5, cloud.threads)


@each_cloud
def test_untrusted_certificate_is_sent_nothing(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, tls = serving(tmp_path, "127.0.0.1")
    with loopback(in_turn(cloud.stored), tls) as server:
        assert cloud.cause_of(lambda deadline: cloud.connect(server, monkeypatch)(deadline)) in TLS_CAUSES
        assert server.calls == []
        assert server.connections == ATTEMPTS
        if cloud.trust:
            # With its certificate trusted, the same server is sent the event.
            cloud.trust(str(path), monkeypatch)
            assert cloud.connect(server, monkeypatch)(time.monotonic() + DEADLINE)


TLS_CAUSES = {"SSLError", "ServiceRequestError"}


@each_cloud
def test_certificate_of_another_host_is_sent_nothing(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, tls = serving(tmp_path, "127.0.0.2")
    if cloud.trust:
        cloud.trust(str(path), monkeypatch)
    with loopback(in_turn(cloud.stored), tls) as server:
        assert cloud.cause_of(lambda deadline: cloud.connect(server, monkeypatch)(deadline)) in TLS_CAUSES
        assert server.calls == []
