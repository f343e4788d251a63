"""``dtconn first-event`` right after a deployment, whose role for reading Cloudant is not in effect yet."""

from pathlib import Path

import pytest

from tests.ibm_actions.cloudant_calls import said
from tests.support.first_event import first_event
from tests.support.loopback import Call, Reply, loopback


def test_it_waits_for_the_role(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(_: Call) -> Reply:
        return said(403, "forbidden") if len(there.calls) <= 2 else Reply(200, b"[]")

    with loopback(answer) as there:
        source = f"cloudant:{there.url.replace('//', '//user:password@')}/events"
        result = first_event(monkeypatch, tmp_path, source, "60")
        assert result.exit_code == 1
        assert "There are no databases" in result.stderr, result.output
        assert len(there.calls) >= 3
