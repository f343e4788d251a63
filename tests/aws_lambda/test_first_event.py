"""``dtconn first-event``: a role that is not in effect yet, and a queue whose readings count as deliveries."""

from pathlib import Path

import pytest

from tests.support.aws import environment
from tests.support.first_event import first_event
from tests.support.loopback import Call, Reply, fault, loopback


@pytest.mark.parametrize("source", ["dynamodb:t", "sqs:{url}/1/q"])
def test_it_waits_for_the_role(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str) -> None:
    def answer(_: Call) -> Reply:
        return fault("AccessDeniedException", 400) if len(there.calls) <= 2 else fault("ResourceNotFoundException", 400)

    with loopback(answer) as there:
        for name, value in environment(there.url).items():
            monkeypatch.setenv(name, value)
        result = first_event(monkeypatch, tmp_path, source.format(url=there.url), "60")
        assert result.exit_code == 1
        assert "Cannot find" in result.stderr, result.output
        assert len(there.calls) == 3


def test_a_login_that_is_refused_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with loopback(lambda _: fault("UnrecognizedClientException", 400)) as there:
        for name, value in environment(there.url).items():
            monkeypatch.setenv(name, value)
        result = first_event(monkeypatch, tmp_path, "dynamodb:t", "600")
        assert "AWS denies reading" in result.stderr, result.output
        assert len(there.calls) == 1


def test_a_queue_that_counts_readings_is_read_a_few_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with loopback(lambda _: Reply(200)) as there:
        for name, value in environment(there.url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("cli.first_event._EVERY", 0.05)
        result = first_event(monkeypatch, tmp_path, f"sqs:{there.url}/1/q", "3")
        assert "is not in the store after 3 s" in result.stderr, result.output
        # At the beginning, three times a third of the wait later, and no more.
        assert 2 <= [call.operation for call in there.calls].count("ReceiveMessage") <= 4
